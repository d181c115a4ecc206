"""Layouts: the axis order of an array, as an einops pattern away from PyTorch's, and the parser of such patterns.

The canonical layout is PyTorch's. A `Layout` is the pattern that leads from it to a native one
(`o i -> i o` for a Flax kernel); its inverse leads back. einops works on NumPy, torch and jax
arrays alike, so a layout does too. Axes have the letters that convolutions use, o(ut) and i(n): einops warns of
the name `in`, which is a keyword.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from einops import EinopsError, rearrange

from .errors import ShapeError

# The names in one axis: none in an axis of length 1, several in one that is split or merged.
Names = tuple[str, ...]
Side = tuple[Names, ...]
# Stands in a side for any number of axes that are not named.
ELLIPSIS: Names = ("...",)
_AXIS = re.compile(r"\(([^().]*)\)|(\.\.\.|\w+)")


@lru_cache(maxsize=65536)
def sides(pattern: str) -> tuple[Side, Side] | None:
    """Both sides of an einops pattern, each axis as the names in it; None for a text that is no pattern.

    >>> sides("(h d) 1 ... -> ... h d")
    ((('h', 'd'), (), ('...',)), (('...',), ('h',), ('d',)))
    """
    left, arrow, right = pattern.partition("->")
    if not arrow or any(_AXIS.sub("", side).strip() for side in (left, right)):
        return None
    return _axes(left), _axes(right)


def _axes(side: str) -> Side:
    found = (several or one for several, one in _AXIS.findall(side))
    return tuple(tuple(name for name in axis.split() if name != "1") for axis in found)


def inverted(pattern: str) -> str:
    """The pattern from right to left, its sides as they are written."""
    left, _, right = pattern.partition("->")
    return f"{right.strip()} -> {left.strip()}"


@dataclass(frozen=True)
class Layout:
    """`pattern` leads from the canonical layout to the native one; `sizes` name split axes.

    Raises:
        ShapeError: a pattern without an arrow. Whatever else is wrong with it einops says of an array.
    """

    pattern: str
    sizes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if "->" not in self.pattern:
            raise ShapeError("", "an einops pattern such as 'o i -> i o'", repr(self.pattern))

    @property
    def inverse(self) -> Layout:
        """The pattern read from right to left."""
        return _inverse(self)

    @property
    def is_known(self) -> bool:
        """Whether the axes are known to be PyTorch's after `to_canonical`."""
        return True

    @property
    def is_identity(self) -> bool:
        """Whether the native array is the canonical one as it stands."""
        found = sides(self.pattern)
        return found is not None and found[0] == found[1]

    @property
    def permutes(self) -> bool:
        """Whether the native array has the canonical one's axes, each by itself, in some order."""
        return self.is_identity or _permutation(self.pattern) is not None

    def with_sizes(self, sizes: Sequence[tuple[str, int]]) -> Layout:
        """The layout with lengths for those of its axes that are named."""
        names = {name for side in sides(self.pattern) or () for axis in side for name in axis}
        named = tuple((axis, size) for axis, size in sizes if axis in names)
        return replace(self, sizes=named) if named else self

    def sized(self, native_shape: Sequence[int]) -> Layout | None:
        """The layout of a native array of that shape, lengths of split axes read off it; None if it has other axes."""
        if self.is_identity:
            return self
        found = sides(self.pattern)
        if found is None:
            return None
        native = found[1]
        if len(native) != len(native_shape) or any(len(axis) > 1 for axis in native):
            return None
        sizes = zip(native, native_shape, strict=True)
        return self if self.permutes else self.with_sizes([(name, size) for axis, size in sizes for name in axis])

    def to_native(self, array: Any) -> Any:
        """A canonical array, of the axes on the pattern's left side, with those on its right, in its dtype.

        A view where the framework has any and no axes are merged.

        Raises:
            ShapeError: the array does not have the axes that the pattern names.
        """
        if self.is_identity:
            return array
        try:
            return rearrange(array, self.pattern, **dict(self.sizes))
        except EinopsError:
            axes = f"the axes of '{self.pattern}'"
            raise ShapeError("", axes, f"an array of shape {tuple(array.shape)}", "Check the layer's kind.") from None

    def to_canonical(self, array: Any) -> Any:
        """A native array in the canonical layout.

        Raises:
            ShapeError: as `to_native`.
        """
        return self.inverse.to_native(array)

    def native_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The native shape of an array whose canonical shape is `shape`.

        Raises:
            ShapeError: it does not have the axes that the pattern names.
        """
        if self.is_identity:
            return tuple(shape)
        order = _permutation(self.pattern)
        if order is not None and len(order) == len(shape):
            return tuple(shape[axis] for axis in order)
        # A broadcast scalar has the shape without the memory.
        return self.to_native(np.broadcast_to(np.zeros((), np.bool_), shape)).shape

    def canonical_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The canonical shape of an array whose native shape is `shape`.

        Raises:
            ShapeError: as `native_shape`.
        """
        return self.inverse.native_shape(shape)

    def __str__(self) -> str:
        return "=" if self.is_identity else self.pattern


@lru_cache(maxsize=1024)
def _inverse(layout: Layout) -> Layout:
    return Layout(inverted(layout.pattern), layout.sizes)


@lru_cache(maxsize=1024)
def _permutation(pattern: str) -> tuple[int, ...] | None:
    """The axis order of a pattern that only permutes named axes; None for any other, which einops is to judge."""
    found = sides(pattern)
    if found is None:
        return None
    left, right = found
    if sorted(left) != sorted(right) or len(set(left)) < len(left):
        return None
    if not all(len(axis) == 1 and axis[0].isidentifier() for axis in left):
        return None
    return tuple(left.index(axis) for axis in right)


@dataclass(frozen=True)
class _Stored(Layout):
    """The layout of an array whose layer is not known: kept as it is stored, with axes that may mean anything."""

    @property
    def is_known(self) -> bool:
        return False


SAME = Layout("... -> ...")
STORED = _Stored("... -> ...")
TRANSPOSED = Layout("o i -> i o")
