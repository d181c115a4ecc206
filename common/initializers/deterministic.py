"""Initializers with one draw only: constants, identities, and what models keep in buffers, a formula of the index."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InitializerError
from .base import Initializer, ShapeFree, assign, expect_dimensions, finite_number, first_difference, positive_number
from .laws import Law


class Deterministic(Initializer):
    """An initializer with one draw only."""

    @property
    def independent(self) -> bool:
        """False: nothing is random."""
        return False

    @property
    def deterministic(self) -> bool:
        """True: there is only one draw."""
        return True

    @abstractmethod
    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """The one draw, `(*shape)` in float64."""

    def law(self, shape: Sequence[int]) -> Law:
        """The law of an entry at a random index: a point mass for each value there is; raises as `validate` does."""
        self.validate(shape)
        values, counts = np.unique(self.draw(shape), return_counts=True)
        total = int(counts.sum())
        return Law(None, tuple((float(v), int(c) / total) for v, c in zip(values, counts, strict=True)))

    def violation(self, array: np.ndarray[Any, Any]) -> str | None:
        """An entry that is not bit for bit the one draw's, after the cast to the array's dtype."""
        return first_difference(array, self.draw(array.shape))


@dataclass(frozen=True)
class _Everywhere(ShapeFree, Deterministic):
    """One value at every entry, after the cast to the parameter's dtype."""

    value: float

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """The value everywhere, `(*shape)` in float64."""
        return np.full(shape, self.value)

    def law(self, shape: Sequence[int]) -> Law:
        """One point mass."""
        return Law.point(self.value)


@dataclass(frozen=True)
class Constant(_Everywhere):
    """Every entry is `value`, after the cast to the parameter's dtype.

    Raises:
        InitializerError: no finite number.
    """

    def __post_init__(self) -> None:
        assign(self, value=finite_number("Constant", "value", self.value))


@dataclass(frozen=True)
class Zeros(_Everywhere):
    """Every entry is +0.0."""

    value: float = field(default=0.0, init=False, repr=False)


@dataclass(frozen=True)
class Ones(_Everywhere):
    """Every entry is 1."""

    value: float = field(default=1.0, init=False, repr=False)


@dataclass(frozen=True)
class Eye(Deterministic):
    """The identity of a Linear, `(out, in)`: 1 on the diagonal, also where the matrix is not square."""

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape has two dimensions."""
        expect_dimensions("Eye", shape, (2,), path)

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """1 on the diagonal, `(out, in)` in float64."""
        return np.eye(shape[0], shape[1])


@dataclass(frozen=True)
class Dirac(Deterministic):
    """The identity of a convolution, `(out, in / groups, *kernel)`, in each of `groups` groups of outputs.

    Output d of a group passes its input d through the kernel's middle, index k // 2; outputs beyond the
    inputs are 0 (PyTorch's `dirac_`).

    Raises:
        InitializerError: `groups` is no whole number of at least 1.
    """

    groups: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1:
            raise InitializerError("", "a whole number of at least 1 as groups of Dirac", repr(self.groups))

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless it is a convolution's shape that the groups divide."""
        expect_dimensions("Dirac", shape, (3, 4, 5), path)
        if shape[0] % self.groups:
            raise InitializerError(
                path, f"a number of outputs that {self.groups} groups divide", f"{shape[0]} in shape {tuple(shape)}"
            )

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """1 at the middle of the kernel from each input to its output, `(out, in / groups, *kernel)` in float64."""
        array = np.zeros(shape)
        middle = tuple(size // 2 for size in shape[2:])
        per_group = shape[0] // self.groups
        for group in range(self.groups):
            for channel in range(min(per_group, shape[1])):
                array[(group * per_group + channel, channel, *middle)] = 1.0
        return array


@dataclass(frozen=True)
class Arange(Deterministic):
    """0, 1, 2, ... along the last axis, the same for all others."""

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """The index on the last axis, `(*shape)` in float64."""
        return np.broadcast_to(np.arange(shape[-1], dtype=np.float64), shape).copy()

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape has an axis."""
        _expect_axes("Arange", 1, shape, path)


@dataclass(frozen=True)
class LowerTriangle(Deterministic):
    """1 where the index on the last axis is at most that on the one before, else 0: what is not to come."""

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """1 on the diagonal and below, `(..., rows, columns)` in float64."""
        return np.broadcast_to(np.tri(shape[-2], shape[-1]), shape).copy()

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape has two axes."""
        _expect_axes("LowerTriangle", 2, shape, path)


@dataclass(frozen=True)
class InverseFrequencies(Deterministic):
    """theta^(-i/n) at index i of n on the last axis: the frequencies of rotary embeddings of heads of width 2n.

    Su et al. 2021, "RoFormer", section 3.2.2, where theta is 10000.

    Raises:
        InitializerError: `theta` is no finite number above 0.
    """

    theta: float = 10000.0

    def __post_init__(self) -> None:
        assign(self, theta=positive_number("InverseFrequencies", "theta", self.theta))

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """A geometric sequence from 1 on, `(..., n)` in float64."""
        return np.broadcast_to(self.theta ** -(np.arange(shape[-1]) / max(1, shape[-1])), shape).copy()

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape has an axis."""
        _expect_axes("InverseFrequencies", 1, shape, path)


def _expect_axes(owner: str, least: int, shape: Sequence[int], path: str) -> None:
    if len(shape) < least:
        wanted = "one dimension" if least == 1 else f"{least} dimensions"
        raise InitializerError(path, f"a shape of at least {wanted} for {owner}", f"shape {tuple(shape)}")
