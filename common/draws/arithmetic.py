"""From words to values, in steps that every framework rounds alike, eager or compiled.

A compiler may contract a multiplication and an addition into one operation that rounds once. So no product that was
rounded is ever added to: a value is an integer times one number, or a sum whose product is exact in float32.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

import numpy as np

Int = Any
Float = Any

_SIGN = -(2**31)
# An integer m of 31 bits as a float32: its exponent is its octave, and of the 23 bits below the first 10 its segment.
_WITHIN = 13
_SEGMENTS = 2**10
_OCTAVES = 31
_FIRST = 127 * _SEGMENTS
# The knots are integers, in units of this.
_UNIT = 2.0**-28


class Form(NamedTuple):
    """Which steps `values` takes; what is compiled, is compiled for one form."""

    is_normal: bool
    is_part: bool = False
    is_shifted: bool = False
    is_clipped: bool = False
    is_masked: bool = False


class Numbers(NamedTuple):
    """What the steps of a form need; of the floats each is a float32, as Python has it.

    first, count: the least and how many of the integers that a word is turned into, if not all (`is_part`).
    scale: what an integer, or a standard normal value, is multiplied by.
    offset, unit: the mean in units of `unit`, a power of two (`is_shifted`).
    low, high: what no value is beyond (`is_clipped`). below: what no value but 0 is nearer to 0 than (`is_masked`).
    """

    first: int = 0
    count: int = 0
    scale: float = 1.0
    offset: int = 0
    unit: float = 1.0
    low: float = 0.0
    high: float = 0.0
    below: float = 0.0


class Quantiles(NamedTuple):
    """The normal quantile function below the median as lines, one for each segment; float32, `(31 * 1024 + 1,)`.

    middle: its value at the middle of a segment. slope: by how much it rises with each of a segment's 8,192 steps, in
        12 bits, so that its product with a number of steps, counted from the middle, is exact.
    """

    middle: Any
    slope: Any


class Integers(Protocol):
    """What a framework brings: its arrays of int32 and float32, which must do exactly this."""

    def rotate(self, x: Int, places: int) -> Int:
        """The bits of each word moved up, those that fall out moved in below."""
        ...

    def portion(self, x: Int, count: Any) -> Int:
        """The upper half of the product of two words without a sign: an integer from 0 to count - 1."""
        ...

    def as_float(self, x: Int) -> Float:
        """The nearest float32, ties to even."""
        ...

    def as_int(self, x: Float) -> Int:
        """Rounded towards 0."""
        ...

    def bits(self, x: Float) -> Int:
        """The bits of each float32."""
        ...

    def with_bits(self, x: Int) -> Float:
        """The float32 of these bits."""
        ...

    def lines(self, segment: Int) -> tuple[Float, Float]:
        """Of `quantiles()` the middle and the slope of each segment."""
        ...

    def clipped(self, x: Float, low: Any, high: Any) -> Float:
        """Within the two bounds."""
        ...

    def masked(self, x: Float, below: Any) -> Float:
        """+0.0 where |x| is less than `below`."""
        ...


def values(own: Integers, form: Form, numbers: Numbers, word: Int) -> Float:
    """What a recipe makes of words, float32 of their shape. The words may be overwritten.

    numbers: as Python has them, or as arrays of the framework's, so that one compilation serves all recipes of a form.
    """
    if form.is_normal:
        if form.is_part:
            word = own.portion(word, numbers.count) + numbers.first
        found = normal(own, word) * numbers.scale
        if form.is_shifted:
            found = own.as_float(own.as_int(found) + numbers.offset) * numbers.unit
    elif form.is_part:
        found = own.as_float(2 * own.portion(word, numbers.count) + numbers.first) * numbers.scale
    else:
        found = own.as_float((word >> 7) | 1) * numbers.scale
    if form.is_clipped:
        found = own.clipped(found, numbers.low, numbers.high)
    return own.masked(found, numbers.below) if form.is_masked else found


def normal(own: Integers, word: Int) -> Float:
    """The standard normal quantile of each word, taken as a number without a sign: of (word + 1/2) / 2^32, nearly.

    It is odd: a word and its complement have opposite values. The lower half of the distribution is a table, by the
    odd number m of m / 2^32.
    """
    bits = own.bits(own.as_float((word ^ (word >> 31)) | 1))
    middle, slope = own.lines((bits >> _WITHIN) - _FIRST)
    below = middle + slope * own.as_float((bits & (2**_WITHIN - 1)) - 2 ** (_WITHIN - 1))
    return own.with_bits(own.bits(below) ^ (word & _SIGN))


@cache
def quantiles() -> Quantiles:
    """The lines, from the frozen knots: the quantiles of m / 2^32 at the borders of all segments, as integers.

    A line is shifted from the chord by half of what the curve bends away from it, so that the two errors are equal.
    """
    with files(__name__.rpartition(".")[0]).joinpath("normal.npz").open("rb") as file:
        knots = np.load(file)["knots"].astype(np.int64)
    rise = np.diff(knots)
    bend = np.gradient(rise.reshape(_OCTAVES, _SEGMENTS).astype(np.float64), axis=1).ravel()
    middle = (knots[:-1] + knots[1:]) / 2 - bend / 16
    shift = np.maximum(np.frexp(rise.astype(np.float64))[1] - 12, 0)
    slope = np.rint(rise / 2.0**shift)
    # The last line ends at the median, beyond which it must not go.
    slope[-1] = np.floor(rise[-1] / 2.0 ** shift[-1])
    middle, slope = np.append(middle, -float(rise[-1] >> 14)), np.append(slope * 2.0**shift, 0.0)
    return Quantiles((middle * _UNIT).astype(np.float32), (slope * _UNIT * 2.0**-_WITHIN).astype(np.float32))
