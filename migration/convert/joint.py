"""Destinations that several processes write together, each what is made of its own shards, by the engines of each kind.

The first process makes what there is to write to, and what is left when all have written: an index, metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from math import gcd
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...common.errors import CheckpointError
from ...common.tables import shape_text
from ...common.wing import Box
from ...pairs.maps import nested
from ..meeting import Meeting
from .destinations import DCP, FILE, headers, open_destination
from .execute import Progress, made_in_order
from .planning import aliases_of
from .together import Share
from .writers import Destination, RangesWriter, check_room

# Told of so many bytes that were made.
Follow = Callable[[int], None]


class JointWriter(Protocol):
    """A destination in the making by several processes."""

    def open(self) -> None:
        """Make what all write to. For the first process, before any other writes."""
        ...

    def write(self, follow: Follow) -> None:
        """Write this process' share, and have it on the disk."""
        ...

    def finish(self) -> None:
        """All have written. For the first process."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


def write_together(share: Share, made: Path, most: int | None, meeting: Meeting, on_progress: Progress | None) -> None:
    """Write all that this process is to write, among the others, and finish what the first one alone can.

    Raises:
        DtypeError: as `execute`. CheckpointError: a name or dtype that the destination does not have, or not all was
            written. OSError: it cannot be written. ProcessError: another process failed.
    """
    done = 0

    def follow(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(done, share.nbytes)
        meeting.check()

    writer = _opened(share, made, most, meeting)
    try:
        if meeting.leads:
            writer.open()
        meeting.exchange("room")
        writer.write(follow)
        _check_written(share, meeting)
        if meeting.leads:
            writer.finish()
    finally:
        writer.close()


def _opened(share: Share, made: Path, most: int | None, meeting: Meeting) -> JointWriter:
    if most is not None or made.suffix == FILE:
        return _Files(share, made, most)
    return (_Dcp if made.suffix == DCP else _Orbax)(share, made, meeting)


def _check_written(share: Share, meeting: Meeting) -> None:
    """Hold what all processes have written against what there is to write."""
    total = sum(entry.nbytes for entry in share.plan.entries.values())
    written = share.nbytes + sum(map(int, meeting.exchange("written", str(share.nbytes)).values()))
    if written != total:
        expected, remedy = f"{total:,} bytes of all processes together", "They do not hold what they say they hold."
        raise CheckpointError("", expected, f"{written:,}", remedy)


class _Files:
    """Files of safetensors, one or shards; each process writes its ranges of them."""

    def __init__(self, share: Share, made: Path, most: int | None) -> None:
        plan = share.plan
        self._share, self._made = share, made
        self._asked = plan.entries, aliases_of(plan), plan.map.direction[1], most
        self._whole: Destination | None = None

    def open(self) -> None:
        self._whole = open_destination(self._made, *self._asked)

    def write(self, follow: Follow) -> None:
        plan = self._share.plan
        with closing(RangesWriter(headers(self._made, *self._asked))) as own:
            # Closed before an error goes on: no thread is to write when the files are closed.
            with closing(made_in_order(plan, self._share.runs(), own)) as made:
                for run in made:
                    follow(run.values.size * plan.entries[run.path].dtype.itemsize)
            own.finish()

    def finish(self) -> None:
        if self._whole is not None:
            self._whole.finish()

    def close(self) -> None:
        if self._whole is not None:
            self._whole.close()


class _Boxes:
    """A folder in which each process has files of its own, with boxes of tensors."""

    def __init__(self, share: Share, made: Path, meeting: Meeting) -> None:
        self._share, self._made, self._meeting = share, made, meeting
        self._names: dict[str, list[str]] = {path: [path] for path in share.plan.entries}
        for alias, path in aliases_of(share.plan).items():
            self._names[path].append(alias)

    def boxes(self, follow: Follow) -> Iterator[tuple[str, Box, Callable[[], np.ndarray]]]:
        for path, box, make in self._share.boxes():
            yield path, box, _followed(make, follow)

    def close(self) -> None:
        """Nothing is open."""


def _followed(make: Callable[[], np.ndarray], follow: Follow) -> Callable[[], np.ndarray]:
    def made() -> np.ndarray:
        values = make()
        follow(values.nbytes)
        return values

    return made


class _Dcp(_Boxes):
    """`torch.distributed.checkpoint`. What each process has written where, it notes beside the folder."""

    def open(self) -> None:
        check_room(self._made, self._share.plan.entries)
        self._made.mkdir()

    def write(self, follow: Follow) -> None:
        shapes, number = dict(self._share.plan.entries), self._meeting.number
        told = _dcp().write_boxes(self._made, number, shapes, self.boxes(follow))
        self._note(number).write_text(json.dumps(told))

    def finish(self) -> None:
        notes = [json.loads(self._note(number).read_text()) for number in self._meeting.numbers]
        aliases = aliases_of(self._share.plan)
        _dcp().finish_boxes(self._made, self._share.plan.entries, aliases, [each for note in notes for each in note])

    def _note(self, number: int) -> Path:
        return self._made.with_name(f"{self._made.name}.{number}")


class _Orbax(_Boxes):
    """Orbax, in chunks of which none is of two processes."""

    def __init__(self, share: Share, made: Path, meeting: Meeting) -> None:
        """Raises CheckpointError: an array without entries, which Orbax does not save."""
        super().__init__(share, made, meeting)
        for path, (shape, _) in share.plan.entries.items():
            if 0 in shape:
                remedy = "Write another kind of checkpoint."
                raise CheckpointError(path, "an array with entries, as Orbax saves them", shape_text(shape), remedy)

    def open(self) -> None:
        check_room(self._made, self._share.plan.entries)
        self._parts.mkdir()

    def write(self, follow: Follow) -> None:
        boxes = [*self._named(follow)]
        arrays = {name: self._chunked(path) for path, name in {(self._owners[name], name) for name, *_ in boxes}}
        _orbax().write_boxes(self._parts, self._meeting.number, arrays, boxes)

    def finish(self) -> None:
        plan = self._share.plan
        arrays = {name: self._chunked(path) for path, names in self._names.items() for name in names}
        tree = nested({name: name for name in arrays}, with_numbers=plan.map.direction[1] == "nnx")
        _orbax().finish_boxes(self._made, self._parts, self._meeting.number, arrays, tree)

    @property
    def _parts(self) -> Path:
        return self._made.with_name(f"{self._made.name}.parts")

    @property
    def _owners(self) -> dict[str, str]:
        return {name: path for path, names in self._names.items() for name in names}

    def _named(self, follow: Follow) -> Iterator[tuple[str, Box, Callable[[], np.ndarray]]]:
        """Every box under each name of its tensor."""
        for path, box, make in self._share.boxes():
            for name in self._names[path]:
                yield name, box, _followed(make, follow) if name == path else make

    def _chunked(self, path: str) -> Any:
        shape, dtype = self._share.plan.entries[path]
        boxes = [*self._share.all_boxes(path)]
        chunk = tuple(_chunk(length, {end for box in boxes for end in box[axis]}) for axis, length in enumerate(shape))
        return _orbax().Chunked(shape, dtype, chunk)


def _chunk(length: int, ends: set[int]) -> int:
    """The longest run along an axis of which each box has all or nothing."""
    return gcd(*(ends - {0, length})) or max(length, 1)


def _dcp() -> Any:
    return import_module("...impl_torch.dcp", __package__)


def _orbax() -> Any:
    return import_module("...impl_jax.files", __package__)
