"""Destinations: what a conversion writes, laid out before it is filled; one interface over the kinds of checkpoint."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from ...common.errors import CheckpointError
from ...common.safetensors import TensorEntry, encoded, ordered
from ...pairs.maps import nested

# The ending of a name that is a file's; any other is a folder's, for Orbax.
FILE = ".safetensors"
# Endings of files that a name without one of ours may well mean, so that no folder is made of that name.
OTHER = (".bin", ".ckpt", ".gz", ".h5", ".json", ".msgpack", ".npy", ".npz", ".onnx", ".pkl", ".pt", ".pth", ".zip")
# The disk begins with what is written when so much of it waits, so that little is left to wait for at the end.
SYNCED = 128 << 20
# What Orbax takes besides the tensors, at most: for a checkpoint, and for each tensor of it.
ROOM, ROOM_EACH = 128 << 10, 1 << 10
# What the `format` of a file's metadata says, which transformers wants to know.
FORMATS = {"torch": "pt", "linen": "flax", "nnx": "flax"}


class Destination(Protocol):
    """A checkpoint in the making. Threads may write to it at once."""

    def write(self, path: str, start: int, values: np.ndarray) -> None:
        """A contiguous run of one tensor's entries in C order and its dtype, from its entry number `start` on."""
        ...

    def finish(self) -> None:
        """Everything was written."""
        ...

    def close(self) -> None:
        """Give back what is open, whether it was finished or not."""
        ...


def check_kind(destination: Path) -> None:
    """Refuse a name that is of no kind that is written.

    Raises:
        CheckpointError: it ends as other files do.
    """
    ending = destination.suffix.lower()
    if ending in OTHER or ending == FILE != destination.suffix:
        expected = "a destination that ends in .safetensors, or for Orbax a folder's name"
        found = f"one that ends in {destination.suffix!r}"
        raise CheckpointError(str(destination), expected, found, "Choose one of the two.")


def open_destination(
    draft: Path, entries: Mapping[str, TensorEntry], aliases: Mapping[str, str], framework: str
) -> Destination:
    """A destination of the kind that its name says, with room for all its tensors.

    aliases: further paths of entries.
    framework: the side of the map that it is for.

    Raises:
        CheckpointError: a dtype that the kind does not have.
        OSError: there is no room.
    """
    is_file = draft.suffix == FILE
    check_names((*entries, *aliases), is_file)
    kind = SafetensorsWriter if is_file else OrbaxWriter
    return kind(draft, entries, aliases, framework)


def check_names(names: Iterable[str], is_file: bool) -> None:
    """Refuse a name that the destination would lose, or take for something else.

    Raises:
        CheckpointError: what safetensors has for itself, and what is no Unicode; for Orbax a part that is empty, or
            holds a slash or NUL, with which its storage parts and ends names.
    """
    for name in names:
        reason = _refused_in_file(name) if is_file else _refused_in_folder(name)
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            reason = "half of a surrogate pair, which is no Unicode"
        if reason:
            kind = "a .safetensors file" if is_file else "an Orbax folder"
            raise CheckpointError(repr(name), f"a name that {kind} can hold", reason, "Rename it in the model.")


def _refused_in_file(name: str) -> str:
    return f"{name!r}, which the format has for itself" if name in ("__metadata__", "format", "") else ""


def _refused_in_folder(name: str) -> str:
    bad = (repr(part) for part in name.split(".") if not part or "/" in part or "\0" in part)
    part = next(bad, "")
    return f"the part {part}" if part else ""


class SafetensorsWriter:
    """See `Destination`. Every run of a tensor goes straight to its offset in the file.

    A tie is written once, with `{alias: owner}` in the metadata as `safetensors.torch.save_model` has it.
    """

    def __init__(
        self, file: Path, entries: Mapping[str, TensorEntry], aliases: Mapping[str, str], framework: str
    ) -> None:
        """Raises OSError if there is no room for the file, all of which is asked for at once."""
        metadata = {"format": FORMATS[framework]} if framework in FORMATS else {}
        start, self._header = encoded(ordered(entries), {**metadata, **aliases})
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
        _write(self._open, _bytes(values).data, offset)
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


def _bytes(values: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, along one axis."""
    return values.reshape(-1).view(np.uint8)


class OrbaxWriter:
    """See `Destination`. Tensors are made in memory, and then the JAX wings save them.

    The tree is nested by the dots of the paths, PyTorch's aliases among them.
    """

    def __init__(
        self, folder: Path, entries: Mapping[str, TensorEntry], aliases: Mapping[str, str], framework: str
    ) -> None:
        """Raises OSError if there is no room for it."""
        needed = ROOM + sum(entry.nbytes + ROOM_EACH for entry in entries.values())
        if needed > shutil.disk_usage(folder.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._folder = folder
        self._framework = framework
        self._aliases = aliases
        self._arrays = {path: np.empty(entry.shape, entry.dtype) for path, entry in entries.items()}

    def write(self, path: str, start: int, values: np.ndarray) -> None:
        first = start * values.dtype.itemsize
        _bytes(self._arrays[path])[first : first + values.nbytes] = _bytes(values)

    def finish(self) -> None:
        arrays = {**self._arrays, **{alias: self._arrays[path] for alias, path in self._aliases.items()}}
        tree = nested(arrays, with_numbers=self._framework == "nnx")
        import_module("...impl_jax.files", __package__).write(self._folder, tree)

    def close(self) -> None:
        self._arrays = {}
