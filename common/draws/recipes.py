"""Recipes: an initializer of independent entries as the few numbers that make values of words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .. import initializers as init
from ..errors import InitializerError
from ..initializers import Initializer
from .arithmetic import Form, Numbers
from .on_host import quantile
from .threefry import signed

# An index is a word of 32 bits.
LARGEST = 2**32
# A cut that leaves so few of the 2^32 quantiles would give as few different values.
_FEWEST = 2**16
_FEWEST_CELLS = 2**10
# The least scale: no value that it makes is subnormal, which a device may take for 0.
_SMALLEST, _GREATEST = 2.0**-100, float(np.finfo(np.float32).max)
# The farthest quantile is at 6.23.
_FARTHEST = 6.25
_REMEDY = 'Use stream="native", which draws with the framework\'s own generator.'


@dataclass(frozen=True)
class Recipe:
    """A form with its numbers. row: the index on the first axis where all values are 0, or None."""

    form: Form
    numbers: Numbers
    row: int | None = None


def recipe_of(initializer: Initializer, shape: Sequence[int], path: str = "") -> Recipe | None:
    """What an initializer makes of words for a parameter of canonical `shape`; None if it is no matter of one entry.

    Raises:
        InitializerError: one whose bits cannot be portable; its path is `path`.
    """
    try:
        return _recipe(initializer, shape)
    except InitializerError as error:
        raise InitializerError(path, error.expected, error.found, error.remedy) from None


def _recipe(initializer: Initializer, shape: Sequence[int]) -> Recipe | None:
    match initializer:
        case init.Uniform(low, high):
            return _uniform(low, high, initializer)
        case init.Normal(mean, std):
            return _normal(mean, std, initializer)
        case init.TruncatedNormal(mean, std, low, high, cut):
            if cut == "absolute":
                low, high = (low - mean) / std, (high - mean) / std
            return _truncated(mean, std, low, high, initializer)
        case init.Xavier() | init.Kaiming() | init.LeCun():
            return _recipe(initializer.scaling(), shape)
        case init.VarianceScaling():
            return _scaled(initializer, initializer.std(shape))
        case init.Masked(of, below):
            found = _recipe(of, shape)
            return found and _masked(found, below, initializer)
        case init.ZeroRow(of, row):
            found = _recipe(of, shape)
            return found and replace(found, row=row)
    return None


def _scaled(initializer: init.VarianceScaling, std: float) -> Recipe:
    if initializer.distribution == "uniform":
        return _uniform(-math.sqrt(3) * std, math.sqrt(3) * std, initializer)
    if initializer.distribution == "normal":
        return _normal(0.0, std, initializer)
    return _truncated(0.0, std / init.TWO_SIGMA_STD, -2.0, 2.0, initializer)


def _masked(found: Recipe, below: float, owner: Initializer) -> Recipe:
    threshold = max(found.numbers.below, _float32(below, owner))
    return replace(found, form=found.form._replace(is_masked=True), numbers=found.numbers._replace(below=threshold))


def _uniform(low: float, high: float, owner: Initializer) -> Recipe:
    """An odd integer of 25 bits times one number; where the interval is not symmetric, times a power of two."""
    greatest = _float32(max(abs(low), abs(high)), owner)
    if low == -high:
        return Recipe(Form(False), Numbers(scale=_float32(high * 2.0**-24, owner)))
    unit = _unit(greatest, 24, owner)
    # The middles of cells of two units, all of them within.
    first, end = math.ceil(low / (2 * unit)), math.floor(high / (2 * unit))
    if end - first < _FEWEST_CELLS:
        raise _refused("an interval with many numbers of float32", owner)
    return Recipe(Form(False, is_part=True), Numbers(2 * first + 1, end - first, unit))


def _normal(mean: float, std: float, owner: Initializer) -> Recipe:
    scale = _float32(std, owner)
    unit = _unit(abs(mean) + _FARTHEST * scale, 30, owner)
    if mean == 0:
        return Recipe(Form(True), Numbers(scale=scale))
    # The product as an integer, so that adding the mean rounds nothing, and then one rounding.
    numbers = Numbers(scale=_float32(scale / unit, owner), offset=round(mean / unit), unit=unit)
    return Recipe(Form(True, is_shifted=True), numbers)


def _truncated(mean: float, std: float, low: float, high: float, owner: Initializer) -> Recipe:
    """The words whose quantiles lie within the bounds, which are in units of `std` around `mean`."""
    whole = _normal(mean, std, owner)
    first, count = _within(low, high)
    if count < _FEWEST:
        raise _refused("bounds with a probability of at least 2^-16", owner)
    if count == 2**32:
        return whole
    least, most = _inwards(mean + low * std, up=True), _inwards(mean + high * std, up=False)
    numbers = whole.numbers._replace(first=signed(first), count=count, low=least, high=most)
    return Recipe(whole.form._replace(is_part=True, is_clipped=True), numbers)


@lru_cache(maxsize=256)
def _within(low: float, high: float) -> tuple[int, int]:
    """The first word whose quantile is not below `low`, and how many from there on are not above `high`."""
    first = _first(lambda word: quantile(word) >= low)
    return first, _first(lambda word: quantile(word) > high) - first


def _first(reached: Callable[[int], bool]) -> int:
    """The first word, without a sign, for which it is true, as it is for all that follow; 2^32 if for none."""
    least, most = 0, 2**32
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if reached(middle) else (middle + 1, most)
    return least


def _unit(greatest: float, bits: int, owner: Initializer) -> float:
    """The power of two of which no more than 2^bits make up `greatest`."""
    _float32(greatest, owner)
    return _float32(2.0 ** (math.frexp(greatest)[1] - bits), owner)


def _inwards(bound: float, up: bool) -> float:
    """The nearest float32 that is not outside of a bound."""
    with np.errstate(over="ignore"):
        near = np.float32(bound)
    outside = near < bound if up else near > bound
    return float(np.nextafter(near, np.float32(np.inf if up else -np.inf)) if outside else near)


def _float32(number: float, owner: Initializer) -> float:
    """A number above 0 as a float32."""
    if not _SMALLEST <= number <= _GREATEST:
        raise _refused("a scale within the range of float32", owner)
    return float(np.float32(number))


def _refused(expected: str, owner: Initializer) -> InitializerError:
    return InitializerError("", f"{expected}, for the same bits in every framework", repr(owner), _REMEDY)
