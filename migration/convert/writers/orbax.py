"""An Orbax checkpoint as a destination: its tensors are made in memory, and then the JAX wings save them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np

from ....pairs.maps import nested
from ..copying import bits
from ..headers import Entry


class OrbaxWriter:
    """See `Destination`. The tree is nested by the dots of the paths, PyTorch's aliases among them."""

    def __init__(self, folder: Path, entries: Mapping[str, Entry], aliases: Mapping[str, str], framework: str) -> None:
        """Raises OSError if there is no room for it."""
        if sum(entry.nbytes for entry in entries.values()) > shutil.disk_usage(folder.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._folder = folder
        self._framework = framework
        self._aliases = aliases if framework not in ("linen", "nnx") else {}
        self._arrays = {path: np.empty(entry.shape, entry.dtype) for path, entry in entries.items()}

    def write(self, path: str, start: int, values: np.ndarray) -> None:
        bits(self._arrays[path]).reshape(-1)[start : start + values.size] = bits(values).reshape(-1)

    def finish(self) -> None:
        arrays = {**self._arrays, **{alias: self._arrays[path] for alias, path in self._aliases.items()}}
        tree = nested(arrays, with_numbers=self._framework == "nnx")
        import_module("....impl_jax.files", __package__).write(self._folder, tree)

    def close(self) -> None:
        self._arrays = {}
