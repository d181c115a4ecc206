"""The plan of a load: what each of many processes would read, by the map, the shapes and a mesh alone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...common.safetensors import TensorEntry
from ...common.tables import counted
from ...common.text import one_line
from ...common.wing import Box, lengths
from ...pairs.maps import Map, bounds
from ...pairs.modes import ordinary
from ...pairs.wings import loader_of
from ..convert import FilePath, Opened, local_path, opened, seen
from .filling import Filling
from .loading import bound, check_here
from .reading import touched


@dataclass(frozen=True)
class LoadPlan:
    """What loading would read.

    direction: the side that is read and the side that is filled.
    tensors, nbytes: how many tensors of the source are needed, and their size.
    reads: of each process the bytes that it reads.
    told: what is seen otherwise than it is in the source, a line each.
    """

    direction: tuple[str, str]
    tensors: int
    nbytes: int
    reads: tuple[int, ...]
    told: tuple[str, ...] = ()

    @property
    def unevenness(self) -> float:
        """The most that a process reads over the mean; 1.0 where nothing is read."""
        return max(self.reads) * len(self.reads) / sum(self.reads) if sum(self.reads) else 1.0

    def __str__(self) -> str:
        many = counted(len(self.reads), "process", "processes")
        amount = f"{counted(self.tensors, 'tensor')}, {self.nbytes:,} bytes"
        lines = [f"{self.direction[0]} -> {self.direction[1]}: {amount}, by {many}"]
        lines += [f"would read: {text}" for text in self._runs()]
        lines += [f"all together: {sum(self.reads):,} bytes; the most over the mean: {self.unevenness:.3f}"]
        return "\n".join([*lines, *map(one_line, self.told)])

    def _runs(self) -> Iterator[str]:
        """Neighbours that read as much in one line."""
        first = 0
        for nbytes, run in groupby(self.reads):
            last = first + len([*run]) - 1
            who = f"process {first}" if first == last else f"each of the processes {first} to {last}"
            yield f"{who}: {nbytes:,} bytes"
            first = last + 1


@ordinary()
def plan(
    source: Any,
    map: Map | FilePath,
    like: Any,
    *,
    processes: int | None = None,
    mesh: Any = None,
    shardings: Any = None,
    keep: Collection[str] = (),
    skip: Collection[str] = (),
    prefix: str | None = None,
) -> LoadPlan:
    """What `load` would read in each of many processes, of whatever size. No value is read, and no device looked at.

    source: a checkpoint, as `load` has it, or a model of its side that stands for one: on PyTorch's meta device, of
        `jax.eval_shape`, a pytree of `jax.ShapeDtypeStruct`.
    map: a Map or its file; one of another size is fitted.
    like: the model to be filled, as `load` has it; for JAX its shardings may be over a `jax.sharding.AbstractMesh`.
    processes: how many there are, each with as many consecutive devices of the mesh: the hosts, where each has one.
        Without it those that the devices of a real mesh are of, or for PyTorch the ranks.
    mesh: for JAX the mesh that annotations are about, abstract or not, or the lengths of its axes by name.
    shardings, keep, skip, prefix: as `load` has them.

    Raises:
        WeightsError, TieError, ShapeError, DeviceError, CheckpointError, MapError, UsageError: as `load`; and a
            ShapeError for a number of processes that does not divide the mesh's devices.
    """
    spread = loader_of(like).spread(like, processes, shardings, mesh)
    made = Map.of(map)
    seen_as = _opened(source, made, skip, prefix)
    weights = seen_as.source
    filling, owners = bound(weights, made, {path: each.target for path, each in spread.items()}, keep)
    count = max(len(each.boxes) for each in spread.values())
    reads = _Reads(filling, count)
    needed: set[str] = set()
    for path, owner in owners.items():
        needed |= filling.needed(path)
        boxes = spread[owner.path].boxes
        reads.add(path, boxes if len(boxes) == count else boxes * count)
    nbytes = sum(weights.entries[entry].nbytes for entry in needed)
    return LoadPlan(filling.map.direction, len(needed), nbytes, tuple(reads.total.tolist()), seen_as.lines)


def _opened(source: Any, made: Map, skip: Collection[str], prefix: str | None) -> Opened:
    if isinstance(source, str | os.PathLike):
        check_here(source)
        return opened(local_path(source), made, skip, prefix)
    return seen(_Described(source), made, skip, prefix)


class _Described:
    """See `Source`. A model, abstract or live, as the checkpoint that would be saved of it, in one file."""

    others: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def __init__(self, model: Any) -> None:
        """Raises UsageError: it is no model, or one without tensors."""
        found = {path: each.target for path, each in loader_of(model).spread(model, 1).items() if each.target.saved}
        self.entries: Mapping[str, TensorEntry] = {
            path: TensorEntry(each.shape, each.dtype) for path, each in found.items()
        }
        self.aliases: Mapping[str, str] = {alias: path for path, each in found.items() for alias in each.aliases}

    def array(self, path: str) -> np.ndarray:
        raise NotImplementedError(f"{path} has no values: a plan reads none")

    def release(self, path: str) -> None:
        """There is nothing to give back."""

    def place(self, path: str) -> tuple[Path, int]:
        return Path(), 0


class _Reads:
    """The bytes that each process reads, tensor by tensor of the port.

    total: of each process.
    """

    def __init__(self, filling: Filling, processes: int) -> None:
        self.total = np.zeros(processes, np.int64)
        self._filling = filling
        # Thousands of tensors lie alike. The boxes are kept, so that no others get their number.
        self._alike: dict[tuple[int, int], tuple[Any, np.ndarray]] = {}
        # What is read whole or in chunks is read once by a process, whatever needs it.
        self._seen: list[dict[str, set[tuple[int, ...]]]] = [{} for _ in range(processes)]

    def add(self, path: str, boxes: Sequence[Sequence[Box]]) -> None:
        """What the boxes of each process need of the source."""
        filling = self._filling
        if not all(isinstance(filling.source.place(entry), tuple) for entry in filling.needed(path)):
            for process, own in enumerate(boxes):
                self.total[process] += sum(self._new(process, path, box) for box in own)
            return
        each = filling.bytes_each(path)
        if not each:
            self.total += [sum(filling.nbytes(path, box) for box in own) for own in boxes]
            return
        if (id(boxes), each) not in self._alike:
            sizes = [sum(prod(lengths(box)) for box in own) * each for own in boxes]
            self._alike[id(boxes), each] = boxes, np.array(sizes, np.int64)
        self.total += self._alike[id(boxes), each][1]

    def _new(self, process: int, path: str, box: Box) -> int:
        """Of what a box needs that which this process has not read yet."""
        source, seen, found = self._filling.source, self._seen[process], 0
        for entry, part in self._filling.parts(path, box):
            place, stored = source.place(entry), source.entries[entry]
            if isinstance(place, tuple):
                found += part.size * stored.dtype.itemsize
                continue
            chunk = stored.shape if place is None else place.chunk
            if chunk is None:
                found += prod(lengths(bounds(part, stored.shape)[0])) * stored.dtype.itemsize
                continue
            new = touched(bounds(part, stored.shape)[0], chunk) - seen.setdefault(entry, set())
            seen[entry] |= new
            found += len(new) * prod(chunk) * stored.dtype.itemsize
        return found
