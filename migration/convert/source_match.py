"""Which of a source's entries are which tensors of a map's reference, and whether the source is like it at all."""

from __future__ import annotations

from collections.abc import Sequence

from ...pairs.maps import Map
from .readers import Source


def is_port(source: Source, made: Map) -> bool:
    """Whether the source is the map's port: by more of its paths, and where the names are alike by more shapes."""
    return likeness(source, made.inverse()) > likeness(source, made)


def likeness(source: Source, made: Map) -> tuple[float, float]:
    """The shares of the map's reference tensors that the source has, and that it has in the map's shape."""
    groups = groups_of(made)
    found = [(_first(names, source), made.by_reference[owner][0].shape) for owner, names in groups.items()]
    named = sum(entry is not None for entry, _ in found)
    shaped = sum(entry is not None and source.entries[entry].shape == shape for entry, shape in found)
    return named / max(len(groups), 1), shaped / max(len(groups), 1)


def groups_of(made: Map) -> dict[str, tuple[str, ...]]:
    """Each of the map's reference tensors with all its paths."""
    return {path: (path, *rows[0].reference_aliases) for path, rows in made.by_reference.items()}


def _first(names: Sequence[str], source: Source) -> str | None:
    return next(iter(held(names, source)), None)


def held(names: Sequence[str], source: Source) -> dict[str, str]:
    """The source's entries that have one of these paths, each with the first that it has; ties of the source's own."""
    found: dict[str, str] = {}
    for name in names:
        entry = name if name in source.entries else source.aliases.get(name)
        if entry is not None:
            found.setdefault(entry, name)
    return found
