"""What a conversion will do, settled before a byte is written: which way, from which entries, to which shapes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...common.errors import UsageError, WeightsError, nearest
from ...common.maps import Map, MapError, MapRow
from ...common.tables import counted, shape_text
from .dtypes import common_dtype, is_floating
from .headers import Entry
from .sources import Source

# Ties are compared by runs of so many entries, so that neither tensor is in memory as a whole.
RUN = 1 << 22


@dataclass(frozen=True)
class Plan:
    """A conversion in every detail.

    map: from the source's side to the destination's, of the source's size.
    names: for each of the map's reference tensors the source's entry that has its values.
    entries: the destination's tensors in the order in which they are best made.
    left_out: what the source holds and the destination will not.
    absent: the destination's tensors that the map has no row for.
    """

    map: Map
    names: Mapping[str, str]
    entries: Mapping[str, Entry]
    left_out: tuple[str, ...]
    absent: tuple[str, ...]

    def rows(self, path: str) -> Sequence[MapRow]:
        """Of one of the destination's tensors."""
        return self.map.by_port[path]

    def needed(self, path: str) -> set[str]:
        """The source's entries that one of the destination's tensors is made from."""
        return {self.names[row.reference] for row in self.rows(path)}


def planned(
    source: Source,
    made: Map,
    cast: np.dtype | None = None,
    inverse: bool = False,
    like: Mapping[str, tuple[int, ...]] | None = None,
    keep: Collection[str] = (),
) -> Plan:
    """The plan of a conversion.

    Raises:
        WeightsError: the source's entries are not those of the map, all listed, or a tie has two values.
        UsageError: a path to keep that is none of a tie's.
    """
    directed = fitted(source, made.inverse() if inverse or _is_port(source, made) else made, like)
    names = _names(source, directed, keep)
    places = {path: place for place, path in enumerate(source.entries)}
    order = sorted(directed.by_port, key=lambda path: places[names[directed.by_port[path][0].reference]])
    entries = {}
    for path in order:
        rows = directed.by_port[path]
        dtype = common_dtype([source.entries[names[row.reference]].dtype for row in rows])
        entries[path] = Entry(rows[0].port_shape, cast if cast is not None and is_floating(dtype) else dtype)
    known = {name for names in _groups(directed).values() for name in names}
    left_out = (*(path for path in source.entries if path not in known), *source.others)
    return Plan(directed, names, entries, left_out, (*directed.unmatched_port, *directed.aside_port))


def _is_port(source: Source, made: Map) -> bool:
    """Whether the source is the map's port: by more of its paths, and where the names are alike by more shapes."""
    return _likeness(source, made.inverse()) > _likeness(source, made)


def _likeness(source: Source, made: Map) -> tuple[float, float]:
    groups = _groups(made)
    found = [(_first(names, source), made.by_reference[owner][0].shape) for owner, names in groups.items()]
    named = sum(entry is not None for entry, _ in found)
    shaped = sum(entry is not None and source.entries[entry].shape == shape for entry, shape in found)
    return named / max(len(groups), 1), shaped / max(len(groups), 1)


def _groups(made: Map) -> dict[str, tuple[str, ...]]:
    """Each of the map's reference tensors with all its paths."""
    return {path: (path, *rows[0].reference_aliases) for path, rows in made.by_reference.items()}


def _first(names: Sequence[str], source: Source) -> str | None:
    return next(iter(_held(names, source)), None)


def _held(names: Sequence[str], source: Source) -> dict[str, str]:
    """The source's entries that have one of these paths, each with the first that it has; ties of the source's own."""
    found: dict[str, str] = {}
    for name in names:
        entry = name if name in source.entries else source.aliases.get(name)
        if entry is not None:
            found.setdefault(entry, name)
    return found


