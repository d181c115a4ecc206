"""Telling: what a value that had to be exchanged says of the lines before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ....common.wing import Line, Value
from ..comparing import closest_view
from .equal import Marked, ancestors, tame
from .reasons import MOVES, Parting, PartingKind, line_cause
from .state import Cut, Region, Tracking, is_reordered
from .stretches import GAP, Passage, Stretch, filled

_NEAR = 8


def stretch_of(state: Tracking, regions: tuple[Region, Region], cut: Cut) -> Stretch:
    ours, theirs = regions
    mine = ancestors(state.reference.values, [cut.reference], ours.inside)
    yours = ancestors(state.port.values, [cut.port], theirs.inside)
    # What both have and one goes on with otherwise is in the stretch, with what is made of it next.
    if cut.steps is not None:
        yours = _users(state.port, theirs, cut.port) | {cut.port}
    elif is_reordered(state, cut):
        yours |= _users(state.port, theirs, cut.port)
        mine |= _users(state.reference, ours, cut.reference)
    if not mine:
        mine = _users(state.reference, ours, cut.reference) | {cut.reference}
    before = _entering(state.reference.values, ours, mine), _entering(state.port.values, theirs, yours)
    seen = closest_view(tame(state.reference.values[cut.reference].array), tame(state.array(cut.port)), 0.0)
    end = cut.port if cut.steps is None else min(yours - {cut.port}, default=cut.port)
    if cut.steps is None:
        kind: PartingKind = "extra" if cut.reference in ours.before else "made"
    else:
        kind = "operand" if cut.reference in ours.before else "lacking"
    parting = Parting(state.reference, state.port, cut.reference, cut.port, mine, yours, before[0], kind)
    return Stretch(
        _passage(state.reference, mine, cut.reference, before[0]),
        _passage(state.port, yours, end, before[1]),
        seen.error if seen is not None and cut.steps is None else math.nan,
        line_cause(parting, seen),
    )


def _users(side: Marked, region: Region, place: int) -> frozenset[int]:
    """What is made of a value next, past what only moves its numbers."""
    found: set[int] = set()
    left = [place]
    while left:
        for each in region.inside.intersection(side.users.get(left.pop(), ())) - found:
            found.add(each)
            value = side.values[each]
            if value.array.size == side.values[place].array.size and value.operation in MOVES:
                left.append(each)
    return frozenset(found)


def _entering(values: Sequence[Value], region: Region, inside: frozenset[int]) -> list[int]:
    """The values that both sides have and that what is inside is made of, the last ones first."""
    found = {taken for place in inside for taken in values[place].made_of if taken in region.before}
    return sorted((place for place in found if values[place].line is not None), reverse=True)


def _passage(side: Marked, inside: frozenset[int], end: int, before: Sequence[int]) -> Passage:
    values = side.values
    lines = {_line(side, place) for place in (*inside, end)}
    near = (*_between(values, before, end), *_until_used(side, end))
    equal = {line: values[place].operation for place in reversed(before) if (line := values[place].line)}
    return Passage(
        tuple(equal.items())[::-1][:2],
        _line(side, end),
        values[end].operation,
        filled(line for line in (*lines, *near) if line is not None),
        values[end].module,
    )


def _until_used(side: Marked, end: int) -> Iterator[Line]:
    """The lines from a value up to the first that takes it, where that is near: what leaves something out there makes
    no value."""
    user, own = _used_at(side, end), side.values[end].line
    if own and user and user.file == own.file and 0 < user.number - own.number <= GAP:
        yield from (Line(own.file, number) for number in range(own.number + 1, user.number + 1))


def _between(values: Sequence[Value], before: Sequence[int], end: int) -> Iterator[Line]:
    """The lines after the last value that is equal up to the first that is not, where they stand in one place: what
    leaves something out makes no value."""
    start, stop = (values[place].line for place in (before[0] if before else end, end))
    if start is None or stop is None or start.file != stop.file or start == stop:
        return
    last = stop.number if start.number < stop.number else start.number + 1
    if last - start.number <= _NEAR:
        yield from (Line(start.file, number) for number in range(start.number + 1, last + 1))


def _line(side: Marked, place: int) -> Line | None:
    """The line of a value; of what has none, as a constant, that of the first operation that takes it."""
    return side.values[place].line or _used_at(side, place)


def _used_at(side: Marked, place: int) -> Line | None:
    return next((line for each in side.users.get(place, ()) if (line := side.values[each].line)), None)
