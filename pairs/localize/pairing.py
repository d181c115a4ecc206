"""Pairing: which call of a module of the port does what which call of one of the reference does.

Two calls correspond where the rows of the map say so: what the modules and all below them hold is the same set of rows.
That takes in a layer, a container of layers, a layer that is called more than once, and one layer of a stack that a
loop goes through. Modules that hold nothing correspond by their position between those, their shapes and their classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...common.wing import Trace, is_floating, order_of_ends
from ..maps import Map
from .comparing import ClosestView, closest_view


@dataclass(frozen=True)
class ModuleCall:
    """A call with what the pairing needs to know of it.

    rows: numbers of the rows that the module and all below it hold.
    above: the indices, among the traces, of the calls that it was made in, the outermost first.
    """

    trace: Trace
    index: int
    rows: frozenset[int]
    above: tuple[int, ...]


class Paired(NamedTuple):
    """Two calls that correspond."""

    reference: ModuleCall
    port: ModuleCall

    def inside(self, other: Paired) -> bool:
        return other.reference.index in self.reference.above


def paired(reference: Sequence[Trace], port: Sequence[Trace], map: Map, limit: float) -> list[Paired]:
    """The calls that correspond, in the order in which the reference's ended."""
    ours, theirs = calls_of(reference, port, map)
    found = []
    mine, yours = by_rows(ours), by_rows(theirs)
    for rows in mine:
        for one, other in _in_order(groups(mine[rows]), groups(yours.get(rows, []))):
            found += _chained(one, other, limit)
    order = {call.index: number for number, call in enumerate(ours)}
    found.sort(key=lambda pair: order[pair.reference.index])
    found += _without_rows(ours, theirs, found, limit)
    # What has no rows at all is a pair by being the whole.
    if reference and port and not any(not pair.reference.above for pair in found):
        found += [Paired(ours[-1], theirs[-1])] * (not ours[-1].above and not theirs[-1].above)
    return sorted(found, key=lambda pair: order[pair.reference.index])


def calls_of(reference: Sequence[Trace], port: Sequence[Trace], map: Map) -> tuple[list[ModuleCall], list[ModuleCall]]:
    """Both sides' calls in the order in which they ended."""
    ours = calls(reference, [row.reference for row in map.rows], leading_positions(map, "reference_piece"))
    return ours, calls(port, [row.port for row in map.rows], leading_positions(map, "port_piece"))


def calls(traces: Sequence[Trace], holders: Sequence[str], leading: Sequence[int | None]) -> list[ModuleCall]:
    """The calls in the order in which they ended.

    holders: for each row of the map the tensor on this side. leading: for each the position that it takes on the
    tensor's first axis, if it takes one.
    """
    rows_of: dict[str, list[int]] = {}
    for number, path in enumerate(holders):
        rows_of.setdefault(path, []).append(number)
    times: dict[str, int] = {}
    for trace in traces:
        times[trace.path] = times.get(trace.path, 0) + 1
    above = _above(traces)
    found = []
    for index in order_of_ends(traces):
        trace = traces[index]
        rows = frozenset(row for path in trace.subtree for row in rows_of.get(path, ()))
        found.append(ModuleCall(trace, index, _of_call(rows, trace.call, times[trace.path], leading), above[index]))
    return found


def leading_positions(map: Map, piece: str) -> list[int | None]:
    """For each row the position that its piece takes on the tensor's first axis, if it takes one.

    piece: `reference_piece` or `port_piece`.
    """
    found: list[int | None] = []
    for row in map.rows:
        index = getattr(row, piece).index
        found.append(index[0] if index and isinstance(index[0], int) else None)
    return found


def _of_call(rows: frozenset[int], call: int, times: int, leading: Sequence[int | None]) -> frozenset[int]:
    """The rows of one call of a module that holds a stack of layers and is called once for each of them."""
    positions = sorted({position for row in rows if (position := leading[row]) is not None})
    if times == 1 or len(positions) != times or any(leading[row] is None for row in rows):
        return rows
    return frozenset(row for row in rows if leading[row] == positions[call])


