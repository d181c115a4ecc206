"""Destinations: of which kind one is, by its name and what is asked for, and what it cannot hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ...common.errors import CheckpointError
from ...common.safetensors import Header, TensorEntry, described
from .shards import ShardsWriter, parted
from .writers import DcpWriter, Destination, OrbaxWriter, SafetensorsWriter, header_of

# The ending of a name that is a file's; any other is a folder's, for Orbax, or with the other one for DCP.
FILE, DCP = ".safetensors", ".dcp"
# Endings of files that a name without one of ours may well mean, so that no folder is made of that name.
OTHER = (".bin", ".ckpt", ".gz", ".h5", ".json", ".msgpack", ".npy", ".npz", ".onnx", ".pkl", ".pt", ".pth", ".zip")


def check_kind(destination: Path, is_sharded: bool = False) -> None:
    """Refuse a name that is of no kind that is written.

    is_sharded: whether it is to be a folder of shards.

    Raises:
        CheckpointError: it ends as other files do.
    """
    ending = destination.suffix.lower()
    if is_sharded and ending in (*OTHER, FILE, DCP):
        found = f"one that ends in {destination.suffix!r}"
        raise CheckpointError(str(destination), "a folder's name for shards", found, "Give one without an ending.")
    if ending in OTHER or (ending in (FILE, DCP) and ending != destination.suffix):
        expected = "a destination that ends in .safetensors, or for Orbax a folder's name"
        found = f"one that ends in {destination.suffix!r}"
        raise CheckpointError(str(destination), expected, found, "Choose one of the two.")


def open_destination(
    draft: Path,
    entries: Mapping[str, TensorEntry],
    aliases: Mapping[str, str],
    framework: str,
    most: int | None = None,
    fingerprint: str = "",
) -> Destination:
    """A destination of the kind that its name says, with room for all its tensors.

    aliases: further paths of entries.
    framework: the side of the map that it is for.
    most: a shard's greatest size in bytes, for a folder of shards. fingerprint: of what these are made from.

    Raises:
        CheckpointError: a dtype that the kind does not have.
        OSError: there is no room.
    """
    check_names((*entries, *aliases), draft, most is not None)
    if most is not None:
        return ShardsWriter(draft, entries, framework, most, fingerprint)
    kind = {FILE: SafetensorsWriter, DCP: DcpWriter}.get(draft.suffix, OrbaxWriter)
    return kind(draft, entries, aliases, framework)


def layout(
    destination: Path, entries: Mapping[str, TensorEntry], aliases: Mapping[str, str], most: int | None
) -> dict[str, Mapping[str, TensorEntry]]:
    """The destination's files, or its folder, each with the tensors that go into it.

    Raises:
        CheckpointError: a name or a dtype that the kind does not have.
    """
    check_names((*entries, *aliases), destination, most is not None)
    if destination.suffix == FILE or most is not None:
        described(entries)
    if most is None:
        return {str(destination): entries}
    return {str(destination / name): part for name, part in parted(entries, most).items()}


def headers(
    draft: Path, entries: Mapping[str, TensorEntry], aliases: Mapping[str, str], framework: str, most: int | None
) -> dict[Path, Header]:
    """The safetensors files that `open_destination` makes, each with what it holds and where; none of another kind."""
    if most is not None:
        parts = parted(entries, most).items()
        return {draft / name: header_of(part, {}, framework)[1] for name, part in parts}
    return {draft: header_of(entries, aliases, framework)[1]} if draft.suffix == FILE else {}


def check_names(names: Iterable[str], destination: Path, is_sharded: bool = False) -> None:
    """Refuse a name that the destination would lose, or take for something else.

    Raises:
        CheckpointError: what safetensors has for itself, and what is no Unicode; for Orbax a part that is empty, or
            holds a slash or NUL, with which its storage parts and ends names.
    """
    kind, refused = "an Orbax folder", _refused_in_folder
    if is_sharded or destination.suffix == FILE:
        kind, refused = "a .safetensors file", _refused_in_file
    elif destination.suffix == DCP:
        kind, refused = "a DCP folder", _refused_nowhere
    for name in names:
        reason = refused(name)
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            reason = "half of a surrogate pair, which is no Unicode"
        if reason:
            raise CheckpointError(repr(name), f"a name that {kind} can hold", reason, "Rename it in the model.")


def _refused_in_file(name: str) -> str:
    return f"{name!r}, which the format has for itself" if name in ("__metadata__", "format", "") else ""


def _refused_in_folder(name: str) -> str:
    bad = (repr(part) for part in name.split(".") if not part or "/" in part or "\0" in part)
    part = next(bad, "")
    return f"the part {part}" if part else ""


def _refused_nowhere(name: str) -> str:
    return ""
