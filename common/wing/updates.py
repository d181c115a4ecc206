"""Updates: what a caller's own optimizer makes of given gradients. No framework is imported."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from .runs import PairError

STEPS = "Give whole step functions, reference_step= and port_step=, in which it is called as it wants."


# step(model, batch), or step(model, optimizer, batch) with what the side's optimizer is made of.
StepFunction = Callable[..., Any]


class Gradients(NamedTuple):
    """What one step of an optimizer is given.

    arrays: native gradients by the paths of `stored_tensors`. Where a path is not there, PyTorch's parameter has no
        gradient and JAX's a zero.
    ahead: by how many steps counts and schedules are set forward before; all else of the state is then what it was
        before the first such step of the run, so that nothing but the number of the step has changed.
    """

    arrays: Mapping[str, np.ndarray]
    ahead: int = 0


class Updated(NamedTuple):
    """What one step of an optimizer left: the parameters and, if the recipe averages these, their averages, by path."""

    parameters: dict[str, np.ndarray]
    averages: dict[str, np.ndarray]


# Makes one more step of the same run.
Advance = Callable[[Gradients], Updated]


class Updater(Protocol):
    """A side's own optimizer made ready to be fed with gradients: each call begins anew, with a state of its own.

    weights: native arrays by the paths of `stored_tensors`; what is not given keeps the value that it has in the model.
    """

    def __call__(self, weights: Mapping[str, Any]) -> Advance: ...


def members(given: Any) -> tuple[Any, ...]:
    """An optimizer with what comes with it: of a plain tuple or list each, of anything else itself alone."""
    return tuple(given) if type(given) in (tuple, list) else (given,)


def first_argument(factory: Callable[..., Any]) -> str:
    """The name of a function's first argument; empty where it has none to be seen."""
    try:
        return next(iter(inspect.signature(factory).parameters), "")
    except (TypeError, ValueError):
        return ""


def takes_state(step: StepFunction) -> bool:
    """Whether a step function has three arguments, the optimizer or its state the second."""
    try:
        given = inspect.signature(step).parameters.values()
    except (TypeError, ValueError):
        return False
    return sum(each.default is each.empty and each.kind <= each.POSITIONAL_OR_KEYWORD for each in given) > 2


def check_structure(before: Mapping[str, tuple[int, ...]], after: Mapping[str, tuple[int, ...]]) -> None:
    """Raises PairError for a step that leaves another model than it was given, by the shapes of its tensors."""
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    if changed:
        first = changed[0]
        told = " and ".join(
            f"{shapes.get(first, 'none')} {when}" for shapes, when in ((before, "before"), (after, "after it"))
        )
        found = f"{first} with shape {told}" + (f", and {len(changed) - 1} more" if len(changed) > 1 else "")
        remedy = "A step changes values alone: what is built or frozen is built before the pair is made."
        raise PairError("", "a step that leaves the model's structure as it is", found, remedy)


def not_covered(paths: list[str], frozen: str) -> PairError:
    """Of an optimizer that leaves out parameters that train. frozen: how a framework says that one is frozen."""
    shown = ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
    remedy = f"Give it these too, or freeze them by {frozen}."
    return PairError("", "an optimizer over every parameter that trains", f"none of its groups has {shown}", remedy)
