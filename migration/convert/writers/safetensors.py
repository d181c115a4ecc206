"""A safetensors file as a destination: every run of a tensor goes straight to its place in the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..copying import bits
from ..headers import Entry, written

# The disk begins with what is written when so much of it waits, so that little is left to wait for at the end.
SYNCED = 128 << 20
# What the `format` of a file's metadata says, which transformers wants to know.
FORMATS = {"torch": "pt", "linen": "flax", "nnx": "flax"}


class SafetensorsWriter:
    """See `Destination`. A tie is written once, with `{alias: owner}` in the metadata as `save_model` has it."""

    def __init__(self, file: Path, entries: Mapping[str, Entry], aliases: Mapping[str, str], framework: str) -> None:
        """Raises OSError if there is no room for the file, all of which is asked for at once."""
        metadata = {"format": FORMATS[framework]} if framework in FORMATS else {}
        start, self._header = written(entries, {**metadata, **aliases})
        self._disk = ThreadPoolExecutor(1, "paritree-sync")
        self._syncs: list[Future[None]] = []
        self._unsynced = 0
        self._open: int | None = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._open, 0, self._header.size)
            _write(self._open, memoryview(start), 0)
        except OSError:
            self.close()
            raise

    def write(self, path: str, start: int, values: np.ndarray) -> None:
        assert self._open is not None
        offset = self._header.offsets[path] + start * values.dtype.itemsize
        _write(self._open, bits(values).reshape(-1).view(np.uint8).data, offset)
        # Threads may lose each other's count here, which only moves the next sync.
        self._unsynced += values.nbytes
        if self._unsynced > SYNCED:
            self._unsynced = 0
            self._syncs.append(self._disk.submit(os.fsync, self._open))

    def finish(self) -> None:
        assert self._open is not None
        # An error of the disk is told once, to the sync that meets it.
        for sync in self._syncs:
            sync.result()
        os.fsync(self._open)

    def close(self) -> None:
        self._disk.shutdown(cancel_futures=True)
        if self._open is not None:
            os.close(self._open)
            self._open = None


def _write(file: int, content: memoryview, offset: int) -> None:
    """The system may take less than it is given."""
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)
