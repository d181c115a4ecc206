"""Writers: what a conversion writes, laid out before it is filled; one interface over the kinds of checkpoint."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...common.safetensors import Header, TensorEntry, encoded, ordered
from ...pairs.maps import Part, nested, runs

# The disk begins with what is written when so much of it waits, so that little is left to wait for at the end.
SYNCED = 128 << 20
# What Orbax takes besides the tensors, at most: for a checkpoint, and for each tensor of it.
ROOM, ROOM_EACH = 128 << 10, 1 << 10
# What the `format` of a file's metadata says, which transformers wants to know.
FORMATS = {"torch": "pt", "linen": "flax", "nnx": "flax"}


class Destination(Protocol):
    """A checkpoint in the making. Threads may write to it at once.

    there: the paths that are written already.
    """

    there: Collection[str]

    def write(self, path: str, start: Any, values: np.ndarray) -> None:
        """A contiguous run of one tensor's entries in C order and its dtype, from its entry number `start` on.

        Where several processes write, one of its parts, by `start`.
        """
        ...

    def finish(self) -> None:
        """Everything was written."""
        ...

    def close(self) -> None:
        """Give back what is open, whether it was finished or not."""
        ...


def header_of(entries: Mapping[str, TensorEntry], aliases: Mapping[str, str], framework: str) -> tuple[bytes, Header]:
    """How a file begins, and what that says.

    Raises:
        CheckpointError: a dtype that the format does not have, or more than a header may hold.
    """
    metadata = {"format": FORMATS[framework]} if framework in FORMATS else {}
    return encoded(ordered(entries), {**metadata, **aliases})


class SafetensorsWriter:
    """See `Destination`. Every run of a tensor goes straight to its offset in the file.

    A tie is written once, with `{alias: owner}` in the metadata as `safetensors.torch.save_model` has it.
    """

    there: Collection[str] = ()

    def __init__(
        self, file: Path, entries: Mapping[str, TensorEntry], aliases: Mapping[str, str], framework: str
    ) -> None:
        """Raises OSError if there is no room for the file, all of which is asked for at once."""
        start, self._header = header_of(entries, aliases, framework)
        self._file = file
        self._disk = ThreadPoolExecutor(1, "paritree-sync")
        self._syncs: list[Future[None]] = []
        self._unsynced = 0
        self._lock = threading.Lock()
        self._open: int | None = None
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(made, 0, self._header.size)
            _write(made, memoryview(start), 0)
        finally:
            os.close(made)

    def write(self, path: str, start: int, values: np.ndarray) -> None:
        file = self._opened()
        offset = self._header.offsets[path] + start * values.dtype.itemsize
        _write(file, _bytes(values).data, offset)
        # Threads may lose each other's count here, which only moves the next sync.
        self._unsynced += values.nbytes
        if self._unsynced > SYNCED:
            self._unsynced = 0
            self._syncs.append(self._disk.submit(os.fsync, file))

    def finish(self) -> None:
        # An error of the disk is told once, to the sync that meets it.
        for sync in self._syncs:
            sync.result()
        os.fsync(self._opened())

    def close(self) -> None:
        self._disk.shutdown(cancel_futures=True)
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _opened(self) -> int:
        """The file, open from its first byte to its last: a process has room for fewer open files than shards."""
        with self._lock:
            if self._open is None:
                self._open = os.open(self._file, os.O_WRONLY)
            return self._open


class RangesWriter:
    """See `Destination`. Files that the first of several processes has made, into which this one writes its parts."""

    there: Collection[str] = ()

    def __init__(self, files: Mapping[Path, Header]) -> None:
        self._headers = files
        self._homes = {path: file for file, header in files.items() for path in header.entries}
        self._lock = threading.Lock()
        self._open: dict[Path, int] = {}

    def write(self, path: str, start: Part, values: np.ndarray) -> None:
        """The entries of a part, in the order of its axes."""
        file = self._opened(self._homes[path])
        first, content = self._headers[self._homes[path]].offsets[path], _bytes(values).data
        length, starts = runs(start)
        width = length * values.itemsize
        for number, offset in enumerate((first + starts * values.itemsize).tolist()):
            _write(file, content[number * width : (number + 1) * width], offset)

    def finish(self) -> None:
        for file in self._open.values():
            os.fsync(file)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def _opened(self, file: Path) -> int:
        with self._lock:
            if file not in self._open:
                self._open[file] = os.open(file, os.O_WRONLY)
            return self._open[file]


def _write(file: int, content: memoryview, offset: int) -> None:
    """The system may take less than it is given."""
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)


def _bytes(values: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, along one axis."""
    return values.reshape(-1).view(np.uint8)


def check_room(folder: Path, entries: Mapping[str, TensorEntry]) -> None:
    """Raises OSError if there is no room for a folder of Orbax or DCP."""
    needed = ROOM + sum(entry.nbytes + ROOM_EACH for entry in entries.values())
    if needed > shutil.disk_usage(folder.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _HeldWriter:
    """Tensors are made in memory; who has it saves them."""

    there: Collection[str] = ()

    def __init__(
        self, folder: Path, entries: Mapping[str, TensorEntry], aliases: Mapping[str, str], framework: str
    ) -> None:
        """Raises OSError if there is no room for it."""
        check_room(folder, entries)
        self._folder = folder
        self._framework = framework
        self._aliases = aliases
        self._arrays = {path: np.empty(entry.shape, entry.dtype) for path, entry in entries.items()}

    def write(self, path: str, start: int, values: np.ndarray) -> None:
        first = start * values.dtype.itemsize
        _bytes(self._arrays[path])[first : first + values.nbytes] = _bytes(values)

    def close(self) -> None:
        self._arrays = {}

    def _all(self) -> dict[str, np.ndarray]:
        return {**self._arrays, **{alias: self._arrays[path] for alias, path in self._aliases.items()}}


class OrbaxWriter(_HeldWriter):
    """See `Destination`. The JAX wings save a tree nested by the dots of the paths, PyTorch's aliases among them."""

    def finish(self) -> None:
        tree = nested(self._all(), with_numbers=self._framework == "nnx")
        import_module("...impl_jax.files", __package__).write(self._folder, tree)


class DcpWriter(_HeldWriter):
    """See `Destination`. The torch wing saves the tensors by torch.distributed.checkpoint, aliases among them."""

    def finish(self) -> None:
        import_module("...impl_torch.dcp", __package__).write(self._folder, self._all())
