"""A map for a source's size: as it is, or fitted, or a refusal with all that does not fit and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...common.errors import WeightsError
from ...common.tables import counted, shape_text
from ...pairs.maps import Map
from ...pairs.maps.resize import Faults, fitting
from .dtypes import is_floating
from .headers import Entry
from .readers import Source
from .source_match import groups_of, held, likeness

NOTHING = "Nothing was written."
SKIP = "Leave out what the map does not know with --skip PATH (in Python skip=[...])."


def fitted(source: Source, made: Map, like: Mapping[str, Entry] | None = None) -> Map:
    """The map, or the same one for a model of the source's size.

    like: tensors of the port's side whose shapes the new port's shall be.

    Raises:
        WeightsError: neither fits: every entry that is missing, extra or misshapen.
    """
    faults = list(_faults(source, made))
    if not faults and like is None:
        return made
    shapes = {**_shapes(source.entries, made), **_aliased(source, made)}
    found = fitting(made, shapes, None if like is None else _shapes(like, made.inverse()))
    if isinstance(found, Faults):
        named, shaped = likeness(source, made)
        if 2 * shaped < named or not faults:
            # Another size of the model, and what is wrong with it is not that its shapes differ from the map's.
            error = found.error(_remedy(found, made, like is not None))
            raise WeightsError("", error.expected, error.found, error.remedy) from None
        raise _unfit(source, made, faults)
    faults = list(_faults(source, found))
    if faults:
        raise _unfit(source, found, faults)
    return found


def _shapes(entries: Mapping[str, Entry], made: Map) -> dict[str, tuple[int, ...]]:
    """The entries' shapes; positions and counters that the map does not name are no weights."""
    named = {*made.by_reference, *made.unmatched_reference, *made.aside_reference}
    return {path: entry.shape for path, entry in entries.items() if path in named or is_floating(entry.dtype)}


def _aliased(source: Source, made: Map) -> dict[str, tuple[int, ...]]:
    """The shapes of the source's own ties by their other paths."""
    shapes = _shapes(source.entries, made)
    return {alias: shapes[path] for alias, path in source.aliases.items() if path in shapes}


def _remedy(faults: Faults, made: Map, is_like: bool) -> str:
    """What to do about a map that does not serve the source's size."""
    parts = []
    if faults.is_open and not is_like:
        parts.append(
            f"Give the shapes of the {made.direction[1]} side: --like with a checkpoint or a live model "
            "(FILE.py:MODEL) of this size, in Python like=..."
        )
    if faults.extra:
        parts.append(SKIP)
    return " ".join([*parts, "Or align models of this size." if parts else "Align models of this size.", NOTHING])


def _unfit(source: Source, made: Map, faults: Sequence[str]) -> WeightsError:
    return WeightsError(
        "",
        f"one tensor for each of {counted(len(made.by_reference), 'tensor')} of the map's {made.direction[0]} side",
        f"{len(faults)} that {'does' if len(faults) == 1 else 'do'} not fit: {'; '.join(faults)}",
        f"{SKIP} {NOTHING}" if any(_extra(source, made)) else NOTHING,
    )


def _faults(source: Source, made: Map) -> Iterator[str]:
    for owner, names in groups_of(made).items():
        found = held(names, source)
        shape = made.by_reference[owner][0].shape
        if not found:
            yield f"{owner} is missing"
        for entry, name in found.items():
            if source.entries[entry].shape != shape:
                yield f"{name} has shape {shape_text(source.entries[entry].shape)} and needs {shape_text(shape)}"
    for path in _extra(source, made):
        yield f"{path} is not in the map"


def _extra(source: Source, made: Map) -> Iterator[str]:
    """The entries that the map does not know. Positions and counters are no weights, and left out by themselves."""
    groups = groups_of(made)
    known = {name for names in groups.values() for name in names}
    known |= {*made.unmatched_reference, *made.aside_reference}
    known |= {entry for names in groups.values() for entry in held(names, source)}
    for path, entry in source.entries.items():
        if path not in known and is_floating(entry.dtype):
            yield path
