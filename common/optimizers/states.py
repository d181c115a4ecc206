"""An optimizer's state without a framework: what it keeps for each tensor, under optax's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..arrays import as_numpy
from ..errors import NotExpressibleError, UsageError, WeightsError, listed, shown, unfit
from ..trees import Members, walk
from .catalogue import OPTIMIZERS

# What each torch.optim class keeps, by its own keys: optax's field, and the power of the gradient that it is of.
# Two optimizers that keep the same are told apart by nobody who has only the state.
CARRIED = ("SGD", "Adam", "AdamW", "Adamax", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adafactor")
FIELDS: dict[str, dict[str, str]] = {
    name: {each.torch: each.optax.partition(".")[2] for each in OPTIMIZERS[name].state if each.optax}
    for name in CARRIED
}
# What is said of states that do not fit.
NOTHING = "Nothing was carried."
NO_STATE = "has no state"
# What is to be done about the other direction's optimizer.
BACK = "The other way is that of `map.inverse()`."
# The moments that change their sign with the gradient; all others are of squares, of sizes or of maxima.
ODD = frozenset({"trace", "mu", "mean"})
# So much of a moment's norm may be lost to a narrower type, of which bfloat16 rounds by 1/256.
_MOST_LOST = 0.1
# The moments of a tensor by what optax's states have them for, and what keeps them.
KEPT: dict[frozenset[str], str] = {
    frozenset(): "SGD without momentum",
    frozenset({"trace"}): "SGD with momentum",
    frozenset({"mu", "nu"}): "Adam, AdamW, Adamax or RAdam",
    frozenset({"square"}): "RMSprop",
    frozenset({"square", "mean"}): "RMSprop, centered",
    frozenset({"square", "trace"}): "RMSprop with momentum",
    frozenset({"square", "mean", "trace"}): "RMSprop, centered, with momentum",
    frozenset({"sum_of_squares"}): "Adagrad",
    frozenset({"e_g", "e_x"}): "Adadelta",
    frozenset({"v"}): "Adafactor",
}


class TensorState(NamedTuple):
    """What an optimizer keeps for one tensor, in the tensor's own axes.

    moments: of the tensor's shape, by optax's name.
    factors: Adafactor's averages of the squares over one axis, by that axis.
    step: the number of updates; None where it is not counted.
    settings: the numbers that the optimizer goes by, where its state has them, by optax's names.
    decays: whether weight decay is known to change it.
    has_rate: whether the trace has the rate in it, and its sign.
    is_shifted: whether the tensor's value is the other side's with a number added.
    """

    moments: Mapping[str, np.ndarray]
    factors: Mapping[int, np.ndarray] = {}
    step: int | None = None
    settings: Mapping[str, float] = {}
    decays: bool = False
    has_rate: bool = False
    is_shifted: bool = False

    @property
    def rate(self) -> float | None:
        """The learning rate, where the state has it."""
        return self.settings.get("learning_rate")

    @property
    def kept_by(self) -> str:
        """The optimizers that keep this."""
        return (
            "Adafactor"
            if self.factors
            else KEPT.get(frozenset(self.moments), f"an optimizer with {' and '.join(self.moments)}")
        )


class Owner(NamedTuple):
    """A tensor that a path leads to: the path of its owner, and its shape; None of one that the other side has not."""

    path: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class OptimizerState:
    """What an optimizer keeps.

    tensors: by the native path of the tensor's owner.
    step: the number of updates, where the optimizer or its schedule counts them once for all.
    settings: as a tensor's, of an optimizer that keeps nothing for any, as SGD without momentum.
    """

    tensors: Mapping[str, TensorState] = field(default_factory=dict)
    step: int | None = None
    settings: Mapping[str, float] = field(default_factory=dict)


class OptimizerStates(Protocol):
    """What a wing does with its framework's optimizers.

    read: what an optimizer keeps. write: the optimizer, or its state, with another one's; PyTorch's optimizers and
        nnx.Optimizer are written to in place. content: what of an optimizer is saved to a file.

    owners: the map's paths of that side, aliases among them, each with its tensor.
    model: whose parameters the optimizer has, or their names in its order; only PyTorch's needs it.

    Raises:
        NotExpressibleError: a state that has no counterpart in the other framework.
        WeightsError: one message for all entries that are missing, extra or misshapen.
        UsageError: what is no optimizer's state, or one whose parameters have no known names.
    """

    def read(self, optimizer: Any, owners: Mapping[str, Owner], model: Any) -> OptimizerState: ...
    def write(self, optimizer: Any, state: OptimizerState, owners: Mapping[str, Owner], model: Any) -> Any: ...
    def content(self, optimizer: Any) -> Any: ...


def no_counterpart(path: str, found: str, why: str) -> NotExpressibleError:
    """What is said of a state that cannot be carried."""
    return NotExpressibleError(path, "an optimizer's state that the other framework has, too", found, why)


def misfits(faults: Sequence[str], unused: str) -> WeightsError:
    """What is said of all that does not fit the optimizer that is to go on.

    unused: what to do about a parameter that one side keeps nothing for.
    """
    remedy = f"{unused} {NOTHING}" if any(fault.endswith(NO_STATE) for fault in faults) else NOTHING
    return WeightsError("", "one state for each parameter of the optimizer", unfit(faults), remedy)


def of_another(path: str, found: str, wanted: str) -> WeightsError:
    """What is said of the state of another optimizer than the one that is to go on."""
    return WeightsError(path, f"the state of {wanted}, as the optimizer keeps it", f"that of {found}", NOTHING)


def unheld(path: str, name: str, array: np.ndarray, kept: np.ndarray) -> list[str]:
    """What is to be said of a moment that the type of its place does not hold: too large for it, or too small.

    kept: the array in that type.
    """
    if np.can_cast(array.dtype, kept.dtype):
        return []
    if not np.isfinite(kept.astype(np.float64)).all():
        what = "large"
    # A first moment that is too small moves nothing; by a second one that is, an update is divided.
    elif name not in ODD and _lost(array, kept) > _MOST_LOST:
        what = "small"
    else:
        return []
    largest = np.abs(array.astype(np.float64)).max()
    return [f"the {name} of {path}, of up to {largest:.2g}, is too {what} for {kept.dtype.name}"]


def _lost(array: np.ndarray, kept: np.ndarray) -> float:
    """The share of an array's norm that another type does not keep, of what float32 would keep."""
    one, other = (each.astype(np.float32).astype(np.float64) for each in (array, kept))
    whole = np.linalg.norm(one)
    return float(np.linalg.norm(other - one) / whole) if whole else 0.0


