"""Number formats: which of two is coarser, and the interval of real numbers that one value stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

# Digits of the significand, and the exponent of the least positive number; NumPy itself does not know bfloat16.
_FORMATS = {"bfloat16": (8, -133), "float16": (11, -24), "float32": (24, -149), "float64": (53, -1074)}
HALF = ("bfloat16", "float16")

Values = np.ndarray[Any, Any]


def eps(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number; 0 for whole numbers."""
    digits, _ = _FORMATS.get(dtype.name, (None, 0))
    return 0.0 if digits is None else 2.0 ** (1 - digits)


def coarser(one: np.dtype[Any], other: np.dtype[Any]) -> np.dtype[Any] | None:
    """Which of two floating-point formats has fewer digits; None if one of them is no such format."""
    if one.name not in _FORMATS or other.name not in _FORMATS:
        return None
    return one if _FORMATS[one.name][0] <= _FORMATS[other.name][0] else other


def cells(values: Values) -> tuple[Values, Values]:
    """For each value the ends, in float64, of the interval that rounds to it: the middles to its neighbours.

    Below a power of two the numbers are twice as dense as above it.
    """
    digits, least = _FORMATS[values.dtype.name]
    wide = values.astype(np.float64)
    significand, exponent = np.frexp(np.abs(wide))
    spacing = np.ldexp(1.0, np.maximum(exponent - digits, least))
    inner = np.where((significand == 0.5) & (exponent - digits > least), spacing / 2, spacing)
    spacing, inner = np.where(wide == 0, 2.0**least, spacing), np.where(wide == 0, 2.0**least, inner)
    outward, inward = np.abs(wide) + spacing / 2, np.abs(wide) - inner / 2
    return np.where(wide < 0, -outward, inward), np.where(wide < 0, -inward, outward)
