"""Scales: numbers that look like a width's root, named."""

from __future__ import annotations

from collections.abc import Iterable
from math import isclose, isqrt, sqrt


def scale_text(value: float, lengths: Iterable[int], tolerance: float) -> str:
    """A number, and what it is of one of the lengths or its divisors: `2.828 = sqrt(8)`."""
    sizes = sorted({length for length in lengths if length > 1})
    # A divisor whose root is a whole number would name any half.
    divisors = [size for whole in sizes for size in range(2, whole) if whole % size == 0 and isqrt(size) ** 2 != size]
    shown = f"{value:.4g}"
    for size in (*sizes, *divisors):
        for number, text in ((sqrt(size), f"sqrt({size})"), (1 / sqrt(size), f"1/sqrt({size})")):
            if isclose(value, number, rel_tol=tolerance):
                return f"{shown} = {text}" if text != shown else shown
    for size in sizes:
        if isclose(value, 1 / size, rel_tol=tolerance):
            return f"{shown} = 1/{size}"
    return shown
