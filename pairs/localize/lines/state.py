"""The state of a search for lines: both tapes, what was exchanged in the port's so far, and what is equal then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ....common.wing import PairError
from .equal import Equals, Marked, marks_of, may_be_equal


@dataclass(frozen=True)
class Cut:
    """A value of the port that is to be the reference's.

    array: the reference's, in the port's axes. steps: of the operations that take it, those that are to get it; None
        where it is exchanged as a whole.
    """

    reference: int
    port: int
    array: np.ndarray
    steps: frozenset[int] | None = None


class Region(NamedTuple):
    """The values of one side that the other one does not have, back from a wrong output, and those before them."""

    inside: frozenset[int]
    before: frozenset[int]


@dataclass
class Tracking:
    """The state of a search: both tapes, the port's with all that was exchanged so far, and what is equal then."""

    reference: Marked
    port: Marked
    equals: Equals

    def array(self, place: int) -> np.ndarray:
        return self.port.values[place].array

    def with_cuts(self, cuts: Sequence[Cut], most: float = math.inf) -> dict[int, np.ndarray]:
        """What is other in the port's pass when it is given the reference's values; of so many operations at most."""
        instead, uses = _exchanged(cuts)
        try:
            new = self.port.tape.replay(instead, uses, most)
        except PairError:
            # What the port cannot go on with, as positions that it has not, is no value of its own.
            return {}
        return {place: array for place, array in new.items() if place not in instead}

    def commit(self, cuts: Sequence[Cut]) -> None:
        before = self.port.values
        self.port.settle(self.port.tape.settle(*_exchanged(cuts)))
        self.equals.update(place for place, value in enumerate(self.port.values) if value is not before[place])


def _exchanged(cuts: Sequence[Cut]) -> tuple[dict[int, np.ndarray], dict[tuple[int, int], np.ndarray]]:
    instead = {cut.port: cut.array for cut in cuts if cut.steps is None}
    return instead, {(cut.port, step): cut.array for cut in cuts for step in cut.steps or ()}


def is_reordered(state: Tracking, cut: Cut) -> bool:
    """Whether the port has the reference's numbers there, in another order: it may be made anywhere on the way."""
    ours, theirs = state.reference.marks[cut.reference], marks_of(state.array(cut.port))
    return ours is not None and theirs is not None and may_be_equal(ours, theirs, state.port.limit(cut.port))
