"""The work of a conversion: runs of the destination's tensors, made by threads and in the order of the plan.

NumPy copies a transposed array entry by entry through the whole of it, so that every entry is a miss of the cache.
Taken in tiles, long in what the source has in one line and in what the target has in one line, the same copy is several
times faster. Slabs, runs of the target's bytes, give the threads their work: NumPy copies without holding the lock that
Python's threads share.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import DtypeError
from ...pairs.maps import MapRow, assemble
from .planning import Plan
from .readers import Source
from .writers import Destination

# More threads than this wait for the memory and not for each other.
MOST_THREADS = 8
# Tiles of so many entries along the source's line and along the target's stay in the nearest cache.
SOURCE_LINE, TARGET_LINE = 256, 64
SLAB = 8 << 20
Progress = Callable[[int, int], None]


class Run(NamedTuple):
    """A run of one tensor: its values, as they lie in the source, and its first entry's number.

    Of a tensor that several processes write it is any part, and where it goes is what their destination takes.
    """

    path: str
    start: Any
    values: np.ndarray
    is_last: bool


def execute(plan: Plan, source: Source, destination: Destination, on_progress: Progress | None = None) -> None:
    """Make every tensor of the plan. At most a few runs are in memory, besides tensors made of pieces that interlock.

    on_progress: called in this thread with the bytes that are done and the bytes in all.

    Raises:
        DtypeError: a value that the dtype that is cast to cannot hold.
        OSError: the destination cannot be written.
    """
    total, done = sum(entry.nbytes for entry in plan.entries.values()), 0
    uses = Counter(name for path in plan.entries for name in plan.needed(path))
    # Closed before an error goes on: no thread is to write when the destination is closed.
    with closing(made_in_order(plan, _runs(plan, source), destination)) as made:
        for run in made:
            done += run.values.size * plan.entries[run.path].dtype.itemsize
            if on_progress is not None:
                on_progress(done, total)
            if run.is_last:
                _release(source, plan.needed(run.path), uses)


def made_in_order(plan: Plan, runs: Iterator[Run], destination: Destination) -> Generator[Run, None, None]:
    """The runs, each when it was made and written.

    Raises:
        DtypeError, OSError: as `execute`.
    """
    return _in_order(_Making(plan, destination), runs)


def _release(source: Source, names: Collection[str], uses: Counter[str]) -> None:
    """Those entries of which this was the last use."""
    for name in names:
        uses[name] -= 1
        if not uses[name]:
            source.release(name)


def _in_order(make: Callable[[Run], Run], runs: Iterator[Run]) -> Generator[Run, None, None]:
    """The runs as they were made, a few of them in advance."""
    threads = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4, MOST_THREADS)
    waiting: deque[Future[Run]] = deque()
    with ThreadPoolExecutor(threads, "paritree-convert") as pool:
        try:
            for run in runs:
                waiting.append(pool.submit(make, run))
                del run
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Making:
    """Makes one run: its values in the target's order and dtype, written to the destination."""

    def __init__(self, plan: Plan, destination: Destination) -> None:
        self._plan = plan
        self._destination = destination
        self._own = threading.local()

    def __call__(self, run: Run) -> Run:
        dtype = self._plan.entries[run.path].dtype
        self._destination.write(run.path, run.start, ready(run, dtype, self._buffer))
        return run

    def _buffer(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """Room for a run, the same for every one of a thread."""
        count = int(np.prod(shape, dtype=np.int64))
        room = getattr(self._own, "room", None)
        if room is None or room.nbytes < count * dtype.itemsize:
            room = self._own.room = np.empty(max(SLAB, count * dtype.itemsize), np.uint8)
        return room[: count * dtype.itemsize].view(dtype).reshape(shape)


def ready(run: Run, dtype: np.dtype, room: Callable[[np.dtype, tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """A run's values in C order and a dtype. room: gives an array where they are not so already.

    Raises:
        DtypeError: one that the dtype cannot hold.
    """
    if run.values.dtype == dtype and run.values.flags.c_contiguous:
        return run.values
    values = room(dtype, run.values.shape)
    with np.errstate(all="ignore"):
        copy(values, run.values)
    if run.values.dtype != dtype:
        _check_held(run, values)
    return values


def new_array(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Room of its own for `ready`."""
    return np.empty(shape, dtype)


def _check_held(run: Run, cast: np.ndarray) -> None:
    lost = np.isfinite(run.values) & ~np.isfinite(cast)
    if lost.any():
        worst = float(np.abs(run.values[lost].astype(np.float64)).max())
        raise DtypeError(
            run.path, f"values that {cast.dtype.name} can hold", f"{worst:g}", "Keep the dtype, or choose a wider one."
        )


def _runs(plan: Plan, source: Source) -> Iterator[Run]:
    for path, entry in plan.entries.items():
        parts = _parts(plan.rows(path), lambda name: source.array(plan.names[name]), entry.dtype.itemsize)
        held = next(parts)
        for following in parts:
            yield Run(path, *held, is_last=False)
            held = following
        yield Run(path, *held, is_last=True)


def _parts(rows: Sequence[MapRow], get: Callable[[str], np.ndarray], itemsize: int) -> Iterator[tuple[int, np.ndarray]]:
    """A tensor's runs. A row whose piece is one run of the tensor is taken as it is; others are put together first."""
    starts = [_start(row) for row in rows]
    if any(start is None for start in starts):
        yield from _cut(assemble(rows, get), itemsize)
        return
    for row, first in zip(rows, starts, strict=True):
        for start, values in _cut(row.to_port(get(row.reference)), itemsize):
            yield (first or 0) + start, values


def _cut(array: np.ndarray, itemsize: int) -> Iterator[tuple[int, np.ndarray]]:
    """In runs that are no longer than a slab after a cast, either."""
    return slabs(array, SLAB * array.dtype.itemsize // max(itemsize, array.dtype.itemsize))


def _start(row: MapRow) -> int | None:
    """The number of the first entry of a row's piece, if the piece is one run of the port's tensor."""
    if row.summed:
        return None
    if row.port_piece.is_whole:
        return 0
    # Only asked where things lie: memory that is not written to is not taken from the system.
    whole = np.empty(row.port_shape, np.int8)
    piece = row.port_piece.of(whole)
    if not piece.flags.c_contiguous:
        return None
    return piece.__array_interface__["data"][0] - whole.__array_interface__["data"][0]


def slabs(array: np.ndarray, limit: int = SLAB) -> Iterator[tuple[int, np.ndarray]]:
    """The parts of an array of any shape, runs of it in C order of at most `limit` bytes.

    Each is a view, after the number of its first entry.
    """
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
    """Copy a source whose axes lie in any order into a contiguous target of the same shape, cast to its dtype."""
    if source.dtype == target.dtype and not source.dtype.isbuiltin == target.dtype.isbuiltin == 1:
        # Types that NumPy has from elsewhere are copied entry by entry; their bits are numbers like any other.
        source, target = _bits(source), _bits(target)
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


def _bits(array: np.ndarray) -> np.ndarray:
    """The same entries as whole numbers without a sign."""
    return array.view(f"u{array.dtype.itemsize}")


def _fastest(array: np.ndarray) -> list[int]:
    """The axes, those first along which neighbours lie closest in memory; those of length 1 have no neighbours."""
    long = [axis for axis in reversed(range(array.ndim)) if array.shape[axis] > 1]
    return sorted(long, key=lambda axis: abs(array.strides[axis])) or [array.ndim - 1]
