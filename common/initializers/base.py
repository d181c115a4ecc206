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
        """The law of one entry of a parameter of `shape`; where entries differ, of one chosen at random.

        Raises:
            InitializerError: the shape does not suit this initializer.
        """

    def validate(self, shape: Sequence[int], path: str = "") -> None:  # noqa: B027 - most fit any shape
        """Raise an InitializerError that names `path` if a parameter of `shape` cannot have this initializer."""

    def violation(self, array: np.ndarray[Any, Any]) -> str | None:
        """What in one draw, `(*shape)` of any floating dtype, can never happen under this initializer, or None.

        That every value is in the law's support is checked elsewhere.
        """
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


class ShapeFree(Initializer):
    """An initializer whose entries have one law, whatever the shape."""

    @property
    def reads_axes(self) -> bool:
        """False: every entry has one law, whatever the shape."""
        return False


def assign(initializer: Initializer, **values: float) -> None:
    """Store checked numbers in a frozen dataclass, as Python floats: NumPy's would not survive the repr."""
    for name, value in values.items():
        object.__setattr__(initializer, name, value)


def finite_number(owner: str, name: str, value: Any) -> float:
    """`value` as a float.

    Raises:
        InitializerError: it is no finite number; the message calls it `name` of `owner`.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InitializerError("", f"a finite number as {name} of {owner}", repr(value))
    return float(value)


def positive_number(owner: str, name: str, value: Any) -> float:
    """`value` as a float.

    Raises:
        InitializerError: it is no finite number above 0.
    """
    number = finite_number(owner, name, value)
    if number <= 0:
        raise InitializerError(
            "", f"a finite number above 0 as {name} of {owner}", repr(value), "A scale of 0 is Constant(value)."
        )
    return number


def bounds(owner: str, low: Any, high: Any) -> tuple[float, float]:
    """`low` and `high` as floats.

    Raises:
        InitializerError: they are no finite numbers, or bound no interval.
    """
    lower, upper = finite_number(owner, "low", low), finite_number(owner, "high", high)
    if lower >= upper:
        raise InitializerError("", f"low below high in {owner}", f"low={lower!r} and high={upper!r}")
    return lower, upper


def one_of(owner: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a `value` that is none of `choices`.

    Raises:
        InitializerError: the message lists them.
    """
    if value not in choices:
        raise InitializerError("", f"{name} of {owner} among {', '.join(choices)}", repr(value))


def expect_dimensions(owner: str, shape: Sequence[int], allowed: Sequence[int], path: str) -> None:
    """Refuse a shape with another number of dimensions than those allowed.

    Raises:
        InitializerError: its path is `path`.
    """
    if len(shape) not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise InitializerError(path, f"a shape of {wanted} dimensions for {owner}", f"shape {tuple(shape)}")


def first_difference(array: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> str | None:
    """The first entry of an array that is not bit for bit the expected one, cast to its dtype, in words, or None.

    expected: of a shape that broadcasts to the array's. 0.0 and -0.0 differ.
    """
    wanted = np.broadcast_to(expected.astype(array.dtype), array.shape)
    differs = (array != wanted) | (np.signbit(array) != np.signbit(wanted))
    count = int(np.count_nonzero(differs))
    if not count:
        return None
    index = first_index(differs)
    return f"entry {index} is {array[index]}, expected exactly {wanted[index]} ({count} of {array.size} entries differ)"


def first_index(found: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """The index of the first entry that is True, one number for each axis, as Python's ints: messages print it."""
    return tuple(int(index) for index in np.argwhere(found)[0])
