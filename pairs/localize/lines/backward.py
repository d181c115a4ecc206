"""Backward: between which lines a wrong gradient arises where the values of both sides are equal.

From the outputs back the gradients by equal values are compared. Where that by a value is wrong, and those by all that
is made of it next are right, the derivative of what is done in between is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ....common.wing import Line, Value
from ..gap import Cause
from .equal import Equals, Marked, are_equal
from .reasons import MOVES
from .stretches import Passage, Stretch, filled

# Of gradients, which add up what all later values make of rounding.
_ROOM = 64.0
# A program's inputs may have gradients on one side alone.
_DIFFERENTIATED = ("parameter", "made")
_TEXT = (
    "the derivative of what is done between these lines is not the reference's: a gradient that is stopped, or a "
    "backward pass of one's own"
)


class _Gradients(NamedTuple):
    """By the values of each side."""

    ours: Mapping[int, np.ndarray]
    theirs: Mapping[int, np.ndarray]


def backward_stretches(
    reference: Marked, port: Marked, cotangents: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
) -> list[Stretch]:
    """Where the port's gradients part from the reference's, from the outputs back.

    cotangents: by the names of each side's outputs.
    """
    equals = Equals(reference, port)
    found = _Gradients(reference.tape.cotangents(cotangents[0]), port.tape.cotangents(cotangents[1]))
    first = (place for place in equals.of_port if _is_first(equals, place))
    is_right = {place: _is_right(equals, found, place) for place in first if port.values[place].kind in _DIFFERENTIATED}
    wrong = {place for place, right in is_right.items() if not right}
    inside = _reached(port.values, wrong, is_right)
    used = port.users
    ends = [place for place in sorted(inside, reverse=True) if place in used and inside.isdisjoint(used[place])]
    made = []
    for end in ends:
        starts = list(_starts(port.values, inside, wrong, end))
        if starts:
            made.append(_stretch(equals, starts, end))
    return made


def _is_right(equals: Equals, found: _Gradients, place: int) -> bool:
    """Whether the gradient by a value of the port's is that by one of its equals; none is zero."""
    own = found.theirs.get(place)
    # What only moves the numbers of another equal is a use of that one, and has a share of its gradient at most.
    equal = [other for other in equals.of_port[place] if not _is_moved(equals, place, other)]
    exact = {other: array for other in equals.of_port[place] if _any(array := found.ours.get(other))}
    if own is None or not _any(own):
        return not exact or any(other not in exact for other in equal)
    limits = {other: _ROOM * max(equals.port.limit(place), equals.reference.limit(other)) for other in exact}
    return any(are_equal(array, own, limits[other]) for other, array in exact.items() if array is not None)


def _is_moved(equals: Equals, place: int, other: int) -> bool:
    value = equals.reference.values[other]
    return value.operation in MOVES and any(each in equals.of_port[place] for each in value.made_of)


def _is_first(equals: Equals, place: int) -> bool:
    """Whether it is the first value with its numbers; later ones are uses of it, which have a share of its gradient."""
    return all(other >= place for own in equals.of_port[place] for other in equals.of_reference[own])


def _any(array: np.ndarray | None) -> bool:
    return array is not None and bool(array.any())


def _reached(values: Sequence[Value], wrong: set[int], is_right: Mapping[int, bool]) -> frozenset[int]:
    """What is wrong, and what is made of it and has no equal, as far as the next gradient that is right."""
    found = set(wrong)
    for place, value in enumerate(values):
        if place not in is_right and found.intersection(value.made_of):
            found.add(place)
    return frozenset(found)


def _starts(values: Sequence[Value], inside: frozenset[int], wrong: set[int], end: int) -> Iterator[int]:
    """The values with a wrong gradient that an end is made of, past what has no equal."""
    left, seen = [end], {end}
    while left:
        place = left.pop()
        if place in wrong:
            yield place
            continue
        for taken in values[place].made_of:
            if taken in inside and taken not in seen:
                seen.add(taken)
                left.append(taken)


def _stretch(equals: Equals, starts: Sequence[int], end: int) -> Stretch:
    ours, theirs = equals.reference.values, equals.port.values
    start = max(starts)
    exits = equals.port.users[end]
    first = min(equals.of_port[start])
    # As far as the reference's equal of what comes next, or else what it does with the value itself.
    nexts = [other for each in exits for other in equals.of_port.get(each, ()) if other > first]
    last = min(nexts, default=None)
    between = _between(ours, first, last) if last is not None else set(equals.reference.users.get(first, ()))
    return Stretch(
        _passage(ours, {first, *between, *([last] if last is not None else [])}, first, last),
        _passage(theirs, {start, end, *_between(theirs, start, end), *exits}, start, exits[0]),
        math.nan,
        Cause("backward", _TEXT),
        is_backward=True,
    )


def _between(values: Sequence[Value], start: int, end: int) -> set[int]:
    """What is made of the start and is in the end."""
    after = {start}
    for place in range(start + 1, end + 1):
        if after.intersection(values[place].made_of):
            after.add(place)
    before, left = {end}, [end]
    while left:
        for taken in values[left.pop()].made_of:
            if taken not in before and taken >= start:
                before.add(taken)
                left.append(taken)
    return (after & before) - {start}


def _passage(values: Sequence[Value], inside: set[int], start: int, exit: int | None) -> Passage:
    lines = filled(line for place in inside for line in (values[place].line, *values[place].inside) if line)
    equal: tuple[tuple[Line, str], ...] = ()
    if exit is not None and (line := values[exit].line):
        equal = ((line, values[exit].operation),)
    return Passage(equal, values[start].line, values[start].operation, lines, values[start].module)
