"""Rules: explicit optimizers with free numbers, fitted to how a parameter moved; what fits tells what was done.

At each step two numbers are free besides, the rate and the decay, so that no schedule and no decay is mistaken for a
rule. A rule knows entries apart: what scales a whole step, as a trust ratio does, is in its rate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from .courses import CONSTANT, COURSES, HUGEST, IMPULSE, ORDINARY, TINIEST, ZERO, counts
from .responses import Trail

# So much of a move may be left unexplained by the rule that explains it.
EXPLAINED = 1e-5
# Of a parameter's entries so many are fitted.
_FEW = 24
# Of the rules that begin nearest so many are searched.
_SEARCHED = 8
_FITTED = (CONSTANT, ORDINARY, IMPULSE, TINIEST)


class Numbers(NamedTuple):
    """What a rule is told apart by. Each of them is one argument of some optimizer.

    squares: how the squared gradients are kept: `none` (SGD), `mean` (Adam, RMSprop), `sum` (Adagrad) or,
        of the sizes, the largest (`most`, Adamax).
    first, second: the decays of the two averages. momentum: of a buffer of what is stepped by. start: of the sum.
    is_inside: whether eps is added inside of the root; outer: one outside then.
    coupled: weight decay in the gradient.
    """

    squares: str = "none"
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    first: float = 0.0
    second: float = 0.0
    eps: float = 0.0
    is_inside: bool = False
    outer: float = 0.0
    corrected: bool = False
    centered: bool = False
    start: float = 0.0
    coupled: float = 0.0


class Fitted(NamedTuple):
    """A rule that explains a trail but for `error` of its moves."""

    numbers: Numbers
    error: float


class Course(NamedTuple):
    """What a rule is run on: gradients and values by step and entry, and each step's number.

    Steps that are ahead of those before them begin with what was kept before the first of these.
    """

    given: np.ndarray
    before: np.ndarray
    counts: Sequence[int]


def directions(numbers: Numbers, course: Course) -> np.ndarray:
    """What the rule steps by, by step and entry, of rate 1 and without a decay of its own."""
    found = np.empty_like(course.given)
    buffer = first = second = np.zeros(course.given.shape[1])
    second = second + numbers.start
    kept = None
    for number, (given, before, count) in enumerate(zip(*course, strict=True)):
        if count > number + 1:
            kept = kept or (buffer, first, second)
            buffer, first, second = kept
        gradient = given + numbers.coupled * before
        if numbers.squares == "none":
            step = gradient
        elif numbers.squares == "most":
            first = _mixed(numbers.first, first, gradient)
            second = np.maximum(numbers.second * second, np.abs(gradient) + numbers.eps)
            step = np.divide(first / (1 - numbers.first**count), second, out=np.zeros_like(first), where=second > 0)
        else:
            first = _mixed(numbers.first, first, gradient)
            squared = gradient**2
            second = second + squared if numbers.squares == "sum" else _mixed(numbers.second, second, squared)
            step = _adaptive(numbers, gradient, first, second, count)
        undamped = 1.0 if number == 0 else 1 - numbers.dampening
        buffer = numbers.momentum * buffer + undamped * step
        found[number] = step + numbers.momentum * buffer if numbers.nesterov and numbers.momentum else buffer
    return found


def _mixed(share: float, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return share * old + (1 - share) * new


def _adaptive(numbers: Numbers, gradient: np.ndarray, first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    is_adam_nesterov = numbers.nesterov and not numbers.momentum
    mean, spread = first, second - first**2 if numbers.centered else second
    if is_adam_nesterov:
        mean = numbers.first * first + (1 - numbers.first) * gradient
    if numbers.corrected:
        mean, spread = (
            _correction(numbers, gradient, first, count, is_adam_nesterov),
            spread / (1 - numbers.second**count),
        )
    inside = numbers.eps if numbers.is_inside else 0.0
    root = np.sqrt(np.maximum(spread, 0.0) + inside) + (numbers.outer if numbers.is_inside else numbers.eps)
    moving = mean if not numbers.centered else gradient
    return np.divide(moving, root, out=np.zeros_like(root), where=root > 0)


def _correction(numbers: Numbers, gradient: np.ndarray, first: np.ndarray, count: int, is_nesterov: bool) -> np.ndarray:
    if not is_nesterov:
        return first / (1 - numbers.first**count)
    return numbers.first * first / (1 - numbers.first ** (count + 1)) + (1 - numbers.first) * gradient / (
        1 - numbers.first**count
    )


class _Variant(NamedTuple):
    """A rule with numbers that are free, and where a search for these begins."""

    fixed: Numbers
    free: tuple[str, ...]


_STARTS: dict[str, tuple[float, ...]] = {
    "momentum": (0.9, 0.5),
    "dampening": (0.5,),
    "first": (0.9, 0.5),
    "second": (0.999, 0.95, 0.9),
    "eps": (1e-8, 1e-5, 1e-3, 1e-12),
    "outer": (1e-8, 1e-6),
    "start": (0.1,),
    "coupled": (1e-2, 1e-4),
}
_ADAM = Numbers("mean", corrected=True)
_MEAN = Numbers("mean")
_SUM = Numbers("sum")
_MOST = Numbers("most", corrected=True)
# From the simplest on: the first that explains all is taken.
_VARIANTS = (
    _Variant(Numbers(), ()),
    _Variant(Numbers(), ("momentum",)),
    _Variant(Numbers(nesterov=True), ("momentum",)),
    _Variant(Numbers(), ("momentum", "dampening")),
    _Variant(_ADAM, ("second", "eps")),
    _Variant(_ADAM, ("first", "second", "eps")),
    _Variant(_SUM, ("eps",)),
    _Variant(_SUM._replace(is_inside=True), ("eps",)),
    _Variant(_SUM, ("eps", "start")),
    _Variant(_SUM._replace(is_inside=True), ("eps", "start")),
    _Variant(_MEAN, ("second", "eps")),
    _Variant(_MEAN._replace(is_inside=True), ("second", "eps")),
    _Variant(_MEAN, ("first", "second", "eps")),
    _Variant(_ADAM._replace(is_inside=True), ("first", "second", "eps")),
    _Variant(_ADAM._replace(is_inside=True), ("first", "second", "eps", "outer")),
    _Variant(_ADAM._replace(nesterov=True), ("first", "second", "eps")),
    _Variant(_MOST, ("first", "second", "eps")),
    _Variant(_MEAN, ("second", "eps", "momentum")),
    _Variant(_MEAN._replace(is_inside=True), ("second", "eps", "momentum")),
    _Variant(_MEAN._replace(centered=True), ("first", "eps")),
    _Variant(_MEAN._replace(centered=True, is_inside=True), ("first", "eps")),
)


def fitted(trails: Mapping[str, tuple[np.ndarray, Trail]]) -> Fitted:
    """The simplest rule that explains how a parameter moved, or the best of all.

    trails: by course the gradients and the trail of one side.
    """
    courses = [_few(name, *trails[name]) for name in _FITTED if name in trails]
    zero = _few(ZERO, *trails[ZERO]) if ZERO in trails else None
    with_zero = [*courses, zero] if zero is not None else courses
    uneven = zero is not None and is_uneven(trails[ZERO][1])
    if uneven or (zero is not None and not is_steady(decays(trails[ZERO][1]))):
        found = _best(with_zero, is_coupled=True)
        if uneven or found.error < EXPLAINED:
            return found if found.numbers.momentum or found.numbers.squares != "none" else _of_values(found)
    return _best(courses, is_coupled=False)


def _of_values(found: Fitted) -> Fitted:
    """Of SGD without momentum: there a decay in the gradient is one of the values."""
    return found._replace(numbers=found.numbers._replace(coupled=0.0))


def _best(seen: Sequence[tuple[Course, np.ndarray]], is_coupled: bool) -> Fitted:
    searches = []
    for variant in _VARIANTS:
        free = (*variant.free, "coupled") if is_coupled else variant.free
        searches.append(_Search(variant._replace(free=free), seen, not is_coupled))
    nearest = sorted(searches, key=lambda search: search.start[1])[:_SEARCHED]
    best = Fitted(Numbers(), np.inf)
    for search in (each for each in searches if each in nearest):
        found = search.fitted()
        if found.error < best.error / 2:
            best = found
        if best.error < EXPLAINED:
            break
    return best


def is_steady(numbers: np.ndarray) -> bool:
    """Whether they are one number but for a hundredth."""
    return bool(np.ptp(numbers) <= 1e-2 * np.abs(numbers).max(initial=0.0))


def left_of(numbers: Numbers, trails: Mapping[str, tuple[np.ndarray, Trail]]) -> float:
    """What a rule leaves unexplained of a parameter's moves."""
    seen = [_few(name, *trails[name]) for name in _FITTED if name in trails]
    left = [_left(directions(numbers, course), course, moves, not numbers.coupled) for course, moves in seen]
    return float(np.sqrt((np.concatenate(left) ** 2).sum() / max(_steps(seen), 1)))


