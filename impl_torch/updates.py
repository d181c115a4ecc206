"""Updates: what a caller's own optimizer makes of given gradients, on a copy of the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..common.arrays import as_numpy
from ..common.errors import NotExpressibleError
from ..common.wing import (
    STEPS,
    Advance,
    Gradients,
    PairError,
    Updated,
    Updater,
    first_argument,
    members,
    not_covered,
    reported,
)
from .access import tensor
from .core import cast_copy
from .devices import dtype_of
from .stored import owned, with_stored_tensors

# What a state may hold that a step's number alone does not decide, or that is the number itself.
_STATE = frozenset(
    (
        *("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg"),
        *("sum", "acc_delta", "row_var", "col_var", "variance"),
    )
)


def updater(model: nn.Module, optimizer: Any, *, dtype: str = "float64") -> Updater:
    """The model's optimizer made ready to be fed with gradients: `run(weights)` gives a function that makes a step.

    optimizer: a function that gives a `torch.optim` optimizer for the list of the model's parameters; for its
        `named_parameters` or for the model itself, if its argument is called `named_parameters` or `model`. It may give
        a tuple: of the optimizer with schedulers, with functions of the parameters that are called before each step
        (clipping), and with an `AveragedModel`.

    Each run works on a new copy of the model.

    Raises:
        DtypeError, WeightsError: as `SideWing`.
        PairError: what is no such function, an optimizer over other parameters than the model's or not over all that
            train, a scheduler that needs a metric, or whatever the optimizer itself raises.
        NotExpressibleError: from a step, a state that cannot be set forward.
    """
    of_type = dtype_of(dtype)

    def run(weights: Mapping[str, Any]) -> Advance:
        own = with_stored_tensors(cast_copy(model, of_type), weights)
        recipe = Recipe(own, optimizer)
        parameters = {
            path: each.array
            for path, each in owned(own).items()
            if isinstance(each.array, nn.Parameter) and each.array.is_floating_point()
        }

        def advance(given: Gradients) -> Updated:
            recipe.skip(given.ahead)
            for path, parameter in parameters.items():
                has = path in given.arrays and parameter.requires_grad
                parameter.grad = tensor(given.arrays[path]).to(parameter) if has else None
            recipe.step()
            averages = recipe.averages
            return Updated(_neutral(parameters), _neutral({path: averages[path] for path in parameters if averages}))

        return advance

    return run


def _neutral(arrays: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {path: as_numpy(array.detach()).copy() for path, array in arrays.items()}


class Recipe:
    """A caller's optimizer over a model of our own, with what comes with it."""

    def __init__(self, model: nn.Module, given: Any) -> None:
        self.model, self.made = model, _made(model, given)
        self.optimizer, *others = members(self.made)
        if not (hasattr(self.optimizer, "step") and hasattr(self.optimizer, "param_groups")):
            raise PairError("", "a function that gives an optimizer", type(self.optimizer).__name__, _REMEDY)
        self.schedulers = [each for each in others if hasattr(each, "step")]
        self.averaged = [each for each in others if hasattr(each, "update_parameters")]
        self.before: list[Callable[..., Any]] = [
            each for each in others if each not in (*self.schedulers, *self.averaged)
        ]
        if any(getattr(each, "optimizer", self.optimizer) is not self.optimizer for each in self.schedulers):
            remedy = "Make one optimizer, the scheduler over it, and give both."
            raise PairError("", "a scheduler of the optimizer that is given", "one of another", remedy)
        if any(isinstance(each, ReduceLROnPlateau) for each in self.schedulers):
            raise PairError("", "a schedule of the step's number", "ReduceLROnPlateau, which needs a metric", STEPS)
        if not all(map(callable, self.before)):
            wrong = next(each for each in self.before if not callable(each))
            raise PairError(
                "", "schedulers, functions and averages beside the optimizer", type(wrong).__name__, _REMEDY
            )
        self._check_groups()
        self._counters = _Counters(self.optimizer, self.schedulers)

    def _check_groups(self) -> None:
        paths = {id(each.array): path for path, each in owned(self.model).items()}
        grouped = [each for group in self.optimizer.param_groups for each in group["params"]]
        foreign = next((each for each in grouped if id(each) not in paths), None)
        if foreign is not None:
            found = f"one of shape {tuple(foreign.shape)} that is none of them"
            remedy = "Make it of what the function is given, a copy of the model's, and not of the model itself."
            raise PairError("", "an optimizer over the model's parameters", found, remedy)
        held = {id(each) for each in grouped}
        left = [paths[id(each)] for each in self.model.parameters() if each.requires_grad and id(each) not in held]
        if left:
            raise not_covered(left, "requires_grad_(False)")

    def step(self) -> None:
        """One step with the gradients that the parameters have."""
        self._counters.made += 1
        parameters = [each for each in self.model.parameters() if each.requires_grad]
        with reported("", "an optimizer that makes a step of gradients alone", STEPS):
            for function in self.before:
                function(parameters)
            self.optimizer.step()
            for scheduler in self.schedulers:
                scheduler.step()
            for averaged in self.averaged:
                averaged.update_parameters(self.model)

    def skip(self, count: int) -> None:
        """Set all counts forward, and all else of the state to what it was when they first were.

        Raises:
            NotExpressibleError: a state that is not told by its tensors and the step's number, or a schedule's end.
        """
        if count:
            self._counters.skip(count)

    @property
    def averages(self) -> dict[str, torch.Tensor]:
        """By the model's paths; empty where nothing is averaged."""
        if not self.averaged:
            return {}
        return {path: each.array for path, each in owned(self.averaged[0].module).items()}


