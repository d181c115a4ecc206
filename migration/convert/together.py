"""Saving a model by its shards: each is read, laid out and written by a process that has it, and none is sent.

A row of a map only splits, merges and permutes axes. What a shard has of it lies in the destination's tensor in a few
strided parts, so that no process needs more than its own shards, and no two write the same entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ...common.errors import CheckpointError, DtypeError, NotExpressibleError, UsageError, WeightsError
from ...common.safetensors import TensorEntry
from ...common.wing import Box, Loader, Processes, SelfAnswering, Target, lengths
from ...pairs.maps import (
    Factors,
    Map,
    MapRow,
    Part,
    boxes_of,
    kept_axes,
    magnitude_box,
    parts_of,
    placed,
    product,
    weight_norms,
    windows,
)
from ...pairs.wings import loader_of
from ..meeting import Meeting
from .execute import Run, new_array, ready
from .opening import merging
from .planning import Plan, candidates, equal, two_values, unsettled
from .publish import draft, unwritable

# So many bytes of a shard are laid out at a time.
WINDOW = 16 << 20
Holders = Mapping[Box, tuple[int, ...]]


class Shards:
    """See `Source`: the tensors of a live model that lie in shards, of which `array` would be all and is not there.

    holders: of each tensor all its boxes, with the numbers of the processes that have them; none for a copy in each.
    processes: those that hold them together; None for this one alone.
    told: a line about the weight norms whose products are seen, if any.
    """

    others: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def __init__(
        self,
        targets: Mapping[str, Target],
        holders: Mapping[str, Holders],
        processes: Processes | None,
        loader: Loader,
        norms: Mapping[str, Factors] = MappingProxyType({}),
    ) -> None:
        """norms: by the paths of products that are seen in the place of their factors, those."""
        self._targets, self._loader, self._norms = targets, loader, norms
        self._holders = holders
        self.processes = processes
        products = {factors.direction: path for path, factors in norms.items()}
        magnitudes = {factors.magnitude for factors in norms.values()}
        seen = {products.get(path, path): path for path in targets if path not in magnitudes}
        self.holders = {name: holders[path] for name, path in seen.items()}
        self.entries: Mapping[str, TensorEntry] = {
            name: TensorEntry(targets[path].shape, targets[path].dtype) for name, path in seen.items()
        }
        self.aliases: Mapping[str, str] = {
            alias: path for path, each in targets.items() if path in self.entries for alias in each.aliases
        }
        self.told = (merging(norms),) if norms else ()

    @staticmethod
    def of(model: Any) -> Shards | None:
        """None where every tensor is in this process as one, and where something else is to be said of the model."""
        if isinstance(model, SelfAnswering):
            return None
        try:
            loader = loader_of(model)
            targets = loader.targets(model)
        except (UsageError, DtypeError):
            return None
        if not all(target.has_values for target in targets.values()):
            return None
        holders = {path: loader.holders(target) for path, target in targets.items()}
        processes = loader.processes(targets)
        if processes is None and all(len(boxes) < 2 for boxes in holders.values()):
            return None
        return Shards(targets, holders, processes, loader)

    def known_to(self, made: Map) -> Shards | None:
        """Without what neither the framework saves nor the map has, and with products in the place of weight norms.

        None where they must be seen as a whole.

        Raises:
            NotExpressibleError: a weight norm whose lengths, or whose magnitudes, other processes have parts of.
        """
        norms = weight_norms({path: target.shape for path, target in self._targets.items()}, made)
        if norms and self.processes is None:
            return None
        for path, factors in norms.items():
            if not self._lie_alike(factors):
                expected = "a magnitude and a direction of which each process has the same slices, as a whole"
                found = f"other parts of {factors.magnitude} and {factors.direction}"
                remedy = (
                    "Shard both along the axes of the magnitude, or merge weight norms before the model is sharded."
                )
                raise NotExpressibleError(path, expected, found, remedy)
        known = {*made.by_reference, *made.by_port, *(each for factors in norms.values() for each in factors)}
        kept = {
            path: target
            for path, target in self._targets.items()
            if target.saved or path in known or known.intersection(target.aliases)
        }
        return Shards(kept, self.holders, self.processes, self._loader, norms)

    def _lie_alike(self, factors: Factors) -> bool:
        """Whether who has a part of a direction has the lengths in it, and their magnitudes."""
        shapes = [self._targets[path].shape for path in factors]
        for box, numbers in self._holders[factors.direction].items():
            needed = magnitude_box(shapes[0], shapes[1], box)
            having = [own for part, own in self._holders[factors.magnitude].items() if needed and _has(part, needed)]
            if needed is None or not (
                () in having or (numbers and {*numbers} <= {each for own in having for each in own})
            ):
                return False
        return True

    def array(self, path: str) -> np.ndarray:
        raise NotExpressibleError(path, "a tensor that is asked for by its shards", "one that is asked for as a whole")

    def release(self, path: str) -> None:
        """They are the model's."""

    def place(self, path: str) -> None:
        return None

    def part(self, path: str, box: Box) -> np.ndarray:
        """The values in a box that this process has."""
        if path not in self._norms:
            return np.ascontiguousarray(self._loader.part(self._targets[path], box))
        magnitude, direction = (self._targets[each] for each in self._norms[path])
        needed = magnitude_box(magnitude.shape, direction.shape, box) or ()
        around = next(each for each in magnitude.boxes if _has(each, needed))
        inside = tuple(
            slice(start - first, stop - first) for (start, stop), (first, _) in zip(needed, around, strict=True)
        )
        sizes = self._loader.part(magnitude, around)[inside]
        return product(sizes, self._loader.part(direction, box), kept_axes(magnitude.shape, direction.shape))

    def own(self, path: str) -> tuple[Box, ...]:
        """The boxes that this process has."""
        return self._targets[self._norms[path].direction if path in self._norms else path].boxes


