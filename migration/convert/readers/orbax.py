"""An Orbax checkpoint as a source, by way of the JAX wings."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np

from ....common.errors import CheckpointError
from ....common.trees import leaves
from ..headers import Entry

MARK = "_METADATA"
# What a CheckpointManager calls the only item of a step.
ITEM = "default"
VALUE = ".value"


class OrbaxFolder:
    """See `Source`. It is read whole, and what was released is forgotten."""

    aliases: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError: it is no Orbax checkpoint, or damaged."""
        found = dict(leaves(import_module("....impl_jax.files", __package__).read(_checkpoint(folder))))
        arrays = {path: np.asarray(value) for path, value in found.items() if hasattr(value, "dtype")}
        self.others: tuple[str, ...] = tuple(path for path in found if path not in arrays)
        # An nnx.State that was saved as it is has a Variable, and so a node, about every array.
        is_state = bool(arrays) and all(path.endswith(VALUE) for path in arrays)
        self._arrays = {path.removesuffix(VALUE) if is_state else path: array for path, array in arrays.items()}
        self.entries: Mapping[str, Entry] = {
            path: Entry(array.shape, array.dtype) for path, array in self._arrays.items()
        }

    def array(self, path: str) -> np.ndarray:
        return self._arrays[path]

    def release(self, path: str) -> None:
        del self._arrays[path]


def _checkpoint(folder: Path) -> Path:
    """The folder itself, or the item of a CheckpointManager's step."""
    for place in (folder, folder / ITEM):
        if (place / MARK).is_file():
            return place
    inside = sorted(each.name for each in folder.iterdir())
    found = f"a folder with {', '.join(map(repr, inside[:6]))}{', ...' if len(inside) > 6 else ''}"
    remedy = "Give the step's own folder, or the file itself if there is one in it."
    raise CheckpointError(
        str(folder), f"an Orbax checkpoint, which has a file {MARK}", found if inside else "an empty folder", remedy
    )
