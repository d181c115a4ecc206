"""Equal values: which value of the port's tape is which one of the reference's, whatever the order of its axes.

Two values are one if they have the same numbers, within what rounding makes there, and some order of the axes makes
them the same array. Programs that are the same decompose differently, so that many values have no partner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import ml_dtypes
import numpy as np

from ....common.wing import Tape, Value, is_floating
from ...closeness import FACTOR
from ..coarseness import NUDGE, SINGLE, moved, rounding_left
from ..comparing import apart, closest_view, unit, views_of, wide

# Of which so many at least must be, for an equality to tell anything.
_FEWEST = 2
# Of an array of many axes of one length not all orders are tried.
_MOST_ORDERS = 24
_HUGE = 1e30
_DRAWS = 2
# Two ways to compute one thing may be this far apart in float64.
_LEAST = 2.0**-36


class Marks(NamedTuple):
    """What does not depend on the order of a value's numbers: equal values have equal marks."""

    size: int
    infinite: int
    norm: float
    total: float
    least: float
    most: float


def marks_of(array: np.ndarray) -> Marks | None:
    """None of an array that tells nothing: of one number, or of one number everywhere."""
    if array.size < _FEWEST or not (array.dtype.kind in "fiub" or is_floating(array)):
        return None
    wide = tame(array).ravel()
    finite = wide[np.isfinite(wide)]
    if finite.size == 0 or (finite.size == wide.size and finite.min() == finite.max()):
        return None
    return Marks(
        array.size,
        wide.size - finite.size,
        float(np.linalg.norm(finite)),
        float(finite.sum()),
        float(finite.min()),
        float(finite.max()),
    )


def tame(array: np.ndarray) -> np.ndarray:
    """In float64, with infinity for the numbers that stand for it in masks: nothing of them can be squared."""
    made = wide(array)
    huge = np.abs(made) > _HUGE
    return np.where(huge, np.copysign(np.inf, made), made) if huge.any() else made


def may_be_equal(one: Marks, other: Marks, limit: float) -> bool:
    if one.size != other.size or one.infinite != other.infinite:
        return False
    room = 2 * limit * max(one.norm, other.norm) + 1e-300
    return (
        abs(one.norm - other.norm) <= room
        and abs(one.least - other.least) <= room
        and abs(one.most - other.most) <= room
        and abs(one.total - other.total) <= room * one.size**0.5
    )


def are_equal(reference: np.ndarray, port: np.ndarray, limit: float) -> bool:
    """Whether some order of the axes makes them the same."""
    if reference.size != port.size or is_floating(reference) != is_floating(port):
        return False
    found = closest_view(tame(reference), tame(port), limit)
    return found is not None and apart(found.aligned, found.exact) <= limit


class Marked:
    """A tape with what is needed to look for equals of its values.

    noise: of each value, how large the rounding is that shows in it or in what it is made of.
    coarsest: what comes of a coarser rounding explains no difference, and is one.
    """

    def __init__(self, tape: Tape, depth: int, noise: Sequence[float], coarsest: float = math.inf) -> None:
        self.tape = tape
        self.values: Sequence[Value] = tape.values
        self._noise, self._most = noise, FACTOR * coarsest * max(depth, 1) ** 0.5
        self.marks = [marks_of(value.array) for value in tape.values]

    def settle(self, tape: Tape) -> None:
        """The same program with some values exchanged."""
        pairs = zip(tape.values, self.values, self.marks, strict=True)
        self.marks = [mark if new is old else marks_of(new.array) for new, old, mark in pairs]
        self.tape, self.values = tape, tape.values

    @cached_property
    def users(self) -> dict[int, tuple[int, ...]]:
        """By the values that others are made of the places of these, in order."""
        found: dict[int, list[int]] = {}
        for place, value in enumerate(self.values):
            for taken in value.made_of:
                found.setdefault(taken, []).append(place)
        return {place: tuple(users) for place, users in found.items()}

    @cached_property
    def constants(self) -> frozenset[int]:
        """The values that are made of no input and no parameter."""
        found: set[int] = set()
        for place, value in enumerate(self.values):
            if value.kind == "constant" or (value.kind == "made" and found.issuperset(value.made_of)):
                found.add(place)
        return frozenset(found)

    def limit(self, place: int) -> float:
        return max(min(FACTOR * self._noise[place], self._most), _LEAST)


