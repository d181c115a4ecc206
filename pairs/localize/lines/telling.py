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
        yours = _users(state.port.values, theirs, cut.port) | {cut.port}
    elif is_reordered(state, cut):
        yours |= _users(state.port.values, theirs, cut.port)
        mine |= _users(state.reference.values, ours, cut.reference)
    if not mine:
        mine = _users(state.reference.values, ours, cut.reference) | {cut.reference}
    before = [_entering(side.values, region, inside) for side, region, inside in _both(state, regions, (mine, yours))]
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


def _users(values: Sequence[Value], region: Region, place: int) -> frozenset[int]:
    """What is made of a value next, past what only moves its numbers."""
    found: set[int] = set()
    left = [place]
    while left:
        own = left.pop()
        for each in region.inside - found:
            if own in values[each].made_of:
                found.add(each)
                if values[each].array.size == values[place].array.size and values[each].operation in MOVES:
                    left.append(each)
    return frozenset(found)


def _both(
    state: Tracking, regions: tuple[Region, Region], inside: tuple[frozenset[int], frozenset[int]]
) -> Iterator[tuple[Marked, Region, frozenset[int]]]:
    yield state.reference, regions[0], inside[0]
    yield state.port, regions[1], inside[1]


def _entering(values: Sequence[Value], region: Region, inside: frozenset[int]) -> list[int]:
    """The values that both sides have and that what is inside is made of, the last ones first."""
    found = {taken for place in inside for taken in values[place].made_of if taken in region.before}
    return sorted((place for place in found if values[place].line is not None), reverse=True)


def _passage(side: Marked, inside: frozenset[int], end: int, before: Sequence[int]) -> Passage:
    values = side.values
    lines = {values[place].line or _next_line(values, place) for place in (*inside, end)}
    near = (*_between(values, before, end), *_until_used(values, end))
    equal = {line: values[place].operation for place in reversed(before) if (line := values[place].line)}
    return Passage(
        tuple(equal.items())[::-1][:2],
        values[end].line or _next_line(values, end),
        values[end].operation,
        filled(line for line in (*lines, *near) if line is not None),
        values[end].module,
    )


def _until_used(values: Sequence[Value], end: int) -> Iterator[Line]:
    """The lines from a value up to the first that takes it, where that is near: what leaves something out there makes
    no value."""
    user = next((each.line for each in values[end + 1 :] if end in each.made_of and each.line), None)
    own = values[end].line
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


def _next_line(values: Sequence[Value], place: int) -> Line | None:
    """Of what has no line, as a constant, that of the first operation that takes it."""
    return next((each.line for each in values[place + 1 :] if place in each.made_of and each.line), None)
