"""Training: one step as a function, and a model made ready to be trained or run in either mode, on copies of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen

from ...common.errors import NotExpressibleError
from ...common.wing import Call, Inputs, Passer, StepFunction, Stepper, Trainer
from ..core import INFERENCE, Arrays, Run, arrays, given, traced_anew
from ..devices import check_dtype
from ..programs import Program
from ..training import REMEDY, canonical_step, compiled_passer, compiled_stepper, compiled_trainer, flattened
from .core import called, functional
from .naming import Model, like, stored_kind
from .updates import HOME


def step(
    model: Model, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[Model, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    In training mode means with a dropout key and with `batch_stats` to be updated: a Linen module that takes an
    argument for it, or that updates another collection, wants a step of its own.

    targets: an array of the output's shape.
    seed: of the dropout masks, if the model draws any. `model` is as it was.

    Raises:
        ShapeError: targets of another shape than the output's; NotExpressibleError: the output is not one array.
    """
    side, arguments = functional(model), arrays(inputs)

    def run(params: Arrays) -> tuple[Any, Any]:
        module, variables = side.made(params)
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, *arguments, rngs=rngs, mutable=["batch_stats"])

    params = {path: side.owned[path].array for path in side.parameters}
    params, updated, loss = canonical_step(run, params, targets, learning_rate)
    module, variables = side.made(params)
    return like(model, module, {**variables, **updated}), loss


def trainer(
    model: Model,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Trainer:
    """The model made ready to be trained: `run(weights, targets, optimizer, steps)` gives a Training.

    call: `call(model, inputs)`; without it `module.apply(variables, *inputs)`.
    train_call: the call in training mode. It returns the outputs, or what `module.apply(..., mutable=[...])` returns,
        `(outputs, updated)`: what is in `updated`, collections of the variables, is in them at the next step. A model
        without modes needs none: one that has parameters alone, and no dropout in the inference call.

    Trained is every parameter of floating-point numbers. Dropout is off: `linen.Dropout` and Flax's attention
    functions, also where the call switches them on. The gradients are compiled once, for all weights and optimizers.

    Raises:
        As `SideWing`, and
        NotExpressibleError: no train_call, and the model has modes.
    """
    check_dtype(dtype)
    train_call = train_call or _without_modes(model, inputs, call, dtype)
    return compiled_trainer(functional(model, train_call), inputs, dtype)


def stepper(
    model: Model,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
    optimizer: Any = None,
    step: StepFunction | None = None,
) -> Stepper:
    """The model made ready to make the caller's own steps: `run(weights, targets, steps)` gives a Training.

    optimizer: as of `updater`. step: `step(model, batch)`, which gives the new model or its variables, or
        `step(model, state, batch)`, which gives it with the optimizer's new state.
        Without one the loss is that of a `Trainer`. The batch is the inputs.

    Arguments and errors: see `SideWing`; and
        PairError: as from `updater`, whatever the step raises, or one that changes the model's structure.
    """
    check_dtype(dtype)
    side = functional(model, call if step else train_call or _without_modes(model, inputs, call, dtype))
    return compiled_stepper(side, inputs, dtype, HOME, optimizer, step)


def passer(
    model: Model,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Passer:
    """The model made ready to be run in either mode: `run(weights, training=...)` gives a Pass.

    The arguments are those of `trainer`; in inference mode the call is `call`. With dropout, `seed` is folded into
    every random stream that the train_call gives to `apply`, and makes the stream `dropout` if it gives none. A key
    that it hands to a layer by itself is used as it is. Compiled once for each mode, for all weights and seeds.

    Raises:
        As `SideWing`, and
        NotExpressibleError: from the run in training mode, no train_call, and the model has modes; or an output that
            is no structure of arrays.
    """
    check_dtype(dtype)
    side = functional(model, call)

    def run_in(training: bool) -> Run:
        if not training:
            return side.run
        return functional(model, train_call or _without_modes(model, inputs, call, dtype)).run

    return compiled_passer(side, run_in, inputs, dtype)


def _without_modes(model: Model, inputs: Inputs, call: Call | None, dtype: str) -> Call:
    """The inference call as the one to train with, for a model that has no modes.

    Raises:
        NotExpressibleError: it has.
    """
    others = [name for name in model[1] if stored_kind(name) != "parameter"]
    rates: list[float] = []

    def noted(run: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        rates.append(layer.rate if isinstance(layer, linen.Dropout) else getattr(layer, "dropout_rate", 0.0))
        return run(*args, **kwargs)

    if not others:
        side = functional(model, call)
        stored = {path: each.array for path, each in side.owned.items()}
        with traced_anew(), linen.intercept_methods(noted):
            Program(lambda own, given: side.run(own, given, INFERENCE)[0]).shapes(stored, given(inputs, dtype))
    if others or any(rates):
        found = f"none, and a model with {', '.join(others) if others else 'dropout'}"
        raise NotExpressibleError(
            "", "a call in training mode, since a Linen module has arguments for it", found, REMEDY
        )
    return call or called


def own_gradients(
    model: Model, inputs: Inputs, call: Call, *, dtype: str = "float32"
) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    """See `SideWing`."""
    run = passer(model, inputs, dtype=dtype, train_call=flattened(call))
    return lambda weights: run(weights, training=True).outputs