def is_uneven(zero: Trail) -> bool:
    """Whether what moves a parameter without a gradient is no multiple of its values."""
    moving = zero.moves.any(axis=1)
    rest = zero.moves + decays(zero)[:, None] * zero.before
    sizes = np.sqrt((zero.moves[moving] ** 2).sum(axis=1))
    return bool((np.sqrt((rest[moving] ** 2).sum(axis=1)) > 1e-3 * sizes).any())


def decays(zero: Trail) -> np.ndarray:
    """By step, what share of its values a parameter without a gradient has lost."""
    sizes = np.maximum((zero.before**2).sum(axis=1), np.finfo(float).tiny)
    return -(zero.moves * zero.before).sum(axis=1) / sizes


def _few(name: str, given: np.ndarray, trail: Trail) -> tuple[Course, np.ndarray]:
    places = np.linspace(0, given.shape[1] - 1, min(_FEW, given.shape[1])).astype(int)
    number = next(counts(course) for course in COURSES if course.name == name)[: len(given)]
    return Course(given[:, places], trail.before[:, places], number), trail.moves[:, places]


@dataclass(frozen=True, eq=False)
class _Search:
    """For the numbers with which a rule leaves least unexplained: from the best point of a grid downhill."""

    variant: _Variant
    seen: Sequence[tuple[Course, np.ndarray]]
    decays: bool

    def residual(self, places: Sequence[float] | np.ndarray) -> np.ndarray:
        numbers = _numbers(self.variant, places)
        return np.concatenate(
            [_left(directions(numbers, course), course, moves, self.decays) for course, moves in self.seen]
        )

    def error(self, places: Sequence[float] | np.ndarray) -> float:
        return float(np.sqrt((self.residual(places) ** 2).sum() / max(_steps(self.seen), 1)))

    @cached_property
    def start(self) -> tuple[np.ndarray, float]:
        grid = [
            np.array([_place(name, value) for name, value in zip(self.variant.free, values, strict=True)])
            for values in itertools.product(*(_STARTS[name] for name in self.variant.free))
        ]
        errors = [self.error(places) for places in grid]
        best = int(np.argmin(errors))
        return grid[best], errors[best]

    def fitted(self) -> Fitted:
        places, error = self.start
        if self.variant.free and error > EXPLAINED * 1e-3:
            bounds = tuple(np.array(each) for each in zip(*(_BOUNDS[name] for name in self.variant.free), strict=True))
            options = {"xtol": 1e-12, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 40}
            places = least_squares(self.residual, places, bounds=bounds, **options).x
        return Fitted(_numbers(self.variant, places), self.error(places))


