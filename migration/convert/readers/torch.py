"""A checkpoint of torch.save as a source, by way of the torch wing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ....common.errors import CheckpointError
from ....common.trees import leaves
from ..headers import Entry

# Where a training script keeps the model's weights beside its optimizer's, in the order in which they are tried.
WEIGHTS = ("state_dict", "model_state_dict", "model")


class TorchCheckpoint:
    """See `Source`. Tensors that share their memory in the file are one tensor.

    The weights are the mapping in the file, or, if no entry of it is a tensor, the one under the first of `WEIGHTS`
    that is there. Nested mappings are joined with dots.
    """

    def __init__(self, file: Path) -> None:
        """Raises CheckpointError as the torch wing's `files.read` does, and if the file holds no tensor."""
        self._file = file
        self._arrays: dict[str, np.ndarray] | None = None
        weights, beside = _weights(self._read(), file)
        found = dict(leaves(weights))
        self.others: tuple[str, ...] = (
            *beside,
            *(path for path, value in found.items() if not isinstance(value, np.ndarray)),
        )
        arrays = {path: value for path, value in found.items() if isinstance(value, np.ndarray)}
        if not arrays:
            raise CheckpointError(str(file), "a mapping from paths to tensors", _described(weights), _REMEDY)
        self.aliases: Mapping[str, str] = _aliases(arrays)
        self._arrays = {path: array for path, array in arrays.items() if path not in self.aliases}
        self.entries: Mapping[str, Entry] = {
            path: Entry(array.shape, array.dtype) for path, array in self._arrays.items()
        }

    def array(self, path: str) -> np.ndarray:
        if self._arrays is None:
            weights, _ = _weights(self._read(), self._file)
            self._arrays = {name: value for name, value in leaves(weights) if name in self.entries}
        return self._arrays[path]

    def release(self, path: str) -> None:
        """PyTorch's mapping is released as a whole; see `close`."""

    def close(self) -> None:
        """Unmap the file, unless an array of it is still in use. `array` maps it again."""
        self._arrays = None

    def _read(self) -> Any:
        return import_module("....impl_torch.files", __package__).read(self._file)


_REMEDY = "Save `model.state_dict()`, alone or under the key 'state_dict'."


def _weights(content: Any, file: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The mapping with the weights, and the keys beside it."""
    if not isinstance(content, Mapping):
        raise CheckpointError(str(file), "a mapping from paths to tensors", _described(content), _REMEDY)
    if any(isinstance(value, np.ndarray) for value in content.values()):
        return content, ()
    for key in WEIGHTS:
        if isinstance(content.get(key), Mapping):
            return content[key], tuple(str(each) for each in content if each != key)
    return content, ()


def _described(content: Any) -> str:
    if isinstance(content, np.ndarray):
        return "one tensor"
    if isinstance(content, Mapping):
        return "one without tensors: " + (", ".join(repr(key) for key in content) or "it is empty")
    return type(content).__name__


def _aliases(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Further paths of tensors that lie at one address with one shape and one order."""
    first: dict[Any, str] = {}
    found = {}
    for path, array in arrays.items():
        place = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype)
        owner = first.setdefault(place, path) if array.size else path
        if owner != path:
            found[path] = owner
    return found
