"""Training: one step in place, and a model made ready to be trained or run in either mode, on copies of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx

from ...common.wing import Call, Inputs, Passer, StepFunction, Stepper, Trainer
from ..core import Arrays, Mode, Run, arrays
from ..devices import check_dtype
from ..training import canonical_step, compiled_passer, compiled_stepper, compiled_trainer, flattened
from .core import functional
from .updates import HOME


def step(
    model: nnx.Module, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[nnx.Module, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    targets: an array of the output's shape.
    seed: of the dropout masks, if the model draws any. Returns `model` itself, updated in place, each submodule in the
    mode that it had.

    Raises:
        ShapeError: targets of another shape than the output's; NotExpressibleError: the output is not one array.
    """
    nnx.reseed(model, dropout=seed)
    side, arguments = functional(model), arrays(inputs)

    def run(params: Arrays) -> tuple[Any, Any]:
        output, after = side.run(params, arguments, Mode(training=True, dropout=True))
        return output, nnx.state(after)

    params = {path: side.owned[path].array for path in side.parameters}
    params, state, loss = canonical_step(run, params, targets, learning_rate)
    nnx.update(model, state, nnx.state(side.made(params), nnx.Param))
    return model, loss


def trainer(
    model: nnx.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Trainer:
    """The model made ready to be trained: `run(weights, targets, optimizer, steps)` gives a Training.

    train_call: the call in training mode, which is `call` unless given. What it returns is the output.

    The module and all its submodules are in training mode. Trained is every `nnx.Param` of floating-point numbers.
    Dropout is off: `nnx.Dropout` and Flax's attention, also where the call switches them on. The gradients are compiled
    once, for all weights and optimizers. Each run trains a new copy of the model.

    Arguments and errors: see `SideWing`.
    """
    check_dtype(dtype)
    return compiled_trainer(functional(model, train_call or call), inputs, dtype)


def stepper(
    model: nnx.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
    optimizer: Any = None,
    step: StepFunction | None = None,
) -> Stepper:
    """The model made ready to make the caller's own steps: `run(weights, targets, steps)` gives a Training.

    optimizer: as of `updater`. step: `step(model, batch)`, which changes the model or gives a new one, or
        `step(model, state, batch)` with the `nnx.Optimizer`, or with the state of a transformation, which it then gives
        with the model.
        Without one the loss is that of a `Trainer`. The batch is the inputs.

    Arguments and errors: see `SideWing`; and
        PairError: as from `updater`, whatever the step raises, or one that changes the model's structure.
    """
    check_dtype(dtype)
    side = functional(model, train_call or call)
    return compiled_stepper(side, inputs, dtype, HOME, optimizer, step)


def passer(
    model: nnx.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Passer:
    """The model made ready to be run in either mode: `run(weights, training=...)` gives a Pass.

    The arguments are those of `trainer`; in inference mode the call is `call`. All random streams of the copy are set
    to `seed`. Compiled once for each mode, for all weights and seeds.

    Arguments and errors: see `SideWing`.
    """
    check_dtype(dtype)
    side = functional(model, call)

    def run_in(training: bool) -> Run:
        return functional(model, train_call).run if training and train_call else side.run

    return compiled_passer(side, run_in, inputs, dtype)


def own_gradients(
    model: nnx.Module, inputs: Inputs, call: Call, *, dtype: str = "float32"
) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    """See `SideWing`."""
    run = passer(model, inputs, dtype=dtype, train_call=flattened(call))
    return lambda weights: run(weights, training=True).outputs