class _Counters:
    """What counts the steps of an optimizer and its schedulers. made: how many steps it has counted."""

    def __init__(self, optimizer: Any, schedulers: Sequence[Any]) -> None:
        self._optimizer, self._schedulers, self.made = optimizer, schedulers, 0
        self._first = [_wholes(group) for group in optimizer.param_groups]
        self._held: list[dict[str, Any]] = []

    def skip(self, count: int) -> None:
        """As `Recipe.skip`."""
        self._check()
        states = list(self._optimizer.state.values())
        self._held = self._held or [_cloned(state) for state in states]
        for state, held in zip(states, self._held, strict=True):
            state.update({name: value for name, value in _cloned(held).items() if name != "step"})
            if "step" in state:
                state["step"] += count
        for group, first in zip(self._optimizer.param_groups, self._first, strict=True):
            rose = [name for name, value in _wholes(group).items() if value - first.get(name, 0) == self.made]
            group.update({name: group[name] + count for name in rose})
        self.made += count
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for scheduler in self._schedulers:
                for _ in range(count):
                    try:
                        scheduler.step()
                    except ValueError as error:
                        found = f"one that ends: {str(error).partition('.')[0]}"
                        raise NotExpressibleError("", "a schedule that goes on", found, "") from error

    def _check(self) -> None:
        if not isinstance(self._optimizer, torch.optim.Optimizer):
            kind = type(self._optimizer).__name__
            raise NotExpressibleError("", "an optimizer of torch.optim", f"{kind}, which counts as it likes", "")
        other = next((name for state in self._optimizer.state.values() for name in state if name not in _STATE), None)
        if other:
            kind = type(self._optimizer).__name__
            raise NotExpressibleError("", "a state that a step's number tells", f"{other!r} in that of {kind}", "")


def _wholes(group: Mapping[str, Any]) -> dict[str, int]:
    """The whole numbers of a group, of which some optimizers' own count steps."""
    return {name: value for name, value in group.items() if type(value) is int}


def _cloned(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()}


_REMEDY = (
    "Write for example `lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)`, or one that gives "
    "`(optimizer, scheduler)`."
)


def _made(model: nn.Module, given: Any) -> Any:
    if not callable(given):
        raise PairError(
            "", "a function of the model's parameters that makes an optimizer", type(given).__name__, _REMEDY
        )
    parameters = {"model": model, "module": model, "named_parameters": list(model.named_parameters())}
    argument = parameters.get(first_argument(given), list(model.parameters()))
    with reported("", "a function of the model's parameters that makes an optimizer", _REMEDY):
        return given(argument)
