"""Responses: what both sides' optimizers make of the courses, at some entries of each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.seeding import generator
from ...common.wing import Gradients, Updated
from ...pairs.closeness import norm
from ...pairs.comparison import Bound, Comparison
from ...pairs.maps import Map, MapRow
from ...pairs.precision import Setting
from .courses import (
    CONSTANT,
    CONSTANT_STEPS,
    COURSES,
    LAST,
    SCHEDULE,
    STARTS,
    Course,
    Given,
    Source,
    counts,
    schedule_at,
    schedule_to,
)
from .turns import Turns

# So many gradients are given to see whether a side adds them up.
_MOST_GRADIENTS = 130
# So many steps are made one after the other where a schedule changes: at a large rate each makes more of the rounding
# of those before it.
_STEPS = 16
# Of a large tensor so many entries are looked at; all of it is updated.
ENTRIES = 1024


class Trail(NamedTuple):
    """One parameter of one side in a course, by step and entry: its values before each step, and how far it went."""

    before: np.ndarray
    moves: np.ndarray


class Response(NamedTuple):
    """One parameter in a course: what both sides were given, in the port's layout, and what they made of it."""

    given: np.ndarray
    ours: Trail
    theirs: Trail
    averages: tuple[np.ndarray, np.ndarray] | None = None

    def of(self, side: int) -> Trail:
        """What the reference made of it for 0, and the port for 1."""
        return (self.ours, self.theirs)[side]


@dataclass(frozen=True)
class Responses:
    """All that was seen.

    by_course: by a course's name and the port's path. counts: by course the number of each step.
    norms: of all gradients together, by course and step; totals: of each side's moves, so. cut: by course, why not all
        of its steps were made. averaged: whether either side averages its parameters. every: for each side of how many
        gradients it makes a step. is_whole: whether it was given each as often.
    """

    rows: Mapping[str, MapRow]
    by_course: Mapping[str, Mapping[str, Response]]
    counts: Mapping[str, Sequence[int]]
    norms: Mapping[str, np.ndarray]
    totals: Mapping[str, np.ndarray]
    cut: Mapping[str, str]
    averaged: tuple[bool, bool] = (False, False)
    every: tuple[int, int] = (1, 1)
    is_whole: bool = False


