"""Sources: what a conversion reads, one interface over every kind of checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from ...common.trees import CheckpointError
from .headers import Entry

INDEX = ".index.json"
TORCH = (".pt", ".pth", ".bin", ".ckpt")
KINDS = f"a .safetensors file, a torch checkpoint ({', '.join(TORCH)}), a {INDEX} of shards or an Orbax folder"


class Source(Protocol):
    """A checkpoint that is open for reading. No tensor of a mapped file is in memory until it is looked at.

    entries: each tensor once, in the order in which it is best read.
    aliases: further paths of an entry, where the checkpoint itself says that the two are one tensor.
    others: what it holds besides tensors.
    """

    entries: Mapping[str, Entry]
    aliases: Mapping[str, str]
    others: tuple[str, ...]

    def array(self, path: str) -> np.ndarray:
        """An entry's values, not to be written to."""
        ...

    def release(self, path: str) -> None:
        """Give back an entry's memory as far as it is the source's to give. It may be asked for again."""
        ...


def opened(place: Path) -> Source:
    """A source by the name of its file or folder.

    Raises:
        CheckpointError: there is none, or it is of no kind that is read, cut short or damaged.
    """
    if not place.exists():
        raise CheckpointError(str(place), KINDS, "nothing there", "Give its path from here.")
    try:
        return _opened(place)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(str(place), "what can be read", reason, "Look at its permissions.") from None


def _opened(place: Path) -> Source:
    # Each kind brings what it needs, a framework too, so it is imported when it is met.
    if place.is_dir():
        from .readers.orbax import OrbaxFolder

        return OrbaxFolder(place)
    if place.name.endswith(INDEX):
        from .readers.shards import Shards

        return Shards(place)
    return opened_file(place)


def opened_file(place: Path) -> Source:
    """A source that is one file; raises CheckpointError as `opened` does."""
    if place.suffix == ".safetensors":
        from .readers.safetensors import SafetensorsFile

        return SafetensorsFile(place)
    if place.suffix in TORCH:
        from .readers.torch import TorchCheckpoint

        return TorchCheckpoint(place)
    found = f"a file that ends in {place.suffix!r}" if place.suffix else "a file without an ending"
    raise CheckpointError(str(place), KINDS, found, "A file's name says what it is: rename it if it is one of these.")
