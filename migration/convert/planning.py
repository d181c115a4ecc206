"""What a conversion will do, settled before a byte is written: which way, from which entries, to which shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

from ...common.errors import DtypeError, UsageError, WeightsError, nearest
from ...common.safetensors import TensorEntry
from ...pairs.maps import Map, MapRow, check_way, common_dtype, copies, is_kept, without_copies
from .matching import fitted, held, is_floating, is_port, tied_paths
from .readers import Source

# The dtypes that a conversion casts to.
CASTS: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}
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
    keep: of copies that are one tensor of the destination, the paths whose values are taken.
    """

    map: Map
    names: Mapping[str, str]
    entries: Mapping[str, TensorEntry]
    left_out: tuple[str, ...]
    absent: tuple[str, ...]
    keep: Collection[str] = ()

    def rows(self, path: str) -> Sequence[MapRow]:
        """Of one of the destination's tensors."""
        return without_copies(self.map.by_port[path], self.keep)

    def without(self, there: Collection[str]) -> Plan:
        """The same one without those of the destination's tensors."""
        return replace(self, entries={path: entry for path, entry in self.entries.items() if path not in there})

    def needed(self, path: str) -> set[str]:
        """The source's entries that one of the destination's tensors is made from."""
        return {self.names[row.reference] for row in self.rows(path)}


def cast_to(name: str) -> np.dtype:
    """The dtype of that name.

    Raises:
        DtypeError: a conversion does not cast to it.
    """
    if name not in CASTS:
        raise DtypeError("dtype", "one of " + ", ".join(map(repr, CASTS)), repr(name), nearest(name, CASTS))
    return CASTS[name]


def planned(
    source: Source,
    made: Map,
    cast: np.dtype | None = None,
    inverse: bool = False,
    target: Mapping[str, TensorEntry] | None = None,
    keep: Collection[str] = (),
) -> Plan:
    """The plan of a conversion. No value is read.

    cast: of all floating-point tensors; without it each keeps its own dtype.
    target: tensors of the destination's side whose shapes the new one's shall be, where the map does not tell.
    keep: the paths of ties whose values are kept.

    Raises:
        WeightsError: the source's entries are not those of the map, all listed.
        UsageError: a path to keep that is none of a tie's.
        MapError: the destination's side stores a weight norm, to which no way leads.
    """
    directed = made.inverse() if inverse or is_port(source, made) else made
    check_way(directed)
    directed = fitted(source, directed, target)
    names = {owner: next(iter(each)) for owner, each in candidates(source, directed, keep).items()}
    order = in_order(source, directed, names)
    entries = {}
    for path in order:
        rows = directed.by_port[path]
        dtype = common_dtype([source.entries[names[row.reference]].dtype for row in rows])
        entries[path] = TensorEntry(rows[0].port_shape, cast if cast is not None and is_floating(dtype) else dtype)
    known = {name for names in tied_paths(directed).values() for name in names}
    left_out = (*(path for path in source.entries if path not in known), *source.others)
    return Plan(directed, names, entries, left_out, (*directed.unmatched_port, *directed.aside_port), keep)


def aliases_of(plan: Plan) -> dict[str, str]:
    """The port's aliases with their owners. A Flax tree has one owner, and no way to say that another path is it."""
    if plan.map.direction[1] in ("linen", "nnx"):
        return {}
    return {alias: path for path in plan.entries for alias in plan.rows(path)[0].port_aliases}


def in_order(source: Source, made: Map, names: Mapping[str, str]) -> list[str]:
    """The port's tensors as they are best made: in the order in which the source is best read."""
    positions = {path: position for position, path in enumerate(source.entries)}
    return sorted(made.by_port, key=lambda path: positions[names[made.by_port[path][0].reference]])


def candidates(source: Source, made: Map, keep: Collection[str]) -> dict[str, dict[str, str]]:
    """For each of the map's reference tensors the entries that have its values, each with the path that it is there.

    Those after the first must be equal to it. keep: the paths of ties whose values are kept; the others are left out.

    Raises:
        UsageError: a path to keep that is none of a tie's.
    """
    paths = tied_paths(made)
    copied = {row.reference for rows in copies(made) for row in rows}
    tied = [name for owner, names in paths.items() if len(names) > 1 or owner in copied for name in names]
    for path in keep:
        if path not in tied:
            raise UsageError(path, "a path of a tie to keep", "none of that name", nearest(path, tied))
    found = {owner: held(names, source) for owner, names in paths.items()}
    for owner, entries in found.items():
        kept = {entry: name for entry, name in entries.items() if name in keep or entry in keep}
        found[owner] = kept if len(kept) == 1 else entries
    return found


def check_values(source: Source, plan: Plan) -> None:
    """Hold the values of all that is one tensor against each other.

    Raises:
        WeightsError: entries or copies of one tensor that differ, where none is to be kept.
    """
    for names in candidates(source, plan.map, plan.keep).values():
        first, *others = names
        for other in others:
            if not equal(source.array(first), source.array(other)):
                raise two_values(names[first], names[other])
    for first, *others in unsettled(plan):
        value = first.to_port(source.array(plan.names[first.reference]))
        for row in others:
            if not equal(value, row.to_port(source.array(plan.names[row.reference]))):
                raise two_values(first.reference, row.reference)


def unsettled(plan: Plan) -> list[tuple[MapRow, ...]]:
    """The rows of copies that are one of the destination's tensors, where none is to be kept."""
    return [rows for rows in copies(plan.map) if not any(is_kept(row, plan.keep) for row in rows)]


def two_values(one: str, other: str) -> WeightsError:
    """What is said of two paths of one tensor."""
    return WeightsError(
        "",
        f"one value of {one} and {other}, which are one tensor of the model",
        "two that differ",
        f"Choose one: --keep {one} or --keep {other} (in Python keep=[...]).",
    )


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays have the same values; NaN is equal to itself."""
    if one.dtype != other.dtype:
        return False
    first, second = (np.ascontiguousarray(array).reshape(-1) for array in (one, other))
    runs = (slice(start, start + RUN) for start in range(0, first.size, RUN))
    return all(_alike(first[run], second[run]) for run in runs)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    bits = f"u{one.itemsize}" if one.itemsize <= 8 else "u1"
    if np.array_equal(one.view(bits), other.view(bits)):
        return True
    nan = (one != one) & (other != other)
    return bool(np.all((one == other) | nan))