def _steps(seen: Sequence[tuple[Course, np.ndarray]]) -> int:
    return sum(int(moves.any(axis=1).sum()) for _, moves in seen)


# Where a number is searched: averages by the logarithm of 1 less themselves, what is small by its own.
_BOUNDS = {
    "momentum": (-6.0, 0.0),
    "dampening": (0.0, 1.0),
    "first": (-6.0, 0.0),
    "second": (-7.0, 0.0),
    "eps": (-40.0, 2.0),
    "outer": (-40.0, 2.0),
    "start": (-12.0, 2.0),
    "coupled": (-9.0, 1.0),
}


def _place(name: str, value: float) -> float:
    if name in ("momentum", "first", "second"):
        return float(np.log10(1 - value))
    return value if name == "dampening" else float(np.log10(value))


def _numbers(variant: _Variant, places: Sequence[float] | np.ndarray) -> Numbers:
    found = {}
    for name, place in zip(variant.free, places, strict=True):
        is_average = name in ("momentum", "first", "second")
        found[name] = 1 - 10**place if is_average else place if name == "dampening" else 10**place
    if variant.fixed.centered:
        found["second"] = found["first"]
    return variant.fixed._replace(**{name: float(value) for name, value in found.items()})


def _left(made: np.ndarray, course: Course, moves: np.ndarray, decays: bool) -> np.ndarray:
    """What a rate and a decay for each step leave of the moves, each step's of their size."""
    sizes = np.sqrt((moves**2).sum(axis=1))
    steps = sizes > 0
    rate, decay = rates_and_decays(made, course.before, moves, decays)
    rest = moves + rate[:, None] * made + decay[:, None] * course.before
    return (rest[steps] / sizes[steps, None]).ravel() if steps.any() else np.zeros(1)