def noise_on(tape: Tape) -> list[float]:
    """For each value how large the rounding is that shows in it, or in what it is made of.

    All that is given is moved by very little, one way and the other; see `coarseness`. A constant of a coarse type
    shows that in its numbers.
    """
    own = [0.0] * len(tape.values)
    for draw in range(_DRAWS):
        above, below = (tape.replay(_nudged(tape, size, draw), {}, math.inf) for size in (NUDGE, -NUDGE))
        for place in above.keys() & below.keys():
            value = tape.values[place]
            if value.kind == "made" and is_floating(value.array):
                size = rounding_left(tame(value.array), tame(above[place]), tame(below[place]))
                own[place] = max(own[place], size if math.isfinite(size) else 0.0)
    found: list[float] = []
    for place, value in enumerate(tape.values):
        if value.kind == "constant" and _is_of_single(value.array):
            own[place] = SINGLE
        found.append(max([own[place], *(found[each] for each in value.made_of)]))
    return found


def _nudged(tape: Tape, size: float, draw: int) -> dict[int, np.ndarray]:
    return {
        place: moved(value.array, size, draw, f"tape {place}").astype(value.array.dtype)
        for place, value in enumerate(tape.values)
        if value.kind in ("input", "parameter") and is_floating(value.array)
    }


def _is_of_single(array: np.ndarray) -> bool:
    """Whether its numbers are such as float32 has, and need more than a few digits."""
    if unit(array) >= SINGLE:
        return is_floating(array)
    few = array.astype(ml_dtypes.bfloat16).astype(array.dtype)
    return np.array_equal(array, array.astype(np.float32)) and not np.array_equal(array, few)


def units_of_modules(tape: Tape, eps: float) -> dict[str, float]:
    """By a module's path the coarsest rounding of what is computed in a call of it, or of a module below.

    Single precision at most: programs fix it for a softmax or a norm, and a coarser one is a difference.
    """
    found: dict[str, float] = {}
    for value in tape.values:
        if value.kind != "made" or not is_floating(value.array):
            continue
        parts = value.module.split(".") if value.module else []
        for depth in range(len(parts) + 1):
            path = ".".join(parts[:depth])
            found[path] = max(found.get(path, eps), min(unit(value.array), SINGLE))
    return found


class Equals:
    """Which values of the two sides are equal. of_reference, of_port: by place, the places of the equals."""

    def __init__(self, reference: Marked, port: Marked) -> None:
        self.reference, self.port = reference, port
        self.of_reference: dict[int, list[int]] = {}
        self.of_port: dict[int, list[int]] = {}
        self._sized: dict[int, list[int]] = {}
        for place, mark in enumerate(reference.marks):
            if mark is not None:
                self._sized.setdefault(mark.size, []).append(place)
        for place, value in enumerate(port.values):
            self._pair(place, self.found(place, value.array, port.marks[place]))

    def _pair(self, place: int, partners: Sequence[int]) -> None:
        for other in self.of_port.pop(place, ()):
            self.of_reference[other].remove(place)
        if partners:
            self.of_port[place] = list(partners)
        for other in partners:
            self.of_reference.setdefault(other, []).append(place)

    def found(
        self, place: int, array: np.ndarray, mark: Marks | None, among: frozenset[int] | None = None
    ) -> list[int]:
        """The reference's values that are equal to an array in the place of one of the port's."""
        if mark is None:
            return []
        made = []
        for other in self._sized.get(mark.size, ()):
            if among is not None and other not in among:
                continue
            limit = max(self.port.limit(place), self.reference.limit(other))
            theirs = self.reference.marks[other]
            is_like = theirs is not None and may_be_equal(mark, theirs, limit)
            if is_like and are_equal(self.reference.values[other].array, array, limit):
                made.append(other)
        return made

    def update(self, places: Iterable[int]) -> None:
        """Some of the port's values are others."""
        for place in places:
            self._pair(place, self.found(place, self.port.values[place].array, self.port.marks[place]))

    def is_known(self, side: Marked, place: int) -> bool:
        """Whether the other side has the value too, or it is given to both."""
        value = side.values[place]
        if value.kind in ("input", "parameter"):
            return True
        own = self.of_reference if side is self.reference else self.of_port
        # A constant of one number tells nothing, and is none of a difference.
        return bool(own.get(place)) or (value.kind == "constant" and side.marks[place] is None)


def ancestors(values: Sequence[Value], ends: Sequence[int], within: frozenset[int]) -> frozenset[int]:
    """The places that the ends are made of, and the ends, as far as they are within."""
    found: set[int] = set()
    left = [place for place in ends if place in within]
    while left:
        place = left.pop()
        if place not in found:
            found.add(place)
            left += [each for each in values[place].made_of if each in within]
    return frozenset(found)


def views(array: np.ndarray, like: np.ndarray, most: int) -> list[np.ndarray]:
    """An array in the ways to see it in the shape of another one of its size, the one that is closest to it first."""
    seen: list[np.ndarray] = []
    for _, each in islice(views_of(array, like.shape), _MOST_ORDERS):
        if not any(np.array_equal(each, other, equal_nan=True) for other in seen):
            seen.append(each)
    return sorted(seen, key=lambda each: apart(tame(each), tame(like)))[:most]
