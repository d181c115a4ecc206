"""Destinations: what a conversion writes, one interface over the kinds of checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from ...common.errors import CheckpointError
from .headers import Entry

# Endings of files that a name without one of ours may well mean, so that no folder is made of that name.
OTHER = (".bin", ".ckpt", ".gz", ".h5", ".json", ".msgpack", ".npy", ".npz", ".onnx", ".pkl", ".pt", ".pth", ".zip")


class Destination(Protocol):
    """A checkpoint in the making. Threads may write to it at once."""

    def write(self, path: str, start: int, values: np.ndarray) -> None:
        """A run of one tensor's entries in C order, from its entry number `start` on."""
        ...

    def finish(self) -> None:
        """Everything was written."""
        ...

    def close(self) -> None:
        """Give back what is open, whether it was finished or not."""
        ...


def check_kind(place: Path) -> None:
    """Raise CheckpointError if a destination of that name is none that is written."""
    if place.suffix in OTHER:
        expected = "a destination that ends in .safetensors, or for Orbax a folder's name"
        raise CheckpointError(str(place), expected, f"one that ends in {place.suffix!r}", "Choose one of the two.")


def begun(place: Path, entries: Mapping[str, Entry], aliases: Mapping[str, str], framework: str) -> Destination:
    """A destination of the kind that its name says, with room for all its tensors.

    aliases: further paths of entries.
    framework: the side of the map that it is for.

    Raises:
        CheckpointError: there is no room, or a dtype that the kind does not have.
    """
    if place.suffix == ".safetensors":
        from .writers import SafetensorsWriter

        return SafetensorsWriter(place, entries, aliases, framework)
    from .writers import OrbaxWriter

    return OrbaxWriter(place, entries, aliases, framework)