def one_within(tree: Any, members: Members, is_one: Callable[[Any], bool]) -> Any:
    """The part of a checkpoint that holds an optimizer's state; None where no part does.

    members: what a node holds, None of a leaf. is_one: whether it is such a part; its own are not looked at.

    Raises:
        UsageError: there are several.
    """
    found = [
        (keys, node) for keys, node in walk(tree, lambda node: None if is_one(node) else members(node)) if is_one(node)
    ]
    if len(found) > 1:
        places = listed([".".join(map(str, keys)) for keys, _ in found], 6, ", ")
        raise UsageError(
            "", "the state of one optimizer", f"{len(found)}: {places}", "Give the one that is meant alone."
        )
    return found[0][1] if found else None


def count_of(value: Any, path: str) -> int:
    """A number of updates, as a state has it.

    Raises:
        WeightsError: it is none.
    """
    try:
        number = float(as_numpy(value).item())
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 2**53 or number % 1:
        raise WeightsError(path, "a number of updates", shown(value), NOTHING)
    return int(number)


def agreed_settings(states: Sequence[TensorState], path: str) -> dict[str, float]:
    """The settings of several tensors that have to have the same.

    Raises:
        NotExpressibleError: they differ.
    """
    names = dict.fromkeys(name for state in states for name in state.settings)
    return {name: agreed([state.settings.get(name) for state in states], path, f"values of {name}") for name in names}


def agreed(values: Sequence[Any], path: str, what: str) -> Any:
    """The one value of several tensors' states; None where none is known.

    Raises:
        NotExpressibleError: they differ.
    """
    known = sorted({value for value in values if value is not None})
    if len(known) > 1:
        found = " and ".join(f"{value:,}" if isinstance(value, int) else f"{value:g}" for value in known[:3])
        raise no_counterpart(path, f"{what} of {found}", "There is one place for all of them on the other side.")
    return known[0] if known else None
