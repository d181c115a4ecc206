"""Copying arrays whose axes change places, at the speed of memory.

NumPy copies a transposed array entry by entry through the whole of it, so that every entry is a miss of the cache.
Taken in tiles, long in what the source has in one line and in what the target has in one line, the same copy is several
times faster. Slabs, runs of the target's bytes, give the threads their work: NumPy copies without holding the lock that
Python's threads share.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

# Tiles of so many entries along the source's line and along the target's stay in the nearest cache.
SOURCE_LINE, TARGET_LINE = 256, 64
SLAB = 8 << 20


def slabs(array: np.ndarray, limit: int = SLAB) -> Iterator[tuple[int, np.ndarray]]:
    """The parts of an array, runs of it in C order of at most `limit` bytes, each after its first entry's number."""
    yield from _slabs(array, max(limit // array.dtype.itemsize, 1), 0)


def _slabs(array: np.ndarray, most: int, start: int) -> Iterator[tuple[int, np.ndarray]]:
    if array.size <= most or not array.ndim:
        yield start, array
        return
    row = array.size // len(array)
    if row > most and array.ndim > 1:
        for number, each in enumerate(array):
            yield from _slabs(each, most, start + number * row)
        return
    step = max(most // row, 1)
    for first in range(0, len(array), step):
        yield start + first * row, array[first : first + step]


def copy(target: np.ndarray, source: np.ndarray) -> None:
    """Copy into a contiguous array of the same shape, cast to its dtype."""
    if source.dtype == target.dtype:
        # Types that NumPy has from elsewhere are copied entry by entry; their bits are numbers like any other.
        source, target = bits(source), bits(target)
    if source.size <= SOURCE_LINE * TARGET_LINE or _fastest(source)[0] == source.ndim - 1:
        target[...] = source
        return
    spans = [range(0, length, step) for length, step in zip(source.shape, _tile(source), strict=True)]
    for corner in product(*spans):
        part = tuple(slice(first, first + span.step) for first, span in zip(corner, spans, strict=True))
        target[part] = source[part]


def _tile(source: np.ndarray) -> list[int]:
    """A tile's lengths: the target's line goes along its last axes, the source's along those that lie closest in it."""
    found = [1] * source.ndim
    for line, axes in ((TARGET_LINE, [*reversed(range(source.ndim))]), (SOURCE_LINE, _fastest(source))):
        for axis in axes:
            length = min(source.shape[axis], line)
            found[axis] = max(found[axis], length)
            line //= max(length, 1)
    return found


def bits(array: np.ndarray) -> np.ndarray:
    """The same entries as whole numbers without a sign, where NumPy does not have their type by itself."""
    return array if array.dtype.isbuiltin == 1 else array.view(f"u{array.dtype.itemsize}")


def _fastest(array: np.ndarray) -> list[int]:
    """The axes, those first along which neighbours lie closest in memory; those of length 1 have no neighbours."""
    long = [axis for axis in reversed(range(array.ndim)) if array.shape[axis] > 1]
    return sorted(long, key=lambda axis: abs(array.strides[axis])) or [array.ndim - 1]