def fitted(source: Source, made: Map, like: Mapping[str, tuple[int, ...]] | None = None) -> Map:
    """The map, or the same one for a model of the source's size.

    Raises:
        WeightsError: neither fits: every entry that is missing, extra or misshapen.
    """
    faults = list(_faults(source, made))
    if not faults and like is None:
        return made
    try:
        other = made.fit(_shapes(source, made), like)
    except MapError as error:
        named, shaped = _likeness(source, made)
        if 2 * shaped < named or not faults:
            # Another size of the model, and what is wrong with it is not that its shapes differ from the map's.
            raise WeightsError("", error.expected, error.found, error.remedy or "Nothing was written.") from None
        raise _unfit(made, faults) from None
    faults = list(_faults(source, other))
    if faults:
        raise _unfit(other, faults)
    return other


def _shapes(source: Source, made: Map) -> dict[str, tuple[int, ...]]:
    """The source's shapes by every path; positions and counters that the map does not name are no weights."""
    named = {*made.by_reference, *made.unmatched_reference, *made.aside_reference}
    found = {path: entry.shape for path, entry in source.entries.items() if path in named or is_floating(entry.dtype)}
    return {**found, **{alias: found[path] for alias, path in source.aliases.items() if path in found}}


def _unfit(made: Map, faults: Sequence[str]) -> WeightsError:
    return WeightsError(
        "",
        f"one tensor for each of {counted(len(made.by_reference), 'tensor')} of the map's {made.direction[0]} side",
        f"{len(faults)} that {'does' if len(faults) == 1 else 'do'} not fit: {'; '.join(faults)}",
        "Nothing was written.",
    )


def _faults(source: Source, made: Map) -> Iterator[str]:
    groups = _groups(made)
    for owner, names in groups.items():
        held = _held(names, source)
        shape = made.by_reference[owner][0].shape
        if not held:
            yield f"{owner} is missing"
        for entry, name in held.items():
            if source.entries[entry].shape != shape:
                yield f"{name} has shape {shape_text(source.entries[entry].shape)} and needs {shape_text(shape)}"
    known = {name for names in groups.values() for name in names}
    known |= {*made.unmatched_reference, *made.aside_reference}
    used = {entry for names in groups.values() for entry in _held(names, source)}
    for path, entry in source.entries.items():
        # Positions and counters are no weights: they are left out, which the result says.
        if path not in known and path not in used and is_floating(entry.dtype):
            yield f"{path} is not in the map"


def _names(source: Source, made: Map, keep: Collection[str]) -> dict[str, str]:
    groups = _groups(made)
    tied = [name for names in groups.values() if len(names) > 1 for name in names]
    for path in keep:
        if path not in tied:
            raise UsageError(path, "a path of a tie to keep", "none of that name", nearest(path, tied))
    return {owner: _settled(source, names, keep) for owner, names in groups.items()}


def _settled(source: Source, names: Sequence[str], keep: Collection[str]) -> str:
    """The entry that has a tensor's values.

    Raises:
        WeightsError: two entries have them, and they differ.
    """
    held = _held(names, source)
    kept = [entry for entry, name in held.items() if name in keep or entry in keep]
    if len(kept) == 1:
        return kept[0]
    first, *others = held
    for other in others:
        if not _equal(source, first, other):
            raise WeightsError(
                "",
                f"one value of {held[first]} and {held[other]}, which are one tensor of the model",
                "two that differ",
                f"Choose one: --keep {held[first]} or --keep {held[other]} (in Python keep=[...]).",
            )
    return first


def _equal(source: Source, one: str, other: str) -> bool:
    """Whether two entries have the same values; NaN is equal to itself."""
    if source.entries[one].dtype != source.entries[other].dtype:
        return False
    first, second = (np.ascontiguousarray(source.array(path)).reshape(-1) for path in (one, other))
    runs = (slice(start, start + RUN) for start in range(0, first.size, RUN))
    return all(_alike(first[run], second[run]) for run in runs)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.tobytes() == other.tobytes():
        return True
    nan = (one != one) & (other != other)
    return bool(np.all((one == other) | nan))
