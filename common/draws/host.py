"""Draws by NumPy, of parameters of every kind: the definition that those of the wings' devices are held against."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .. import initializers as init
from ..errors import InitializerError
from ..initializers import Initializer
from ..tables import Row
from .arithmetic import Form, Numbers, values
from .on_host import NUMPY
from .recipes import LARGEST, Recipe, recipe_of
from .streams import Stream, check_seed, check_stream
from .threefry import Key, key_of, signed, words

# The part of a parameter that is drawn: a slice of step 1 for each axis of its canonical shape.
Box = tuple[slice, ...]
Array = np.ndarray[Any, Any]

# So many words are made at a time, and of these so many values, since what they need fits a core's own cache.
_BLOCK, _PART = 2**17, 2**14
_STANDARD = Recipe(Form(True), Numbers())
# An array of fewer is made by one thread.
_THREADED = 2**19


def drawn(
    initializer: Initializer,
    shape: Sequence[int],
    *,
    seed: int,
    path: str,
    box: Box | None = None,
    wide: bool = False,
    out: Array | None = None,
) -> Array:
    """A canonical array drawn from `initializer`, float32.

    box: draws that part alone, with the values that it has in the whole. What is not made entry by entry (a matrix
        that is orthogonal) is made as a whole, and the part is cut out.
    wide: gives float64, for what is not made entry by entry in its precision.
    out: a contiguous float32 array of the shape, to be written to and returned; for a whole one that is not wide.

    Raises:
        InitializerError: one that does not fit the shape, or whose bits cannot be portable.
    """
    initializer.validate(shape, path)
    key = key_of(seed, path)
    recipe = recipe_of(initializer, shape, path)
    check_size(shape, path)
    if recipe is None:
        whole = _whole(initializer, tuple(shape), key).astype(np.float64 if wide else np.float32)
        if out is not None:
            out[...] = whole
            return out
        return whole if box is None else whole[box]
    if box is None:
        found = _entries(recipe, key, math.prod(shape), out).reshape(shape)
    else:
        found = values(NUMPY, recipe.form, recipe.numbers, at(key, indices(shape, box)))
    found = _with_zero_row(found, recipe.row, box)
    return found.astype(np.float64) if wide else found


def check_draws(stream: Stream, seed: int, planned: Iterable[tuple[Row, Initializer]]) -> None:
    """Find out whether all can be drawn, before anything is.

    Raises:
        UsageError: what is no seed, or no stream.
        InitializerError: an initializer whose bits cannot be portable, for a portable stream.
    """
    check_seed(seed)
    if check_stream(stream) == "portable":
        for row, initializer in planned:
            check_size(row.sizes, row.path)
            recipe_of(initializer, row.sizes, row.path)


def check_size(shape: Sequence[int], path: str) -> None:
    """Refuse a shape of more entries than there are indices.

    Raises:
        InitializerError: the message names the path.
    """
    if math.prod(shape) > LARGEST:
        remedy = 'Use stream="native", which draws with the framework\'s own generator.'
        raise InitializerError(path, "a parameter of at most 2^32 entries, to be portable", f"{tuple(shape)}", remedy)


def indices(shape: Sequence[int], box: Box | None = None) -> Array:
    """The flat index of each entry of a part of a canonical array: a number without a sign, in the bits of an int32."""
    ranges = [range(size) for size in shape]
    if box is not None:
        ranges = [whole[each] for whole, each in zip(ranges, box, strict=True)]
    found, stride = np.zeros((), np.int64), 1
    for axis in reversed(range(len(shape))):
        along = np.asarray(ranges[axis], np.int64) * stride
        found = along.reshape(-1, *[1] * (len(shape) - 1 - axis)) + found
        stride *= shape[axis]
    return np.broadcast_to(found, [len(each) for each in ranges]).astype(np.uint32).view(np.int32)


def at(key: Key, index: Array) -> Array:
    """The words at any indices, of their shape."""
    counters = (index.view(np.uint32) >> np.uint32(1)).view(np.int32)
    even, odd = words(key, counters, np.zeros_like(counters), NUMPY.rotate)
    return np.where(index & 1, odd, even)


class _Words:
    """The words of a key in their order, made by block in memory that is used again."""

    def __init__(self, key: Key, most: int) -> None:
        size = (most + 1) // 2
        self.key, self.numbers = key, np.arange(size, dtype=np.int32)
        self.even, self.odd, self.below = (np.empty(size, np.int32) for _ in range(3))
        self.both = np.empty((size, 2), np.int32)

    def block(self, start: int, stop: int) -> Array:
        """The words from an even index on, to be used before the next block is made."""
        size = (stop - start + 1) // 2
        even, odd = self.even[:size], self.odd[:size]
        np.add(self.numbers[:size], np.int32(signed(start // 2)), out=even)
        odd[...] = 0
        words(self.key, even, odd, self._rotate)
        self.both[:size, 0], self.both[:size, 1] = even, odd
        return self.both.reshape(-1)[: stop - start]

    def _rotate(self, x: Array, places: int) -> Array:
        unsigned, below = x.view(np.uint32), self.below[: x.size].view(np.uint32)
        np.right_shift(unsigned, np.uint32(32 - places), out=below)
        unsigned <<= np.uint32(places)
        unsigned |= below
        return x


def _entries(recipe: Recipe, key: Key, count: int, out: Array | None = None) -> Array:
    """The values of the first `count` words, float32 `(count,)`, block by block; in `out`, if there is one."""
    flat = np.empty(count, np.float32) if out is None else out.reshape(-1)

    def some(starts: range) -> None:
        own = _Words(key, min(_BLOCK, count))
        for start in starts:
            stop = min(start + _BLOCK, count)
            made = own.block(start, stop)
            for first in range(start, stop, _PART):
                last = min(first + _PART, stop)
                part = made[first - start : last - start]
                flat[first:last] = values(NUMPY, recipe.form, recipe.numbers, part)

    starts, threads = range(0, count, _BLOCK), min(os.cpu_count() or 1, 4) if count >= _THREADED else 1
    if threads == 1:
        some(starts)
        return flat
    with ThreadPoolExecutor(threads) as pool:
        # What a thread raises is raised here.
        list(pool.map(some, [starts[number::threads] for number in range(threads)]))
    return flat


def _with_zero_row(found: Array, row: int | None, box: Box | None) -> Array:
    if row is not None:
        rows = range(row + 1) if box is None else range(row + 1)[box[0]]
        start = 0 if box is None else (box[0].start or 0)
        if row in rows:
            found[row - start] = 0.0
    return found


# What is made as a whole


def _whole(initializer: Initializer, shape: tuple[int, ...], key: Key) -> Array:
    match initializer:
        case init.Deterministic():
            return initializer.draw(shape)
        case init.Orthogonal(gain):
            return _orthogonal(shape, gain, key)
        case init.DeltaOrthogonal(gain):
            found = np.zeros(shape)
            found[(slice(None), slice(None), *initializer.middle(shape))] = _orthogonal(shape[:2], gain, key)
            return found
        case init.Sparse(_, std):
            return _sparse(shape, std, initializer.zeros(shape), key)
        case init.Masked(of, below):
            found = _whole(of, shape, key)
            return np.where(np.abs(found) < below, 0.0, found)
        case init.ZeroRow(of, row):
            found = np.array(_whole(of, shape, key))
            found[row] = 0.0
            return found
    # Any other initializer, through the quantile function of its law.
    level = _Words(key, math.prod(shape)).block(0, math.prod(shape)).view(np.uint32).reshape(shape)
    return initializer.law(shape).ppf((level + 0.5) * 2.0**-32)


def _orthogonal(shape: tuple[int, ...], gain: float, key: Key) -> Array:
    """A Haar matrix (Mezzadri 2007), by a QR factorization in float64, which another LAPACK may round otherwise."""
    rows, columns = shape[0], math.prod(shape[1:])
    normals = _entries(_STANDARD, key, rows * columns).astype(np.float64).reshape(rows, columns)
    q, r = np.linalg.qr(normals if rows >= columns else normals.T)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (gain * (q if rows >= columns else q.T)).reshape(shape)


def _sparse(shape: tuple[int, ...], std: float, zeros: int, key: Key) -> Array:
    """Normal values, with zeros in each column where its next words are the least."""
    count = math.prod(shape)
    found = (_entries(_STANDARD, key, count) * np.float32(std)).reshape(shape)
    start = count + count % 2
    order = np.argsort(_Words(key, count).block(start, start + count).reshape(shape), axis=0, kind="stable")
    np.put_along_axis(found, order[:zeros], 0.0, axis=0)
    return found
