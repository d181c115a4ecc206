"""Layouts: the axis order of an array, as an einops pattern away from PyTorch's.

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


@dataclass(frozen=True)
class Layout:
    """`pattern` leads from the canonical layout to the native one; `sizes` name split axes."""

    pattern: str
    sizes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        _sides(self.pattern)

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
        left, right = _sides(self.pattern)
        return left == right

    @property
    def permutes(self) -> bool:
        """Whether the native array has the canonical one's axes, each by itself, in some order."""
        return self.is_identity or _permutation(self.pattern) is not None

    def with_sizes(self, sizes: Sequence[tuple[str, int]]) -> Layout:
        """The layout with lengths for those of its axes that are named."""
        named = tuple((axis, size) for axis, size in sizes if axis in _axes(self.pattern))
        return replace(self, sizes=named) if named else self

    def sized(self, native_shape: Sequence[int]) -> Layout | None:
        """The layout of a native array of that shape, lengths of split axes read off it; None if it has other axes."""
        if self.is_identity:
            return self
        names = _sides(self.pattern)[1].split()
        if len(names) != len(native_shape):
            return None
        return self if self.permutes else self.with_sizes(tuple(zip(names, native_shape, strict=True)))

    def to_native(self, array: Any) -> Any:
        """A canonical array in the native layout.

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
        """A native array in the canonical layout; raises ShapeError as `to_native` does."""
        return self.inverse.to_native(array)

    def native_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The native shape of an array whose canonical shape is `shape`."""
        if self.is_identity:
            return tuple(shape)
        order = _permutation(self.pattern)
        if order is not None and len(order) == len(shape):
            return tuple(shape[axis] for axis in order)
        # A broadcast scalar has the shape without the memory.
        return self.to_native(np.broadcast_to(np.zeros((), np.bool_), shape)).shape

    def canonical_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The canonical shape of an array whose native shape is `shape`."""
        return self.inverse.native_shape(shape)

    def __str__(self) -> str:
        return "=" if self.is_identity else self.pattern


@lru_cache(maxsize=1024)
def _inverse(layout: Layout) -> Layout:
    left, right = _sides(layout.pattern)
    return Layout(f"{right} -> {left}", layout.sizes)


def _sides(pattern: str) -> tuple[str, str]:
    left, arrow, right = pattern.partition("->")
    if not arrow:
        raise ShapeError("", "an einops pattern such as 'o i -> i o'", repr(pattern))
    return left.strip(), right.strip()


@lru_cache(maxsize=1024)
def _axes(pattern: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d]\w*", pattern))


@lru_cache(maxsize=1024)
def _permutation(pattern: str) -> tuple[int, ...] | None:
    """The axis order of a pattern that only permutes named axes; None for any other, which einops is to judge."""
    left, right = (side.split() for side in _sides(pattern))
    if sorted(left) != sorted(right) or len(set(left)) < len(left) or not all(name.isidentifier() for name in left):
        return None
    return tuple(left.index(name) for name in right)


@dataclass(frozen=True)
class _Stored(Layout):
    """The layout of an array whose layer is not known: kept as it is stored, with axes that may mean anything."""

    @property
    def is_known(self) -> bool:
        return False


SAME = Layout("... -> ...")
STORED = _Stored("... -> ...")
TRANSPOSED = Layout("o i -> i o")
