"""Sources: the reader of a checkpoint, by the name of its file or folder."""

from __future__ import annotations

from pathlib import Path

from ...common.errors import CheckpointError
from .readers import OrbaxFolder, SafetensorsFile, Shards, Source, TorchCheckpoint

INDEX = ".index.json"
TORCH = (".pt", ".pth", ".bin", ".ckpt")
KINDS = f"a .safetensors file, a torch checkpoint ({', '.join(TORCH)}), a {INDEX} of shards or an Orbax folder"


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
    if place.is_dir():
        return OrbaxFolder(place)
    if place.name.endswith(INDEX):
        return Shards(place, opened_file)
    return opened_file(place)


def opened_file(place: Path) -> Source:
    """A source that is one file; raises CheckpointError as `opened` does."""
    if place.suffix == ".safetensors":
        return SafetensorsFile(place)
    if place.suffix in TORCH:
        return TorchCheckpoint(place)
    found = f"a file that ends in {place.suffix!r}" if place.suffix else "a file without an ending"
    raise CheckpointError(str(place), KINDS, found, "A file's name says what it is: rename it if it is one of these.")
