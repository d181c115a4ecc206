"""A source held against a map: which of its entries are which tensors, of which side it is, and of which size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...common.errors import UsageError, WeightsError, unfit
from ...common.safetensors import TensorEntry
from ...common.tables import counted, shape_text
from ...common.wing import SelfAnswering
from ...pairs.maps import Map
from ...pairs.maps.resize import Faults, fitting
from ...pairs.wings import loader_of
from .readers import Source, open_source

NOTHING = "Nothing was written."
SKIP = "Leave out what the map does not know with --skip PATH (in Python skip=[...])."


def is_port(source: Source, made: Map) -> bool:
    """Whether the source is the map's port: by more of its paths, and where the names are alike by more shapes."""
    return source_match(source, made.inverse()) > source_match(source, made)


def source_match(source: Source, made: Map) -> tuple[float, float]:
    """The shares of the map's reference tensors that the source has, and that it has in the map's shape."""
    names = tied_paths(made)
    found = [(next(iter(held(each, source)), None), made.by_reference[owner][0].shape) for owner, each in names.items()]
    named = sum(entry is not None for entry, _ in found)
    shaped = sum(entry is not None and source.entries[entry].shape == shape for entry, shape in found)
    return named / max(len(names), 1), shaped / max(len(names), 1)


def tied_paths(made: Map) -> dict[str, tuple[str, ...]]:
    """Each of the map's reference tensors with all its paths."""
    return {path: (path, *rows[0].reference_aliases) for path, rows in made.by_reference.items()}


def held(names: Sequence[str], source: Source) -> dict[str, str]:
    """The source's entries that have one of these paths, each with the first that it has; ties of the source's own."""
    found: dict[str, str] = {}
    for name in names:
        entry = name if name in source.entries else source.aliases.get(name)
        if entry is not None:
            found.setdefault(entry, name)
    return found


def is_floating(dtype: np.dtype) -> bool:
    """Whether it is a floating-point type, those that NumPy has from elsewhere included."""
    return "float" in dtype.name


def fitted(source: Source, made: Map, target: Mapping[str, TensorEntry] | None = None) -> Map:
    """The map, or the same one for a model of the source's size.

    target: tensors of the port's side whose shapes the new port's shall be.

    Raises:
        WeightsError: neither fits: every entry that is missing, extra or misshapen.
    """
    faults = list(_faults(source, made))
    if not faults and target is None:
        return made
    shapes = {**_shapes(source.entries, made), **_aliased(source, made)}
    found = fitting(made, shapes, None if target is None else _shapes(target, made.inverse()))
    if isinstance(found, Faults):
        named, shaped = source_match(source, made)
        if 2 * shaped < named or not faults:
            # Another size of the model, and what is wrong with it is not that its shapes differ from the map's.
            error = found.error(_remedy(found, made, target is not None))
            raise WeightsError("", error.expected, error.found, error.remedy) from None
        raise _unfit(source, made, faults)
    faults = list(_faults(source, found))
    if faults:
        raise _unfit(source, found, faults)
    return found


def _shapes(entries: Mapping[str, TensorEntry], made: Map) -> dict[str, tuple[int, ...]]:
    """The entries' shapes; positions and counters that the map does not name are no weights."""
    named = {*made.by_reference, *made.unmatched_reference, *made.aside_reference}
    return {path: entry.shape for path, entry in entries.items() if path in named or is_floating(entry.dtype)}


def _aliased(source: Source, made: Map) -> dict[str, tuple[int, ...]]:
    """The shapes of the source's own ties by their other paths."""
    shapes = _shapes(source.entries, made)
    return {alias: shapes[path] for alias, path in source.aliases.items() if path in shapes}


def _remedy(faults: Faults, made: Map, has_target: bool) -> str:
    """What to do about a map that does not serve the source's size."""
    parts = []
    if faults.is_open and not has_target:
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
        unfit(faults),
        f"{SKIP} {NOTHING}" if any(_extra(source, made)) else NOTHING,
    )


def _faults(source: Source, made: Map) -> Iterator[str]:
    for owner, names in tied_paths(made).items():
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
    paths = tied_paths(made)
    known = {name for names in paths.values() for name in names}
    known |= {*made.unmatched_reference, *made.aside_reference}
    known |= {entry for names in paths.values() for entry in held(names, source)}
    for path, entry in source.entries.items():
        if path not in known and is_floating(entry.dtype):
            yield path


def target_entries(like: Any) -> dict[str, TensorEntry]:
    """The tensors of a checkpoint by their paths there, or of a model, live or abstract, by their native paths.

    Raises:
        CheckpointError: as `open_source`.
        UsageError: neither a path nor a model, or a model without arrays.
    """
    if isinstance(like, str | os.PathLike):
        return dict(open_source(Path(like)).entries)
    if isinstance(like, SelfAnswering):
        arrays = {path: each.array for path, each in like.side_wing.stored_tensors(like).items()}
        return {path: TensorEntry(array.shape, array.dtype) for path, array in arrays.items()}
    # Whatever a model is sharded over, here all of it is in one process.
    found = {path: each.target for path, each in loader_of(like).spread(like, 1).items()}
    if not found:
        raise UsageError("like", "a model with arrays", f"{type(like).__name__} without", "Give one with its weights.")
    return {path: TensorEntry(each.shape, each.dtype) for path, each in found.items()}
