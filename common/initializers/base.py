"""What every initializer is, and how the numbers that define one are checked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from ..errors import InitializerError
from .laws import Law

Distribution = Literal["uniform", "normal", "truncated_normal"]
DISTRIBUTIONS: tuple[Distribution, ...] = get_args(Distribution)


@dataclass(frozen=True)
class Initializer(ABC):
    """A distribution with its scale, of a parameter whose shape is in the canonical layout.

    It draws nothing: a wing turns it into its framework's call, and the statistics hold the draws against
    its law. An initializer of your own is a frozen dataclass with a `law`; the wings then draw from the law's
    quantile function, and the same checks apply to it.

    >>> from dataclasses import dataclass
    >>> from paritree.common.initializers import Continuous, Initializer, Law, fans
    >>> @dataclass(frozen=True)
    ... class LaplaceFanIn(Initializer):
    ...     scale: float = 1.0
    ...     def law(self, shape):
    ...         return Law(Continuous("laplace", (), 0.0, self.scale / fans(shape).fan_in))
    >>> LaplaceFanIn(scale=2.0).law((8, 4)).std == 0.5 * 2**0.5
    True
    """

    @abstractmethod
    def law(self, shape: Sequence[int]) -> Law:
        """The law of one entry of a parameter of `shape`; where entries differ, of one chosen at random."""

    def validate(self, shape: Sequence[int], path: str = "") -> None:  # noqa: B027 - most fit any shape
        """Raise an InitializerError that names `path` if a parameter of `shape` cannot have this initializer."""

    def violation(self, array: np.ndarray[Any, Any]) -> str | None:
        """What in one draw can never happen under this initializer, or None; the support is checked elsewhere."""
        return None

    @property
    def independent(self) -> bool:
        """Whether the entries of one draw are random and independent, all with the law `law(shape)`."""
        return True

    @property
    def reads_axes(self) -> bool:
        """Whether the law, or the draw, depends on which axis of the shape is which."""
        return True

    @property
    def deterministic(self) -> bool:
        """Whether there is only one draw, so that `violation` says everything."""
        return False


def settle(initializer: Initializer, **values: float) -> None:
    """Store checked numbers in a frozen dataclass, as Python floats: NumPy's would not survive the repr."""
    for name, value in values.items():
        object.__setattr__(initializer, name, value)


def finite(owner: str, name: str, value: Any) -> float:
    """`value` as a float, or an InitializerError if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InitializerError("", f"a finite number as {name} of {owner}", repr(value))
    return float(value)


def positive(owner: str, name: str, value: Any) -> float:
    """`value` as a float, or an InitializerError if it is no finite number above 0."""
    number = finite(owner, name, value)
    if number <= 0:
        raise InitializerError(
            "", f"a finite number above 0 as {name} of {owner}", repr(value), "A scale of 0 is Constant(value)."
        )
    return number


def bounds(owner: str, low: Any, high: Any) -> tuple[float, float]:
    """`low` and `high` as floats, or an InitializerError if they bound no interval."""
    lower, upper = finite(owner, "low", low), finite(owner, "high", high)
    if lower >= upper:
        raise InitializerError("", f"low below high in {owner}", f"low={lower!r} and high={upper!r}")
    return lower, upper


def one_of(owner: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise an InitializerError if `value` is none of `choices`."""
    if value not in choices:
        raise InitializerError("", f"{name} of {owner} among {', '.join(choices)}", repr(value))


def first_difference(array: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> str | None:
    """The first entry that is not bit for bit the expected one, in words, or None; 0.0 and -0.0 differ."""
    wanted = np.broadcast_to(expected.astype(array.dtype), array.shape)
    differs = (array != wanted) | (np.signbit(array) != np.signbit(wanted))
    count = int(np.count_nonzero(differs))
    if not count:
        return None
    place = tuple(int(index) for index in np.argwhere(differs)[0])
    return f"entry {place} is {array[place]}, expected exactly {wanted[place]} ({count} of {array.size} entries differ)"
