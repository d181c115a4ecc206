"""Reading parts of a source's entries: of what lies in a file as it lies in memory, no more bytes than asked for."""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack
from itertools import product
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from ...common.errors import CheckpointError
from ...common.reading import opened, read_into
from ...common.safetensors import TensorEntry
from ...common.wing import Box
from ...pairs.maps import Part, alone, bounds, placed, run_length, runs, viewed, windows
from ..convert import Parted, Source, check_unchanged, states, written_to

# Where so many runs of a window are shorter than this, pages are read, as the disk has them.
MANY, SHORT = 4096, 512


class Reader:
    """Reads from a source, and counts.

    nbytes: how many bytes were asked of files; of an entry that its kind of checkpoint gives only whole or in chunks,
        all of it, or all of each chunk, once.
    """

    def __init__(self, source: Source) -> None:
        """Raises CheckpointError: a file of the source cannot be opened."""
        self.nbytes = 0
        self._source = source
        self._files: dict[Path, _File] = {}
        self._whole: dict[str, np.ndarray] = {}
        self._chunks: dict[str, set[tuple[int, ...]]] = {}
        self._before = states(source.files)
        self._stack = ExitStack()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._whole.clear()
        self._stack.close()

    def values(self, entry: str, part: Part) -> np.ndarray:
        """A part's entries, of the shape of its axes.

        Raises:
            CheckpointError: a file ends before them or cannot be read.
        """
        shape = tuple(axis.length for axis in part.axes)
        place = self._source.place(entry)
        if place is None:
            return viewed(self._entry(entry), part)
        if not isinstance(place, tuple):
            return self._from_chunks(entry, place, part)
        file, first = place
        stored = self._source.entries[entry]
        if file not in self._files:
            self._files[file] = self._stack.enter_context(_File(file))
        found, count = self._files[file].values(stored, first, part)
        self.nbytes += count
        return found.reshape(shape)

    def _from_chunks(self, entry: str, stored: Parted, part: Part) -> np.ndarray:
        box, inside = bounds(part, self._source.entries[entry].shape)
        if stored.chunk is None:
            found = stored.read(box)
            self.nbytes += found.nbytes
            return viewed(found, inside)
        seen = self._chunks.setdefault(entry, set())
        new = touched(box, stored.chunk) - seen
        seen |= new
        self.nbytes += len(new) * prod(stored.chunk) * self._source.entries[entry].dtype.itemsize
        return viewed(stored.read(box), inside)

    def release(self, entry: str) -> None:
        """Nothing of it is needed any more."""
        if self._whole.pop(entry, None) is not None:
            self._source.release(entry)

    def check(self) -> None:
        """Hold the files against what they were when they were opened, those that are not kept open as they are now.

        Raises:
            CheckpointError: one has been written to since.
        """
        for file in self._files.values():
            file.check()
        if not self._files:
            check_unchanged(self._before, self._source.files)

    def _entry(self, entry: str) -> np.ndarray:
        if entry not in self._whole:
            self._whole[entry] = np.ascontiguousarray(self._source.array(entry))
            self.nbytes += self._source.entries[entry].nbytes
        return self._whole[entry]


class _File:
    """A file that stays open, so that another one of its name is no change of it."""

    def __init__(self, file: Path) -> None:
        """Raises CheckpointError: it cannot be opened."""
        self._path = file
        try:
            self._stream: IO[bytes] = opened(file)
        except OSError as error:
            raise self._unreadable(error) from None
        self._state = self._now()
        self._map: mmap.mmap | None = None

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._map = None

    def values(self, stored: TensorEntry, first: int, part: Part) -> tuple[np.ndarray, int]:
        """A part of the tensor that begins at a byte of the file, and how many bytes were read for it."""
        run, size = run_length(part), stored.dtype.itemsize
        length = run * size
        if part.size // run > MANY and length < SHORT:
            return self._from_pages(stored, first, part)
        found = np.empty(part.size, stored.dtype)
        content = found.view(np.uint8).data
        for number, offset in enumerate((first + runs(part)[1] * size).tolist()):
            self._read(content[number * length : (number + 1) * length], offset)
        return found, found.nbytes

    def _read(self, into: memoryview, offset: int) -> None:
        try:
            read_into(self._stream, into, offset)
        except OSError as error:
            raise self._unreadable(error) from None

    def _from_pages(self, stored: TensorEntry, first: int, part: Part) -> tuple[np.ndarray, int]:
        # What is mapped is read without an error of Python's: a file that was cut short would end the process.
        self.check()
        if self._map is None:
            self._map = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)
        end = part.source + sum((axis.length - 1) * axis.source for axis in part.axes) + 1
        whole = np.frombuffer(self._map, stored.dtype, end, first)
        found, pages, size = np.empty(part.size, stored.dtype), 0, stored.dtype.itemsize
        # A few runs after the other: a number for each takes more room than the short run itself.
        for some in windows(alone(part), run_length(part) * max(MANY, 1)):
            placed(found, some)[...] = viewed(whole, some)
            length, starts = runs(some)
            offsets = first + starts * size
            ends = [offsets // mmap.PAGESIZE, (offsets + length * size - 1) // mmap.PAGESIZE]
            pages += len(np.unique(np.concatenate(ends)))
            self._release(int(ends[0].min()), int(ends[1].max()))
        return found, pages * mmap.PAGESIZE

    def _release(self, first: int, last: int) -> None:
        """Give back pages, which count as ours as long as they are mapped."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            start = first * mmap.PAGESIZE
            length = min((last + 1) * mmap.PAGESIZE, len(self._map)) - start
            self._map.madvise(mmap.MADV_DONTNEED, start, length)

    def check(self) -> None:
        """Raises CheckpointError: it was written to."""
        if self._now() != self._state:
            raise written_to(self._path)

    def _now(self) -> tuple[int, int]:
        found = os.fstat(self._stream.fileno())
        return found.st_size, found.st_mtime_ns

    def _unreadable(self, error: OSError) -> CheckpointError:
        found = error.strerror or str(error)
        return CheckpointError(str(self._path), "what can be read to its end", found, "Copy it again, and load again.")


def touched(box: Box, chunk: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The chunks of a tensor that a box of it lies in, by their numbers along its axes."""
    spans = [range(first // each, -(-stop // each)) for (first, stop), each in zip(box, chunk, strict=True)]
    return {*product(*spans)}
