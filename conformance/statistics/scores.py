"""From values to normal scores: if X has the continuous law F, then z = Phi^-1(F(X)) is standard normal, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from ...common.initializers import ContinuousPart, Law, first_index

Values = np.ndarray[Any, Any]

# Beyond this there is no score; a correct draw never gets there.
_LEAST_PROBABILITY = 1e-300
# How far beyond a bound rounding may carry a value.
_SUPPORT_ULPS = 4


@dataclass(frozen=True)
class Scores:
    """Values of one parameter, `(draws, *shape)` in float64, and their scores in the same shape.

    kept: which values the continuous part explains; at the others, which are at a point mass, `z` is 0.
    part: the continuous part of the law.
    half_cell: half the distance of neighbouring draws at a bound of the law.
    """

    values: Values
    z: Values
    kept: Values
    part: ContinuousPart
    half_cell: float


def at_point_mass(values: Values, law: Law) -> Values:
    """Which values, in any shape, are a point mass's, after its cast to their dtype."""
    hit = np.zeros(values.shape, dtype=bool)
    for value, _ in law.point_masses:
        hit |= values == np.asarray(value).astype(values.dtype)
    return hit


def scores(values: Values, law: Law) -> Scores:
    """The scores of `values`, `(draws, *shape)` in float32 or float64, under a law with a continuous part."""
    part = law.continuous
    assert part is not None, "the caller asks for scores of laws with a continuous part only"
    kept = ~at_point_mass(values, law)
    half_cell = _half_cell(values.dtype, part)
    wide = values.astype(np.float64)
    z = np.zeros(values.shape)
    z[kept] = _normal_scores(pull_in(wide[kept], part, half_cell), part)
    return Scores(wide, z, kept, part, half_cell)


def outside(values: Values, law: Law) -> str | None:
    """The first value, of `(draws, *shape)`, that the law cannot give, in words, or None.

    A few units in the last digit are allowed.
    """
    hit = at_point_mass(values, law)
    if law.continuous is None:
        wrong, where = ~hit, f"at one of {', '.join(repr(value) for value, _ in law.point_masses)}"
    else:
        low, high = law.continuous.support
        ends = [abs(end) for end in (low, high) if np.isfinite(end)]
        slack = _SUPPORT_ULPS * np.finfo(values.dtype).eps * max(ends, default=0.0)
        wide = values.astype(np.float64)
        wrong, where = ~hit & ((wide < low - slack) | (wide > high + slack)), f"between {low:.6g} and {high:.6g}"
    if not wrong.any():
        return None
    draw, *entry = index = first_index(wrong)
    share = f"{np.count_nonzero(wrong)} of {values.size} values are not"
    return f"entry {tuple(entry)} of replicate {draw} is {values[index]:.6g}, expected {where} ({share})"


def pull_in(wide: Values, part: ContinuousPart, half_cell: float) -> Values:
    """The values, those at a bound moved half a rounding cell inside: a correct uniform draw may hit its end
    point, and the score of the end point itself is infinite."""
    low, high = part.support
    return np.clip(wide, low + half_cell, high - half_cell)


def _half_cell(dtype: np.dtype[Any], part: ContinuousPart) -> float:
    """Half the distance of neighbouring draws at a bound: a grid of eps over the width, or the format's own."""
    low, high = part.support
    width = high - low if np.isfinite(high - low) else part.std
    scale = max(abs(end) for end in (low, high, width, 0.0) if np.isfinite(end))
    return 0.5 * float(np.finfo(dtype).eps) * scale


def _normal_scores(inside: Values, part: ContinuousPart) -> Values:
    """Phi^-1(F(x)), by the nearer tail: 1 - F rounds to 0 long before the tail is empty."""
    left = np.maximum(part.cdf(inside), _LEAST_PROBABILITY)
    right = np.maximum(part.sf(inside), _LEAST_PROBABILITY)
    return np.where(left < 0.5, special.ndtri(np.minimum(left, 0.5)), -special.ndtri(np.minimum(right, 0.5)))