def _has(box: Box, part: Box) -> bool:
    """Whether all of a part lies in a box."""
    return all(first <= start and stop <= last for (first, last), (start, stop) in zip(box, part, strict=True))


class Share:
    """What one of several processes writes of a plan.

    nbytes: how many bytes of the destination that is.
    """

    def __init__(self, plan: Plan, shards: Shards, meeting: Meeting) -> None:
        """Raises NotExpressibleError: tensors that are one of the destination's when added up, in unlike shards."""
        self.plan = plan
        self._shards = shards
        self._number = meeting.number
        self._first = meeting.numbers[0]
        self._groups = {path: [*_groups(plan.rows(path))] for path in plan.entries}
        for path, groups in self._groups.items():
            for first, *others in groups:
                for row in others:
                    self._check_alike(path, first, row)
        used = dict.fromkeys(name for path in plan.entries for name in plan.needed(path))
        self._writers = _writers({name: shards.holders[name] for name in used}, shards.entries, self._first)
        self.nbytes = sum(
            part.size * plan.entries[path].dtype.itemsize
            for path, rows, box in self._boxes()
            for part in parts_of(rows[0].inverse(), box)
        )

    def check_values(self) -> None:
        """Hold the shards of all that is one tensor against each other, as far as this process has them.

        Raises:
            WeightsError: they differ, or are sharded otherwise, and none is to be kept.
        """
        for names in candidates(self._shards, self.plan.map, self.plan.keep).values():
            first, *others = names
            for other in others:
                self._compare(names[first], names[other], first, other)
        for first, *others in unsettled(self.plan):
            for row in others:
                one, other = (self.plan.names[each.reference] for each in (first, row))
                if not _alike(first, row):
                    raise _unlike(first.reference, row.reference)
                self._compare(first.reference, row.reference, one, other)

    def runs(self) -> Iterator[Run]:
        """Window by window, each with its part, whose `source` is in the destination's tensor."""
        for path, rows, box in self._boxes():
            arrays = [self._shards.part(self.plan.names[row.reference], box) for row in rows]
            most = max(WINDOW // arrays[0].itemsize, 1)
            for part in (each for whole in parts_of(rows[0].inverse(), box) for each in windows(whole, most)):
                yield Run(path, part, _made(rows, arrays, part), True)

    def boxes(self) -> Iterator[tuple[str, Box, Callable[[], np.ndarray]]]:
        """The boxes of the destination's tensors that this process writes, and what makes the values of each."""
        for path, rows, box in self._boxes():
            for found, part in boxes_of(rows[0], box):
                yield path, found, partial(self._values, path, rows, box, found, part)

    def all_boxes(self, path: str) -> Iterator[Box]:
        """Of one of the destination's tensors, whichever process writes them."""
        for rows in self._groups[path]:
            for box in self._shards.holders[self.plan.names[rows[0].reference]]:
                yield from (found for found, _ in boxes_of(rows[0], box))

    def _values(self, path: str, rows: Sequence[MapRow], box: Box, found: Box, part: Part) -> np.ndarray:
        arrays = [self._shards.part(self.plan.names[row.reference], box) for row in rows]
        run = Run(path, part, _made(rows, arrays, part), True)
        return ready(run, self.plan.entries[path].dtype, new_array).reshape(lengths(found))

    def _boxes(self) -> Iterator[tuple[str, Sequence[MapRow], Box]]:
        """Each tensor's rows, those that are summed together, with the boxes of the source that are this one's."""
        for path, groups in self._groups.items():
            for rows in groups:
                for box, number in self._writers[self.plan.names[rows[0].reference]].items():
                    if number == self._number:
                        yield path, rows, box

    def _compare(self, one: str, other: str, first: str, second: str) -> None:
        if self._shards.holders[first] != self._shards.holders[second]:
            raise _unlike(one, other)
        for box in self._shards.own(first):
            if not equal(self._shards.part(first, box), self._shards.part(second, box)):
                raise two_values(one, other)

    def _check_alike(self, path: str, first: MapRow, row: MapRow) -> None:
        one, other = (self._shards.holders[self.plan.names[each.reference]] for each in (first, row))
        if one != other or not _alike(first, row):
            expected = f"{first.reference} and {row.reference} sharded alike, whose sum it is"
            raise NotExpressibleError(path, expected, "other shards of the one than of the other", "Shard them alike.")


def _groups(rows: Sequence[MapRow]) -> Iterator[Sequence[MapRow]]:
    """Summed rows of one piece together, any other one alone."""
    groups: dict[Any, list[MapRow]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row.port_piece if row.summed else number, []).append(row)
    yield from groups.values()


def _alike(one: MapRow, other: MapRow) -> bool:
    """Whether an entry of the destination's tensor is at the same place of both rows' tensors."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("shape", "layout", "sizes", "reference_piece", "port_piece", "transform")
    )


def _made(rows: Sequence[MapRow], arrays: Sequence[np.ndarray], part: Part) -> np.ndarray:
    """A part of the destination's tensor, of shards of the rows' tensors."""
    total = None
    for row, array in zip(rows, arrays, strict=True):
        values = placed(array, part)
        values = np.zeros_like(values) if row.gives_zeros else row.transformed(values)
        total = values if total is None else total + values
    return total  # type: ignore[return-value]


def _writers(
    holders: Mapping[str, Holders], entries: Mapping[str, TensorEntry], first: int
) -> dict[str, dict[Box, int]]:
    """Of every box the process that writes it: of those that have it the one that has least to write so far."""
    load: Counter[int] = Counter()
    found: dict[str, dict[Box, int]] = {}
    for path, boxes in holders.items():
        found[path] = {}
        for box, numbers in boxes.items():
            # Of copies that nobody keeps equal all tensors are one process'.
            number = min(numbers, key=lambda each: (load[each], each)) if numbers else first
            found[path][box] = number
            load[number] += TensorEntry(lengths(box), entries[path].dtype).nbytes
    return found


def _unlike(one: str, other: str) -> WeightsError:
    expected = f"{one} and {other}, which are one tensor of the model, sharded alike, so that they can be compared"
    remedy = f"Choose one: keep=[{one!r}] or keep=[{other!r}], or tie them. Nothing was written."
    return WeightsError("", expected, "other shards of the one than of the other", remedy)


@contextmanager
def shared_draft(meeting: Meeting, destination: Path, overwrite: bool, inputs: Sequence[Path]) -> Iterator[Path]:
    """See `draft`: the first process makes it and publishes it, when all have left the block without an error.

    Raises:
        CheckpointError: as `draft`, or this process does not see what the first one made.
        ProcessError: another one failed, or is not heard of any more.
    """
    if meeting.leads:
        with draft(destination, overwrite, inputs) as made, meeting.held_by_first():
            meeting.exchange("draft", made.parent.name)
            yield made
            meeting.exchange("made")
    else:
        with meeting.held_by_first(), _writable(destination):
            folder = meeting.exchange("draft")[meeting.numbers[0]]
            made = destination.absolute().parent / folder / destination.name
            if not made.parent.is_dir():
                expected = "a destination in a folder that all processes see"
                found = f"none of what process {meeting.numbers[0]} made there"
                raise CheckpointError(str(destination), expected, found, "Give a place on a disk that they share.")
            yield made
            meeting.exchange("made")
    meeting.exchange("published")


@contextmanager
def _writable(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(destination, error) from None
