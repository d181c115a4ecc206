"""Filling boxes of a map's port from a source: of every row what lies within, read, laid out, summed and cast."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ...common.errors import DtypeError
from ...common.wing import Box, lengths
from ...pairs.maps import Map, MapRow, Part, common_dtype, copies, is_kept, parts_of, placed, windows, without_copies
from ..convert import Source, candidates, copy, equal, in_order, two_values
from .reading import Reader

# So many bytes are read at a time, of a box of any size.
WINDOW = 16 << 20


@dataclass(frozen=True)
class Filling:
    """What the tensors of a map's port are made of.

    map: from the source's side to the model's, of their size.
    entries: for each of the map's reference tensors the source's entries that have its values, with their paths.
    keep: of copies that are one tensor of the port, the paths whose values are taken.
    """

    source: Source
    map: Map
    entries: Mapping[str, Mapping[str, str]]
    keep: Collection[str]

    @staticmethod
    def of(source: Source, made: Map, keep: Collection[str]) -> Filling:
        """Raises UsageError for a path to keep that is none of a tie's."""
        return Filling(source, made, candidates(source, made, keep), keep)

    def order(self) -> list[str]:
        """The port's tensors as the source is best read."""
        return in_order(self.source, self.map, {owner: next(iter(names)) for owner, names in self.entries.items()})

    def needed(self, path: str) -> set[str]:
        """The source's entries that one of the port's tensors is made from."""
        return {entry for row in self.map.by_port[path] for entry in self.entries[row.reference]}

    def nbytes(self, path: str, box: Box) -> int:
        """How many bytes of the source a box needs, of copies and ties those of each."""
        each = self.bytes_each(path)
        if each:
            return prod(lengths(box)) * each
        return sum(part.size * self.source.entries[entry].dtype.itemsize for entry, part in self.parts(path, box))

    def bytes_each(self, path: str) -> int:
        """How many bytes of the source any entry of one of the port's tensors needs; 0 where they are not the same.

        Every entry is in one row of the map, or in as many as are summed or copied.
        """
        rows = self.map.by_port[path]
        found = {sum(self.source.entries[entry].dtype.itemsize for entry in self._compared(row)) for row in rows}
        return found.pop() if len(found) == 1 and not any(row.summed or row.copied for row in rows) else 0

    def parts(self, path: str, box: Box) -> Iterator[tuple[str, Part]]:
        """The source's entries of which a box needs parts, and these."""
        for row in self.map.by_port[path]:
            for part in parts_of(row, box):
                for entry in self._compared(row):
                    yield entry, part

    def fill(self, reader: Reader, path: str, box: Box, out: np.ndarray) -> None:
        """Write a box of one of the port's tensors.

        out: of the box's shape, in C order. Its dtype is cast to.

        Raises:
            WeightsError: two entries that are one tensor of the model have two values there.
            DtypeError: a value that the dtype cannot hold.
            CheckpointError: the source cannot be read.
        """
        rows = without_copies(self.map.by_port[path], self.keep)
        if not any(row.summed for row in rows):
            for row in rows:
                self._write(reader, row, box, out, path)
            self._compare_copies(reader, path, box, out)
            return
        dtypes = [self.source.entries[next(iter(self.entries[row.reference]))].dtype for row in rows]
        dtype, seen = common_dtype(dtypes), set()
        # What is cast is added up in the source's type before.
        room = out if out.dtype == dtype else np.empty(lengths(box), dtype)
        for row in rows:
            self._write(reader, row, box, room, path, adding=row.summed and row.port_piece in seen)
            seen.add(row.port_piece)
        if room is not out:
            _cast(room, out, path)

    def _write(self, reader: Reader, row: MapRow, box: Box, out: np.ndarray, path: str, adding: bool = False) -> None:
        for part in self._parts(row, box, out.dtype):
            target, values = placed(out, part), self._values(reader, row, part)
            if adding:
                np.add(target, values, out=target, casting="unsafe")
            else:
                _cast(values, target, path)
            # Two windows at a time would be held as long as the next one is read.
            del values

    def _parts(self, row: MapRow, box: Box, dtype: np.dtype, more: int = 0) -> Iterator[Part]:
        """What a row has within a box, in parts of which all that is held at a time is as much as a window.

        more: how many bytes for each entry whoever takes the parts holds besides.
        """
        first, *others = self._compared(row)
        stored = self.source.entries[first].dtype
        # Besides the values those of each other entry, those that a transform makes, and what says which a cast lost.
        held = stored.itemsize * (1 + len(others) + bool(row.transform or row.gives_zeros)) + len(others)
        held += 3 * (stored != dtype) + more
        for whole in parts_of(row, box):
            yield from windows(whole, max(WINDOW // held, 1))

    def _values(self, reader: Reader, row: MapRow, part: Part) -> np.ndarray:
        """A part of a row's values as the port has them."""
        (first, name), *others = self._compared(row).items()
        values = reader.values(first, part)
        for other, other_name in others:
            if not equal(values, reader.values(other, part)):
                raise two_values(name, other_name)
        return np.zeros_like(values) if row.gives_zeros else row.transformed(values)

    def _compared(self, row: MapRow) -> Mapping[str, str]:
        return self.entries[row.reference]

    def _compare_copies(self, reader: Reader, path: str, box: Box, out: np.ndarray) -> None:
        """Raises WeightsError for copies of one of the port's tensors that differ, where none is to be kept."""
        for first, *others in self._copies(path):
            for row in others:
                # Both values in C order, to be compared.
                for part in self._parts(row, box, out.dtype, 3 * out.itemsize):
                    target = placed(out, part)
                    second = np.empty_like(target)
                    _cast(self._values(reader, row, part), second, path)
                    if not equal(target, second):
                        raise two_values(first.reference, row.reference)

    def _copies(self, path: str) -> Sequence[tuple[MapRow, ...]]:
        rows = copies(self.map) if any(row.copied for row in self.map.by_port[path]) else []
        return [each for each in rows if each[0].port == path and not any(is_kept(row, self.keep) for row in each)]


def _cast(values: np.ndarray, target: np.ndarray, path: str) -> None:
    """Copy values to a place of any strides.

    Raises:
        DtypeError: one that the target's dtype cannot hold.
    """
    # In the order of the target's memory, along which a copy is to go in tiles.
    order = sorted(range(target.ndim), key=lambda axis: -abs(target.strides[axis]))
    values, target = values.transpose(order), target.transpose(order)
    with np.errstate(all="ignore"):
        copy(target, values)
    if values.dtype != target.dtype and "float" in target.dtype.name:
        lost = np.isfinite(values) & ~np.isfinite(target)
        if lost.any():
            worst = float(np.abs(values[lost].astype(np.float64)).max())
            remedy = "Make the model with a wider dtype."
            raise DtypeError(path, f"values that {target.dtype.name} can hold", f"{worst:g}", remedy)


def total(filling: Filling, boxes: Mapping[str, Sequence[Box]]) -> int:
    """How many bytes of the source are needed for boxes of the port's tensors."""
    return sum(filling.nbytes(path, box) for path, each in boxes.items() for box in each if prod(lengths(box)))
