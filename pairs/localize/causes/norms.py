"""Norms: by which statistics and with which eps each side normalizes, solved from inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import NamedTuple

import numpy as np

from ..comparing import apart
from ..gap import Cause, Gap
from ..pairing import ModuleCall

# Tried beside the one that is solved for, which rounding may hide where the variance is large.
USUAL = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
_MOST_SIZE = 1_000_000


class Statistics(NamedTuple):
    """A way to normalize: (x - center) / sqrt(variance + eps), each for the axes that were summed over."""

    name: str
    center: np.ndarray
    variance: np.ndarray
    axes: tuple[int, ...]
    outside: bool = False

    def normalized(self, x: np.ndarray, eps: float) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt(self.variance) + eps if self.outside else np.sqrt(self.variance + eps)
            return (x - self.center) / spread


class Fit(NamedTuple):
    """What gives an output: the statistics, the eps, whether the scale is one more than the weight."""

    statistics: Statistics
    eps: float
    above_one: bool


def norm(gap: Gap) -> Cause | None:
    """Both sides are a norm of one input, and differ in eps or in what they normalize by."""
    if gap.pair is None or not gap.known or gap.reference.size > _MOST_SIZE:
        return None
    x = gap.known[0].array
    if x.shape != gap.reference.shape or x.ndim < 2:
        return None
    ours = _first(gap, x, gap.reference, gap.is_reference, _hints(gap.pair.reference))
    theirs = _first(gap, x, gap.port, gap.is_port, _hints(gap.pair.port)) if ours else None
    return _cause(ours, theirs) if ours and theirs else None


def _cause(ours: Fit, theirs: Fit) -> Cause | None:
    if ours.statistics.name != theirs.statistics.name:
        return Cause(
            "statistics", f"the reference normalizes by {ours.statistics.name}, the port by {theirs.statistics.name}"
        )
    if ours.above_one != theirs.above_one:
        sides = ("reference", "port") if ours.above_one else ("port", "reference")
        return Cause("scale", f"the {sides[0]} scales by 1 + weight, the {sides[1]} by the weight")
    if ours.eps != theirs.eps:
        return Cause("eps", f"eps is {_number(ours.eps)} in the reference and {_number(theirs.eps)} in the port")
    return None


def _number(eps: float) -> str:
    return np.format_float_scientific(eps, trim="-", exp_digits=2) if eps else "0"


def _hints(call: ModuleCall) -> tuple[float, ...]:
    """What a module itself says that may be an eps."""
    return tuple(value for value in call.trace.settings.values() if isinstance(value, float) and 0 < value < 0.1)


def _first(
    gap: Gap, x: np.ndarray, y: np.ndarray, gives: Callable[[np.ndarray], bool], hints: tuple[float, ...]
) -> Fit | None:
    """The simplest way that gives `y`: the first of all, with the first eps, that does."""
    vectors = [(path, array) for path, array in gap.held() if 0 < array.ndim <= x.ndim]
    for affine in _affines(vectors, x):
        for statistics in _statistics(x, affine):
            for above_one in (False, True):
                if above_one and affine.scale is None:
                    continue
                for eps, made in _tried(statistics, affine, above_one, x, y, hints):
                    if gives(made):
                        return Fit(statistics, eps, above_one)
    return None


class Affine(NamedTuple):
    """Which of the held tensors are the scale and the shift, in the input's axes, and which are left over."""

    scale: np.ndarray | None
    shift: np.ndarray | None
    rest: tuple[np.ndarray, ...]
    axes: tuple[int, ...]


def _affines(held: list[tuple[str, np.ndarray]], x: np.ndarray) -> Iterator[Affine]:
    """Ways to read what a norm holds: the axes that its tensors go along, and which is which."""
    shapes = {array.shape for _, array in held}
    if len(shapes) > 1:
        return
    arrays: list[np.ndarray | None] = [array for _, array in held]
    for axes in _places(shapes.pop() if shapes else (), x):
        spread = [_along(array, axes, x.ndim) for array in arrays if array is not None]
        for order in permutations(range(len(spread))) if len(spread) <= 4 else ():
            chosen = [spread[place] for place in order]
            yield from _roles(chosen, axes)


def _roles(arrays: list[np.ndarray], axes: tuple[int, ...]) -> Iterator[Affine]:
    if not arrays:
        yield Affine(None, None, (), axes)
    elif len(arrays) == 1:
        yield Affine(arrays[0], None, (), axes)
        yield Affine(None, arrays[0], (), axes)
    else:
        yield Affine(arrays[0], arrays[1], tuple(arrays[2:]), axes)
        if len(arrays) == 2:
            yield Affine(arrays[0], None, (), axes)
            yield Affine(None, None, tuple(arrays), axes)


