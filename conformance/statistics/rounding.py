"""Draws that were rounded to a format of few digits, spread over what each value stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...common.initializers import Law
from .formats import cells

Values = np.ndarray[Any, Any]

_SEED = 0x9E3779B9


def unrounded(values: Values, law: Law) -> Values:
    """Values in float64 that a correct draw, rounded to nearest, could have come from: each drawn at random from the
    law within the value's rounding cell.

    If X has the law F and v is X rounded, then F^-1(U) with U uniform between F at the ends of the cell of v has the
    law F again, exactly: the randomized probability integral transform. Without it a test of many draws measures the
    grid. The same values give the same result. What is on an atom is the atom's value
    before rounding; what is so far out that its cell has no mass stays.
    """
    part = law.continuous
    wide = values.astype(np.float64)
    if part is None:
        return _on_atoms(wide, values, law)
    low, high = cells(values)
    least, most = part.support
    low, high = np.clip(low, least, most), np.clip(high, least, most)
    u = np.random.default_rng([_SEED, values.size]).random(values.shape)
    # By the nearer tail: 1 - F rounds to 0 long before the tail is empty.
    left = part.cdf(low) + u * (part.cdf(high) - part.cdf(low))
    right = part.sf(low) + u * (part.sf(high) - part.sf(low))
    upper = wide > float(part.ppf(0.5))
    drawn = np.where(upper, _upper_quantile(part, right), part.ppf(np.clip(left, 0.0, 1.0)))
    result = np.where((low >= high) | ~np.isfinite(drawn), wide, np.clip(drawn, low, high))
    return _on_atoms(result, values, law)


def _on_atoms(result: Values, values: Values, law: Law) -> Values:
    for value, _ in law.point_masses:
        result[values == np.asarray(value).astype(values.dtype)] = value
    return result


def _upper_quantile(part: Any, mass: Values) -> Values:
    """The value above which the law has `mass`."""
    exact = getattr(part, "isf", None)
    return exact(np.clip(mass, 0.0, 1.0)) if exact else part.ppf(np.clip(1 - mass, 0.0, 1.0))
