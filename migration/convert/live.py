"""A live model as a source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...common.errors import UsageError
from ...common.safetensors import TensorEntry
from ...pairs.maps import Map
from ...pairs.wings import side_wing


class LiveModel:
    """See `Source`. The tensors that its framework saves, and what the map has besides them; random state is none."""

    files: tuple[Path, ...] = ()
    others: tuple[str, ...] = ()

    def __init__(self, model: Any, made: Map) -> None:
        """Raises UsageError: it is no model, or one without tensors; NotExpressibleError: as the wing says."""
        known = {*made.by_reference, *made.by_port}
        found = {
            path: each
            for path, each in side_wing(model).stored_tensors(model).items()
            if each.saved or path in known or known.intersection(each.aliases)
        }
        if not found:
            raise UsageError("model", "a model with tensors", f"{type(model).__name__} without")
        self._arrays = {path: each.array for path, each in found.items()}
        self.entries: Mapping[str, TensorEntry] = {
            path: TensorEntry(array.shape, array.dtype) for path, array in self._arrays.items()
        }
        self.aliases: Mapping[str, str] = {alias: path for path, each in found.items() for alias in each.aliases}

    def array(self, path: str) -> np.ndarray:
        return self._arrays[path]

    def release(self, path: str) -> None:
        del self._arrays[path]

    def place(self, path: str) -> None:
        return None
