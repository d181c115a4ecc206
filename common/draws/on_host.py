"""NumPy's arrays as the integers of the arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arithmetic import normal, quantiles
from .threefry import signed

Array = np.ndarray[Any, Any]


class _NumPy:
    """NumPy's integers, in memory of their own that may be overwritten."""

    def rotate(self, x: Array, places: int) -> Array:
        unsigned = x.view(np.uint32)
        below = unsigned >> np.uint32(32 - places)
        unsigned <<= np.uint32(places)
        unsigned |= below
        return x

    def portion(self, x: Array, count: int) -> Array:
        wide = x.view(np.uint32) * np.uint64(count)
        return (wide >> np.uint64(32)).astype(np.uint32).view(np.int32)

    def as_float(self, x: Array) -> Array:
        return x.astype(np.float32)

    def as_int(self, x: Array) -> Array:
        return x.astype(np.int32)

    def bits(self, x: Array) -> Array:
        return x.view(np.int32)

    def with_bits(self, x: Array) -> Array:
        return x.view(np.float32)

    def lines(self, segment: Array) -> tuple[Array, Array]:
        table = quantiles()
        return table.middle.take(segment), table.slope.take(segment)

    def clipped(self, x: Array, low: float, high: float) -> Array:
        return np.clip(x, np.float32(low), np.float32(high))

    def masked(self, x: Array, below: float) -> Array:
        return np.where(np.abs(x) < np.float32(below), np.float32(0), x)


NUMPY = _NumPy()


def quantile(word: int) -> float:
    """The standard normal quantile of one word without a sign."""
    return float(normal(NUMPY, np.array([signed(word)], np.int32))[0])