def _places(shape: tuple[int, ...], x: np.ndarray) -> Iterator[tuple[int, ...]]:
    """The axes of the input that tensors of this shape may go along: the last ones, or that of channels."""
    last = tuple(range(x.ndim - max(len(shape), 1), x.ndim))
    if not shape or x.shape[last[0] :] == shape:
        yield last
    if x.ndim > 2 and (not shape or (len(shape) == 1 and x.shape[1] == shape[0])):
        yield (1,)


def _along(array: np.ndarray, axes: tuple[int, ...], ndim: int) -> np.ndarray:
    shape = [1] * ndim
    for axis, length in zip(axes, array.shape, strict=True):
        shape[axis] = length
    return array.reshape(shape)


def _statistics(x: np.ndarray, affine: Affine) -> Iterator[Statistics]:
    """Ways to normalize, the usual ones first."""
    zero = np.zeros((1,) * x.ndim)
    axes, others = affine.axes, tuple(axis for axis in range(x.ndim) if axis not in affine.axes)
    if len(affine.rest) == 2:
        yield Statistics("the running statistics", affine.rest[0], affine.rest[1], others)
    mean, square = x.mean(axes, keepdims=True), np.square(x).mean(axes, keepdims=True)
    count = int(np.prod([x.shape[axis] for axis in axes]))
    variance = np.square(x - mean).mean(axes, keepdims=True)
    yield Statistics("the mean and variance of each position's features", mean, variance, axes)
    yield Statistics("the root mean square of each position's features", zero, square, axes)
    yield Statistics("the variance of each position's features, the mean left in", zero, variance, axes)
    if count > 1:
        yield Statistics(
            "the mean and the unbiased variance of each position's features", mean, variance * count / (count - 1), axes
        )
    yield Statistics(
        "the mean of each position's features and their standard deviation with eps added to it",
        mean,
        variance,
        axes,
        outside=True,
    )
    root = "the root mean square of each position's features with eps added to it"
    yield Statistics(root, zero, square, axes, outside=True)
    if len(axes) == 1:
        yield from _of_channels(x, axes[0], others)


def _of_channels(x: np.ndarray, channel: int, others: tuple[int, ...]) -> Iterator[Statistics]:
    """Statistics of the batch, of each sample's channels, and of groups of them."""
    mean = x.mean(others, keepdims=True)
    yield Statistics("the batch's own statistics", mean, x.var(others, keepdims=True), others)
    if x.ndim < 3:
        return
    for groups in (number for number in range(1, x.shape[channel] + 1) if x.shape[channel] % number == 0):
        moved = np.moveaxis(x, channel, 1)
        grouped = moved.reshape(x.shape[0], groups, -1)
        found = [np.repeat(each, x.shape[channel] // groups, 1) for each in (grouped.mean(-1), grouped.var(-1))]
        shape = [x.shape[0], x.shape[channel]] + [1] * (x.ndim - 2)
        center, variance = (np.moveaxis(each.reshape(shape), 1, channel) for each in found)
        axes = tuple(axis for axis in range(1, x.ndim) if axis != channel)
        yield Statistics(f"the statistics of each sample in {groups} groups of channels", center, variance, axes)


def _tried(
    statistics: Statistics, affine: Affine, above_one: bool, x: np.ndarray, y: np.ndarray, hints: tuple[float, ...]
) -> Iterator[tuple[float, np.ndarray]]:
    """What each eps gives: what the module says, then the usual ones by their error, then what is solved for."""
    scale = 1.0 if affine.scale is None else affine.scale + above_one
    shift = 0.0 if affine.shift is None else affine.shift

    def made(eps: float) -> np.ndarray:
        return statistics.normalized(x, eps) * scale + shift

    # A number that somebody wrote down comes before one that is solved for, which rounding makes a crooked one.
    usual = sorted(USUAL, key=lambda eps: apart(made(eps), y))
    for eps in dict.fromkeys((*hints, *usual[:2], *_solved(statistics, x, y, scale, shift))):
        yield eps, made(eps)


def _solved(
    statistics: Statistics, x: np.ndarray, y: np.ndarray, scale: np.ndarray | float, shift: np.ndarray | float
) -> list[float]:
    """The eps that the output tells: it is the centred input, scaled, by one factor for each variance."""
    centred = (x - statistics.center) * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (centred * (y - shift)).sum(statistics.axes, keepdims=True) / np.square(centred).sum(
            statistics.axes, keepdims=True
        )
        found = 1 / factor - np.sqrt(statistics.variance) if statistics.outside else 1 / factor**2 - statistics.variance
    found = found[np.isfinite(found)]
    if not found.size or np.median(found) <= 0:
        return []
    solved = float(np.median(found))
    return [float(f"{solved:.{digits}e}") for digits in (0, 1, 3)] + [solved]
