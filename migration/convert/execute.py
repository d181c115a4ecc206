"""The work of a conversion: runs of the destination's tensors, made by threads and in the order of the plan."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import numpy as np

from ...common.errors import DtypeError
from ...pairs.maps import MapRow, assemble
from .copying import SLAB, copy, slabs
from .destinations import Destination
from .planning import Plan
from .readers import Source

# More threads than this wait for the memory and not for each other.
MOST_THREADS = 8
Progress = Callable[[int, int], None]


class Run(NamedTuple):
    """A run of one tensor: its values, as they lie in the source, and its first entry's number."""

    path: str
    start: int
    values: np.ndarray
    is_last: bool


def worked(plan: Plan, source: Source, destination: Destination, on_progress: Progress | None = None) -> None:
    """Make every tensor of the plan. At most a few runs are in memory, besides tensors made of pieces that interlock.

    Raises:
        DtypeError: a value that the dtype that is cast to cannot hold.
        OSError: the destination cannot be written.
    """
    total, done = sum(entry.nbytes for entry in plan.entries.values()), 0
    uses = Counter(name for path in plan.entries for name in plan.needed(path))
    make = _Making(plan, destination)
    # Closed before an error goes on: no thread is to write when the destination is closed.
    with closing(_in_order(make, _runs(plan, source))) as made:
        for run in made:
            done += run.values.size * plan.entries[run.path].dtype.itemsize
            if on_progress is not None:
                on_progress(done, total)
            if run.is_last:
                _release(source, plan.needed(run.path), uses)


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
    """Makes one run: its values in the target's order and dtype, written to their place."""

    def __init__(self, plan: Plan, destination: Destination) -> None:
        self._plan = plan
        self._destination = destination
        self._own = threading.local()

    def __call__(self, run: Run) -> Run:
        dtype = self._plan.entries[run.path].dtype
        values = run.values
        if values.dtype != dtype or not values.flags.c_contiguous:
            values = self._buffer(dtype, values.shape)
            with np.errstate(all="ignore"):
                copy(values, run.values)
            if run.values.dtype != dtype:
                _check_held(run, values)
        self._destination.write(run.path, run.start, values)
        return run

    def _buffer(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """Room for a run, the same for every one of a thread."""
        count = int(np.prod(shape, dtype=np.int64))
        room = getattr(self._own, "room", None)
        if room is None or room.nbytes < count * dtype.itemsize:
            room = self._own.room = np.empty(max(SLAB, count * dtype.itemsize), np.uint8)
        return room[: count * dtype.itemsize].view(dtype).reshape(shape)


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