@dataclass(frozen=True, eq=False)
class Fed:
    """The parameters that both sides are fed with gradients for, under their map.

    aside: by the port's path, why a parameter gets no gradient and is not compared.
    """

    bound: Bound
    aside: Mapping[str, str]

    @cached_property
    def map(self) -> Map:
        """The map of parameters alone, each whole."""
        bound, sides = self.bound, (self.bound.reference.stored_tensors, self.bound.port.stored_tensors)
        there = {row for row in bound.rows if sides[0][row.reference].trainable and sides[1][row.port].trainable}
        there = {row for row in there if there.issuperset(bound.map.by_reference[row.reference])}
        there = {row for row in there if there.issuperset(bound.map.by_port[row.port])}
        return Map(tuple(row for row in bound.rows if row in there), bound.map.direction)

    @cached_property
    def of_gradients(self) -> Map:
        return Map(tuple(replace(row, transform="") for row in self.map.rows), self.map.direction)

    @cached_property
    def source(self) -> Source:
        """Only of what training moves on both sides: of what is frozen in PyTorch, JAX has zeros."""
        bound = self.bound
        asides = {row.reference for row in self.map.rows if row.port in self.aside}
        free = [
            path
            for path, rows in self.map.by_reference.items()
            if path not in asides and all(bound.reference.is_free(path) and bound.port.is_free(r.port) for r in rows)
        ]
        return Source({path: bound.reference.shape(path) for path in free})

    def pair(self, ours: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The reference's gradients and the port's."""
        zeros = {path: np.zeros(rows[0].shape) for path, rows in self.map.by_reference.items() if path not in ours}
        return dict(ours), self.of_gradients.arrays({**zeros, **ours})

    def theirs(self, ours: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The reference's parameters as the port has them."""
        return self.map.arrays({path: ours[path] for path in self.map.by_reference})


def respond(comparison: Comparison, aside: Mapping[str, str], *, is_whole: bool = False) -> Responses:
    """Feed both sides with all courses, in float64, from the values at which the sides are compared.

    is_whole: what adds up gradients before it makes a step is given each as often, as whole step functions give it.

    Raises:
        PairError, NotExpressibleError: as `Side.updates`.
    """
    fed = Fed(comparison.bound, aside)
    places = {path: _places(path, rows[0].port_shape) for path, rows in fed.map.by_port.items() if path not in aside}

    def fresh() -> _Run:
        return _Run(comparison, fed, places, repeats)

    repeats = (1, 1)
    every = _every(fresh)
    if is_whole:
        repeats = every
    ran, cut = {}, {}
    for course in (*COURSES, schedule_to(comparison.reference.training_steps or LAST)):
        ran[course.name] = run = fresh()
        try:
            run.make(course)
        except NotExpressibleError as refused:
            cut[course.name] = f"{refused.path}: {refused.found}" if refused.path else refused.found
    ran[SCHEDULE] = _halved(ran[SCHEDULE], fresh)
    return Responses(
        {path: rows[0] for path, rows in fed.map.by_port.items()},
        {name: run.responses() for name, run in ran.items()},
        {name: run.counts for name, run in ran.items()},
        {name: np.array(run.norms) for name, run in ran.items()},
        {name: np.array(run.totals).reshape(-1, 2) for name, run in ran.items()},
        cut,
        ran[SCHEDULE].averaged,
        every,
        is_whole,
    )


def _every(fresh: Callable[[], _Run]) -> tuple[int, int]:
    """For each side of how many gradients it makes a step."""
    for count in (CONSTANT_STEPS, _MOST_GRADIENTS):
        run = fresh()
        run.make(Course(CONSTANT, (Given("even"),) * count))
        moved = np.array(run.totals).reshape(-1, 2) > 0
        # One that has made no step yet where the other has may add up more.
        if moved.any(axis=0).all() or not moved.any():
            break
    return _period(moved[:, 0]), _period(moved[:, 1])


def _period(moved: np.ndarray) -> int:
    """The number of which only the multiples are steps that moved; 1 where there is none."""
    steps = np.flatnonzero(moved) + 1
    first = int(steps[0]) if len(steps) else 1
    return first if np.array_equal(steps, np.arange(first, len(moved) + 1, first)) else 1


def _halved(run: _Run, fresh: Callable[[], _Run]) -> _Run:
    """The run of the schedule with more steps, where it changes between those that were made."""
    turns = Turns()
    turns.see(run.counts, run.levels())
    while further := turns.next():
        levels: dict[int, np.ndarray] = {}
        for first in range(0, len(further), _STEPS):
            more = fresh()
            more.make(schedule_at(further[first : first + _STEPS]))
            levels.update(zip(more.counts, more.levels(), strict=True))
            run.take(more)
        turns.see([*levels], [*levels.values()])
    return run


def _places(path: str, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    if size <= ENTRIES:
        return np.arange(size)
    return np.sort(generator(0, f"entries {path}").choice(size, ENTRIES, replace=False))


class _Run:
    """Both sides in one course."""

    def __init__(
        self, comparison: Comparison, fed: Fed, places: Mapping[str, np.ndarray], repeats: tuple[int, int]
    ) -> None:
        bound, self._fed, self._places, self._repeats = comparison.bound, fed, places, repeats
        # Wherever the models run: not every device has float64.
        setting = Setting("cpu", "float64")
        self._advance = bound.reference.updates(bound.ours, setting), bound.port.updates(bound.theirs, setting)
        starts = fed.theirs({path: bound.ours[path] for path in fed.map.by_reference})
        start = self._seen(starts)
        self._seen_before = (start, start)
        self._whole = starts, starts
        self.averaged = (False, False)
        self.counts: list[int] = []
        self.norms: list[float] = []
        self.totals: list[tuple[float, float]] = []
        self._steps: dict[str, list[tuple[Any, ...]]] = {path: [] for path in places}

    def make(self, course: Course) -> None:
        """All steps of a course.

        Raises:
            NotExpressibleError: from a step, a state that cannot be set forward. Those before it are kept.
        """
        for number, given in zip(counts(course), course.steps, strict=True):
            self._step(given)
            self.counts.append(number)

    def _step(self, given: Given) -> None:
        mine = self._fed.source.gradients(given)
        ours, theirs = self._fed.pair(mine)
        one, other = self._made(0, ours, given.ahead), self._made(1, theirs, given.ahead)
        whole = self._fed.theirs(one.parameters), {path: other.parameters[path] for path in self._fed.map.by_port}
        after = self._seen(whole[0]), self._seen(whole[1])
        gradients = self._seen(theirs)
        self.averaged = bool(one.averages), bool(other.averages)
        averages = self._averages(one, other)
        for path, steps in self._steps.items():
            befores = self._seen_before[0][path], self._seen_before[1][path]
            moves = after[0][path] - befores[0], after[1][path] - befores[1]
            steps.append((gradients[path], *befores, *moves, averages.get(path)))
        self.norms.append(_total(mine))
        self.totals.append((_total(_apart(whole[0], self._whole[0])), _total(_apart(whole[1], self._whole[1]))))
        self._seen_before, self._whole = after, whole

    def _made(self, side: int, gradients: Mapping[str, np.ndarray], ahead: int) -> Updated:
        for _ in range(self._repeats[side] - 1):
            self._advance[side](Gradients(gradients, ahead))
            ahead = 0
        return self._advance[side](Gradients(gradients, ahead))

    def _seen(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {path: np.asarray(arrays[path]).ravel()[places] for path, places in self._places.items()}

    def _averages(self, one: Updated, other: Updated) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        if not (one.averages and other.averages):
            return {}
        ours, theirs = self._seen(self._fed.theirs(one.averages)), self._seen(other.averages)
        return {path: (ours[path], theirs[path]) for path in ours}

    def levels(self) -> list[np.ndarray]:
        """By step how far each parameter went on either side."""
        return [
            np.array([norm(move) for steps in self._steps.values() for move in steps[number][3:5]])
            for number in range(len(self.counts))
        ]

    def take(self, other: _Run) -> None:
        """Put the steps of another run of the schedule between those of this one, but for those that begin both."""
        order = np.argsort([*self.counts, *other.counts[STARTS:]], kind="stable")
        pairs = [(self.counts, other.counts), (self.norms, other.norms), (self.totals, other.totals)]
        pairs += [(self._steps[path], other._steps[path]) for path in self._steps]
        for mine, theirs in pairs:
            every = [*mine, *theirs[STARTS:]]
            mine[:] = [every[place] for place in order]

    def responses(self) -> dict[str, Response]:
        return {path: Response(*_stacked(steps)) for path, steps in self._steps.items() if steps}


def _stacked(steps: list[tuple[Any, ...]]) -> Iterator[Any]:
    given, ours, theirs, mine, other = (np.stack(each) for each in list(zip(*steps, strict=True))[:5])
    yield given
    yield Trail(ours, mine)
    yield Trail(theirs, other)
    if steps[0][5] is not None:
        yield np.stack([step[5][0] for step in steps]), np.stack([step[5][1] for step in steps])


def _apart(after: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {path: after[path] - before[path] for path in after}


def _total(arrays: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(norm(array) ** 2 for array in arrays.values())))