def _above(traces: Sequence[Trace]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    open_calls: list[int] = []
    for index, trace in enumerate(traces):
        while open_calls and traces[open_calls[-1]].depth >= trace.depth:
            open_calls.pop()
        found.append(tuple(open_calls))
        open_calls.append(index)
    return found


def by_rows(found: Sequence[ModuleCall]) -> dict[frozenset[int], list[ModuleCall]]:
    made: dict[frozenset[int], list[ModuleCall]] = {}
    for call in found:
        if call.rows:
            made.setdefault(call.rows, []).append(call)
    return made


def groups(found: Sequence[ModuleCall]) -> list[list[ModuleCall]]:
    """Calls of modules that hold the same rows: each with those it was made in, from the innermost out."""
    made: list[list[ModuleCall]] = []
    for call in found:
        if made and call.index in made[-1][-1].above:
            made[-1].append(call)
        else:
            made.append([call])
    return made


def _in_order(
    ours: list[list[ModuleCall]], theirs: list[list[ModuleCall]]
) -> list[tuple[list[ModuleCall], list[ModuleCall]]]:
    """Groups of both sides in order; where there are unequal numbers, those whose sizes are equal."""
    if len(ours) == len(theirs):
        return list(zip(ours, theirs, strict=True))
    found, rest = [], list(theirs)
    for one in ours:
        other = next((other for other in rest if _size(other[0]) == _size(one[0])), None)
        if other is not None:
            found.append((one, other))
            rest = rest[rest.index(other) + 1 :]
    return found


def _size(call: ModuleCall) -> int:
    return next(iter(call.trace.outputs.values())).size


def _chained(ours: list[ModuleCall], theirs: list[ModuleCall], limit: float) -> list[Paired]:
    """Nested calls that hold the same rows: those that give the same, then the innermost and the outermost ones."""
    found, used = [], set()
    for one in ours:
        like = [other for other in theirs if other.index not in used and agree(one, other, limit)]
        if like:
            found.append(Paired(one, like[0]))
            used.add(like[0].index)
    for end in (0, -1):
        one, other = ours[end], theirs[end]
        if other.index not in used and all(pair.reference is not one for pair in found):
            found.append(Paired(one, other))
            used.add(other.index)
    return found


def agree(one: ModuleCall, other: ModuleCall, limit: float) -> bool:
    found = outputs(one.trace, other.trace, limit)
    return found is not None and found.error <= limit


def outputs(reference: Trace, port: Trace, limit: float) -> ClosestView | None:
    """How far the port's output is from the reference's first one; None where there is none of its size."""
    return closest(next(iter(reference.outputs.values())), port.outputs, limit)


def closest(array: np.ndarray, among: Mapping[str, np.ndarray], limit: float) -> ClosestView | None:
    """The array of the port that is closest to one of the reference, of those of its size."""
    found = [closest_view(array, other, limit) for other in among.values() if is_floating(other) == is_floating(array)]
    sized = [each for each in found if each is not None]
    return min(sized, key=lambda each: each.error) if sized else None


def _without_rows(ours: list[ModuleCall], theirs: list[ModuleCall], found: list[Paired], limit: float) -> list[Paired]:
    """Modules that hold nothing, between the same two calls that correspond, where there are as many of them."""
    mine = _between(ours, [pair.reference.index for pair in found])
    yours = _between(theirs, [pair.port.index for pair in found])
    made = []
    for index, one in enumerate(mine):
        other = yours[index]
        if len(one) == len(other):
            made += [
                Paired(first, second)
                for first, second in zip(one, other, strict=True)
                if _size(first) == _size(second)
                and (agree(first, second, limit) or of_one_kind(first.trace.name, second.trace.name))
            ]
    return made


def _between(found: list[ModuleCall], indices: list[int]) -> list[list[ModuleCall]]:
    """For the start and after each of the indices the calls that hold nothing, up to the next one."""
    numbers = {index: number for number, index in enumerate(indices, 1)}
    groups: list[list[ModuleCall]] = [[] for _ in range(len(indices) + 1)]
    now = 0
    for call in found:
        if call.index in numbers:
            now = numbers[call.index]
        elif not call.rows and not call.trace.subtree and call.above:
            groups[now].append(call)
    return groups


def of_one_kind(one: str, other: str) -> bool:
    """Whether the classes have like names, numbers of dimensions and the like aside: `MaxPool2d`, `max_pool`."""
    first, second = (re.sub(r"\dd|[^a-z]", "", name.lower()) for name in (one, other))
    return bool(first and second) and (first in second or second in first)
