"""Training: one step in place, and a model made ready to be trained or run in either mode, on copies of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from ..common.wing import (
    Call,
    Cotangents,
    Inputs,
    Optimizer,
    Pass,
    Passer,
    StepFunction,
    Stepper,
    Trainer,
    Training,
    check_structure,
    check_targets,
    reported,
    takes_state,
)
from .access import neutral, tensor
from .core import called, cast_copy, derivatives, floating, generators_kept, given, in_mode, squared_error
from .devices import dtype_of
from .stored import stored_tensors, with_stored_tensors
from .updates import Recipe

# Whatever drops entries of its first argument, as functions of the rate.
_DROPOUTS = frozenset(
    getattr(home, name)
    for home in (functional, torch)
    for name in (
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
        *("dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout_", "feature_alpha_dropout_"),
    )
    if hasattr(home, name)
)
# Where attention has its rate among the arguments; by name it is `dropout_p`.
_RATES = {functional.scaled_dot_product_attention: 4, functional.multi_head_attention_forward: 10}


def step(
    model: nn.Module, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[nn.Module, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    targets: an array of the output's shape.
    seed: of the dropout masks, if the model draws any. Returns `model` itself, updated in place, each submodule in the
    mode that it had, and the parameters' `.grad` as they were.

    Raises:
        ShapeError: targets of another shape than the output's; NotExpressibleError: the output is not one array.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with generators_kept(model), in_mode(model, training=True), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        output = called(model, given(model, inputs))
        check_targets(targets, output)
        loss = squared_error([output], [tensor(targets).to(output.device)])
    # By hand, since PyTorch's optimizers take gradients from `.grad`, which is the user's.
    with torch.no_grad():
        for parameter, gradient in zip(parameters, derivatives(loss, parameters), strict=True):
            if gradient is not None:
                parameter -= learning_rate * gradient
    return model, loss.item()


def trainer(
    model: nn.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Trainer:
    """The model made ready to be trained: `run(weights, targets, optimizer, steps)` gives a Training.

    train_call: the call in training mode, which is `call` unless given. What it returns is the output.

    The module and all its submodules are in training mode, without dropout. Trained is every parameter of
    floating-point numbers with `requires_grad`, also one that the outputs do not depend on: PyTorch's optimizers pass
    over what has no gradient, optax's give it weight decay, so it gets zeros. `padding_idx` keeps its meaning, so that
    the row is trained by nothing but weight decay. Each run works on a new copy of the model.

    Arguments and errors: see `SideWing`.
    """
    of_type = dtype_of(dtype)

    def run(weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int) -> Training:
        own = with_stored_tensors(cast_copy(model, of_type), weights)
        arguments = given(own, inputs, of_type)
        parameters = [each for each in own.parameters() if each.requires_grad and each.is_floating_point()]
        # PyTorch refuses an optimizer that has nothing to do.
        rule = rule_of(optimizer, parameters) if parameters else None
        goals: list[torch.Tensor] | None = None
        losses = []
        with running_in(own, training=True, dropout=False, seed=0), torch.enable_grad():
            for _ in range(steps):
                outputs = floating(called(own, arguments, train_call or call))
                goals = goals or _placed(targets, outputs)
                loss = squared_error(outputs.values(), goals)
                found = derivatives(loss, parameters)
                for parameter, gradient in zip(parameters, found, strict=True):
                    parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
                if rule is not None:
                    rule.step()
                losses.append(loss.item())
        return Training(tuple(losses), stored_tensors(own))

    return run


def stepper(
    model: nn.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
    optimizer: Any = None,
    step: StepFunction | None = None,
) -> Stepper:
    """The model made ready to make the caller's own steps: `run(weights, targets, steps)` gives a Training.

    optimizer: as of `updater`. step: `step(model, batch)`, or `step(model, optimizer, batch)` with what the optimizer's
        function gave, which changes the model in place; without one the loss is that of a `Trainer`, and what the
        outputs do not depend on has no gradient. The batch is the inputs.

    Arguments and errors: see `SideWing`; and
        PairError: as from `updater`, whatever the step raises, or one that changes the model's structure.
    """
    of_type = dtype_of(dtype)

    def run(weights: Mapping[str, Any], targets: Cotangents, steps: int) -> Training:
        own = with_stored_tensors(cast_copy(model, of_type), weights)
        recipe = None if optimizer is None else Recipe(own, optimizer)
        batch, shapes = given(own, inputs, of_type), _shapes(own)
        losses: list[float] = []

        def own_loss() -> None:
            outputs = floating(called(own, batch, train_call or call))
            loss = squared_error(outputs.values(), _placed(targets, outputs))
            own.zero_grad()
            loss.backward()
            losses.append(loss.item())
            if recipe:
                recipe.step()

        def callers() -> None:
            assert step is not None
            state = (recipe.made,) if recipe and takes_state(step) else ()
            with reported(
                "", "a step that runs", "It is called as step(model, batch) or step(model, optimizer, batch)."
            ):
                step(own, *state, batch)

        with running_in(own, training=True, dropout=False, seed=0), torch.enable_grad():
            for _ in range(steps):
                (callers if step else own_loss)()
        check_structure(shapes, _shapes(own))
        return Training(tuple(losses), stored_tensors(own))

    return run


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {path: tuple(each.array.shape) for path, each in stored_tensors(model).items()}


def passer(
    model: nn.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Passer:
    """The model made ready to be run in either mode: `run(weights, training=...)` gives a Pass.

    The arguments are those of `trainer`; in inference mode the call is `call`. The masks of dropout are drawn from
    PyTorch's generators, set to `seed` for the run and put back after it.

    Arguments and errors: see `SideWing`.
    """
    of_type = dtype_of(dtype)

    def run(weights: Mapping[str, Any], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
        own = with_stored_tensors(cast_copy(model, of_type), weights)
        # Only inference is looked at: in training mode many passes are made, one for each mask.
        held = {} if training else stored_tensors(own)
        before = {path: each.array.copy() for path, each in held.items() if each.trainable}
        with running_in(own, training=training, dropout=dropout, seed=seed), torch.no_grad():
            output = called(own, given(own, inputs, of_type), (train_call or call) if training else call)
            outputs = {name: neutral(each) for name, each in floating(output).items()}
        after = stored_tensors(own)
        buffers = {path: each.array for path, each in after.items() if not each.trainable}
        changed = [path for path, array in before.items() if array.tobytes() != after[path].array.tobytes()]
        return Pass(outputs, buffers, tuple(changed))

    return run


@contextmanager
def running_in(model: nn.Module, *, training: bool, dropout: bool, seed: int) -> Iterator[None]:
    """The module, which is our own, in a mode; whatever it draws is drawn from `seed`."""
    model.train(training)
    with ExitStack() as stack:
        stack.enter_context(generators_kept(model))
        torch.manual_seed(seed)
        # The kernels for speed have other derivatives where a row is masked altogether.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if training and not dropout:
            stack.enter_context(_NoDropout())
            for module in model.modules():
                # PyTorch's recurrent layers are one operation, with dropout in it.
                if isinstance(module, nn.RNNBase):
                    module.dropout = 0.0
        yield


class _NoDropout(TorchFunctionMode):
    """Whatever drops entries passes on what it gets: functions, the modules that call them, and attention."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        placed, named = list(args), dict(kwargs or {})
        if func in _DROPOUTS:
            return placed[0] if placed else named["input"]
        place = _RATES.get(func)
        # What attention calls in its turn does not come by here, so its own rate it must be.
        if place is not None and len(placed) > place:
            placed[place] = 0.0
        elif place is not None:
            named["dropout_p"] = 0.0
        return func(*placed, **named)


def rule_of(optimizer: Optimizer, parameters: Sequence[torch.Tensor]) -> torch.optim.Optimizer:
    """PyTorch's optimizer of that name and these numbers."""
    rate = optimizer.learning_rate
    rules = {
        "sgd": lambda: torch.optim.SGD(parameters, lr=rate, momentum=optimizer.momentum),
        "adamw": lambda: torch.optim.AdamW(
            parameters, lr=rate, betas=optimizer.betas, eps=optimizer.eps, weight_decay=optimizer.weight_decay
        ),
    }
    return rules[optimizer.name]()


def _placed(targets: Cotangents, outputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    made = targets([tuple(output.shape) for output in outputs.values()])
    return [tensor(target).to(output) for target, output in zip(made, outputs.values(), strict=True)]
