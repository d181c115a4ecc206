"""Number formats, and draws that were rounded to one of few digits, spread over what each value stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...common.initializers import Law

Values = np.ndarray[Any, Any]

# Digits of the significand, and the exponent of the least positive number; NumPy itself does not know bfloat16.
_FORMATS = {"bfloat16": (8, -133), "float16": (11, -24), "float32": (24, -149), "float64": (53, -1074)}
_HALF = ("bfloat16", "float16")
_SEED = 0x9E3779B9


def eps(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number of a floating-point format; 0 for a dtype that is none of these."""
    digits, _ = _FORMATS.get(dtype.name, (None, 0))
    return 0.0 if digits is None else 2.0 ** (1 - digits)


def coarser(one: np.dtype[Any], other: np.dtype[Any]) -> np.dtype[Any] | None:
    """Which of two floating-point formats has fewer digits; None if one of them is no such format."""
    if one.name not in _FORMATS or other.name not in _FORMATS:
        return None
    return one if _FORMATS[one.name][0] <= _FORMATS[other.name][0] else other


def cells(values: Values) -> tuple[Values, Values]:
    """For each value the ends, in float64, of the interval that rounds to it: the middles to its neighbours.

    values: of a floating-point format, in any shape, which both results have. Below a power of two the numbers are
        twice as dense as above it (IEEE 754: one spacing for each exponent).
    """
    digits, least = _FORMATS[values.dtype.name]
    wide = values.astype(np.float64)
    significand, exponent = np.frexp(np.abs(wide))
    spacing = np.ldexp(1.0, np.maximum(exponent - digits, least))
    inner = np.where((significand == 0.5) & (exponent - digits > least), spacing / 2, spacing)
    spacing, inner = np.where(wide == 0, 2.0**least, spacing), np.where(wide == 0, 2.0**least, inner)
    outward, inward = np.abs(wide) + spacing / 2, np.abs(wide) - inner / 2
    return np.where(wide < 0, -outward, inward), np.where(wide < 0, -inward, outward)


def unrounded(values: Values, law: Law) -> Values:
    """Values in float64 that a correct draw, rounded to float16 or bfloat16, could have come from.

    Each is drawn at random from the law within the value's rounding cell. Values of a finer format stay as they are.

    If X has the law F and v is X rounded, then F^-1(U) with U uniform between F at the ends of the cell of v has the
    law F again, exactly: the randomized probability integral transform (Rueschendorf 2009, proposition 2.1). Without
    it a test of many draws measures the grid. The same values give the same result. What is at a point mass is its
    value before rounding; what is so far out that its cell has no mass stays.
    """
    if values.dtype.name not in _HALF:
        return values
    part = law.continuous
    wide = values.astype(np.float64)
    if part is None:
        return _at_point_masses(wide, values, law)
    low, high = cells(values)
    least, most = part.support
    low, high = np.clip(low, least, most), np.clip(high, least, most)
    u = np.random.default_rng([_SEED, values.size]).random(values.shape)
    # By the nearer tail: 1 - F rounds to 0 long before the tail is empty.
    left = part.cdf(low) + u * (part.cdf(high) - part.cdf(low))
    right = part.sf(low) + u * (part.sf(high) - part.sf(low))
    upper = wide > float(part.ppf(0.5))
    drawn = part.ppf(np.clip(np.where(upper, 1 - right, left), 0.0, 1.0))
    result = np.where((low >= high) | ~np.isfinite(drawn), wide, np.clip(drawn, low, high))
    return _at_point_masses(result, values, law)


def _at_point_masses(result: Values, values: Values, law: Law) -> Values:
    for value, _ in law.point_masses:
        result[values == np.asarray(value).astype(values.dtype)] = value
    return result