def rates_and_decays(
    made: np.ndarray, before: np.ndarray, moves: np.ndarray, decays: bool
) -> tuple[np.ndarray, np.ndarray]:
    """By step, by which multiples of its direction and of its values a parameter moved, to the least squares."""
    one, both, other = ((x * y).sum(axis=1) for x, y in ((made, made), (made, before), (before, before)))
    along, across = -(moves * made).sum(axis=1), -(moves * before).sum(axis=1)
    whole = one * other - both**2
    is_both = decays & (whole > 1e-12 * one * other)
    whole, alone = np.where(is_both, whole, 1.0), np.where(one > 0, one, 1.0)
    rate = np.where(is_both, (along * other - across * both) / whole, along / alone)
    still = decays & (one == 0) & (other > 0)
    decay = np.where(
        is_both, (across * one - along * both) / whole, np.where(still, across / np.where(other > 0, other, 1), 0.0)
    )
    return rate, decay


def rates(numbers: Numbers, steps: Sequence[int], given: np.ndarray, trail: Trail) -> np.ndarray:
    """By step of a course the rate of a parameter that moves by a rule; NaN where the rule stands still.

    steps: the number of each.
    """
    course = Course(given, trail.before, steps)
    made = directions(numbers, course)
    found, _ = rates_and_decays(made, course.before, trail.moves, not numbers.coupled)
    return np.where(made.any(axis=1), found, np.nan)


class Clip(NamedTuple):
    """How gradients are clipped: `none`, by `value`, by the global `norm`, or by that of each `tensor`; and at what."""

    how: str = "none"
    most: float = 0.0


def clipped(
    numbers: Numbers, given: np.ndarray, trail: Trail, norms: np.ndarray, steady: np.ndarray, size: int
) -> Clip | None:
    """How the huge gradients of a parameter were clipped, by a rule that is known; None where nothing explains it.

    norms: of all gradients together, by step. steady: the rate of each step, which is known from others.
    size: how many entries the parameter has.
    """
    number = next(counts(each) for each in COURSES if each.name == HUGEST)[: len(given)]

    def error(clip: Clip) -> float:
        course = Course(_limited(clip, given, norms, size), trail.before, number)
        made, worst = directions(numbers, course), []
        for step, (direction, before, move) in enumerate(zip(made, trail.before, trail.moves, strict=True)):
            rest = move + steady[step] * direction
            decay = -(rest * before).sum() / max((before**2).sum(), np.finfo(float).tiny)
            worst.append(_rest(rest + decay * before, move))
        return float(np.sqrt(np.mean(np.square(worst))))

    plain = Clip()
    if error(plain) < 1e-3:
        return plain
    found = (_sought(how, error) for how in ("norm", "value", "tensor"))
    return next((clip for clip, left in found if left < 1e-3), None)


def _rest(rest: np.ndarray, move: np.ndarray) -> float:
    size = np.sqrt((move**2).sum())
    return float(np.sqrt((rest**2).sum()) / size) if size else 0.0


def _sought(how: str, error: Callable[[Clip], float]) -> tuple[Clip, float]:
    places = np.linspace(-3, 5, 81)
    errors = [error(Clip(how, 10**place)) for place in places]
    lowest = int(np.argmin(errors))
    low, high = places[max(lowest - 1, 0)], places[min(lowest + 1, len(places) - 1)]
    for _ in range(60):
        one, other = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, other) if error(Clip(how, 10**one)) < error(Clip(how, 10**other)) else (one, high)
    found = Clip(how, float(10 ** ((low + high) / 2)))
    return found, error(found)


def _limited(clip: Clip, given: np.ndarray, norms: np.ndarray, size: int) -> np.ndarray:
    if clip.how == "none":
        return given
    if clip.how == "value":
        return np.clip(given, -clip.most, clip.most)
    # Of the entries that are seen the norm of all is estimated; where all are seen it is exact.
    own = np.sqrt((given**2).sum(axis=1) * size / given.shape[1])
    whole = norms if clip.how == "norm" else own
    return given * np.minimum(1.0, clip.most / np.maximum(whole, np.finfo(float).tiny))[:, None]
