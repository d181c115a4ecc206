"""A safetensors file as a source: mapped into memory, so that a tensor is read when it is looked at."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import headers
from ..headers import Entry


class SafetensorsFile:
    """See `Source`. Metadata `{alias: canonical}`, as `safetensors.torch.save_model` writes it, is read as ties."""

    others: tuple[str, ...] = ()

    def __init__(self, file: Path) -> None:
        """Raises CheckpointError as `headers.read` does."""
        header = headers.read(file)
        self._offsets = header.offsets
        self.entries: Mapping[str, Entry] = {
            path: header.entries[path] for path in sorted(header.entries, key=self._offsets.__getitem__)
        }
        self.aliases: Mapping[str, str] = {
            alias: path for alias, path in header.metadata.items() if path in self.entries and alias not in self.entries
        }
        with file.open("rb") as stream:
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def array(self, path: str) -> np.ndarray:
        shape, dtype = self.entries[path]
        count = self.entries[path].nbytes // dtype.itemsize
        return np.frombuffer(self._map, dtype, count, self._offsets[path]).reshape(shape)

    def release(self, path: str) -> None:
        """The pages of a mapped file count as ours as long as they are mapped; they stay in the system's cache."""
        start = self._offsets[path] // mmap.PAGESIZE * mmap.PAGESIZE
        length = self._offsets[path] + self.entries[path].nbytes - start
        if length and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, start, length)
