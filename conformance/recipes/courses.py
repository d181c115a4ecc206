"""Courses: gradients that an optimizer is fed with, so that each part of a recipe shows in one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from ...common.seeding import generator

# The global norm of ordinary gradients, below what anybody clips at.
NORM = 0.02
# Root mean square of an entry of huge ones.
HUGE = 30.0
# Exponents of ten between which tiny gradients lie: an eps shows where it is as large as they are.
TINY = (-11.0, -3.0)
# Of the rows of a matrix, one in so many has a gradient in a sparse one.
_ROWS = 4


class Given(NamedTuple):
    """The gradients of one step.

    how: `none` (zeros), `even` (normal numbers), `tiny` (each entry of another size), `rows` (even, in few rows).
    size: a factor of ordinary gradients; of `even` ones at 0 of root mean square `huge`.
    turn: other numbers for each. ahead: by how many steps counts and schedules are set forward before, as of a step
        that is given `Gradients`.
    """

    how: Literal["none", "even", "tiny", "rows"]
    size: float = 1.0
    turn: int = 0
    huge: float = 0.0
    ahead: int = 0


class Course(NamedTuple):
    """Some steps from the start."""

    name: str
    steps: tuple[Given, ...]


# Steps that are made one after the other; a schedule is looked at beyond at about five points for each power of ten.
CONSTANT_STEPS = 8
_LADDER = (CONSTANT_STEPS, *(round(10 ** (n / 5)) for n in range(5, 26)))
# The last step that a schedule is looked at, where nobody has said how long a training is.
LAST = _LADDER[-1]
# The steps before a schedule is set forward, the first time.
STARTS = 2
CONSTANT, ORDINARY, ZERO = "constant gradients", "ordinary gradients", "zero gradients"
IMPULSE, TINIEST, HUGEST, SPARSE = "one gradient and zeros", "tiny gradients", "huge gradients", "sparse rows"
SCHEDULE = "the schedule"


def schedule_at(numbers: Sequence[int]) -> Course:
    """Steps of these numbers, which rise."""
    ahead = (n - before - 1 for before, n in zip((STARTS, *numbers), numbers, strict=False))
    return Course(SCHEDULE, ((Given("even"),) * STARTS + tuple(Given("even", ahead=each) for each in ahead)))


def schedule_to(last: int) -> Course:
    """Steps up to the last one of a training, or the eighth."""
    last = max(last, CONSTANT_STEPS)
    return schedule_at([*(n for n in _LADDER if n < last), last])


# All but the schedule.
COURSES = (
    Course(ZERO, (Given("none"),) * 4),
    Course(CONSTANT, (Given("even"),) * CONSTANT_STEPS),
    Course(ORDINARY, tuple(Given("even", size, turn) for turn, size in enumerate((1.0, 0.5, 2.0, 1.0, 0.3, 1.5, 1.0)))),
    Course(IMPULSE, (Given("even"), *(Given("none"),) * 6)),
    Course(TINIEST, tuple(Given("tiny", size, turn) for turn, size in enumerate((1.0, 1.0, 2.0, 0.5)))),
    Course(SPARSE, tuple(Given("rows", 1.0, turn) for turn in range(5))),
    Course(
        HUGEST,
        # What is beyond what the values are goes last: it leaves no digits to the ordinary ones.
        tuple(Given("even", turn=turn, huge=HUGE * factor) for turn, factor in enumerate((0, 1, 0, 0.1, 0.01, 0, 1e3))),
    ),
)


def counts(course: Course) -> list[int]:
    """The number of each step, from 1, with what was skipped."""
    found, count = [], 0
    for given in course.steps:
        count += 1 + given.ahead
        found.append(count)
    return found


@dataclass(eq=False)
class Source:
    """Gradients for the reference's tensors by path: one seed, whatever the order. shapes: of all that get one."""

    shapes: Mapping[str, tuple[int, ...]]
    _kept: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @cached_property
    def ordinary(self) -> float:
        """The size of an entry of ordinary gradients."""
        return NORM / max(sum(int(np.prod(shape)) for shape in self.shapes.values()), 1) ** 0.5

    def gradients(self, given: Given) -> dict[str, np.ndarray]:
        return {path: self._gradient(path, given) for path in self.shapes}

    def _gradient(self, path: str, given: Given) -> np.ndarray:
        shape = self.shapes[path]
        if given.how == "none":
            return np.zeros(shape)
        base = self._base(path, "tiny" if given.how == "tiny" else "even")
        size = given.huge or (given.size if given.how == "tiny" else given.size * self.ordinary)
        if given.huge:
            # Each tensor's by another factor in each step, so that its own norm and that of all go apart.
            size *= 10 ** generator(0, f"size {given.turn} {path}").uniform(-0.7, 0.7)
        made = (size * np.roll(base, given.turn)).reshape(shape)
        if given.how == "rows" and len(shape) > 1:
            made[np.arange(shape[0]) % _ROWS != given.turn % _ROWS] = 0.0
        return made

    def _base(self, path: str, how: str) -> np.ndarray:
        if (path, how) not in self._kept:
            random, count = generator(0, f"{how} gradient {path}"), int(np.prod(self.shapes[path]))
            made = random.standard_normal(count)
            if how == "tiny":
                made = np.sign(made) * 10 ** random.uniform(*TINY, count)
            self._kept[path, how] = made
        return self._kept[path, how]
