"""Tests of values that are hit with a positive probability: how often in all, and in each row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import special

from ...common.initializers import Law
from . import power
from .blocks import LEAST_GROUP
from .evidence import Evidence, inapplicable
from .scores import at_point_mass

Values = np.ndarray[Any, Any]


def binomial_p(count: Values | int, n: int, mass: float) -> Values:
    """Two-sided p-value of `count` hits in `n` independent trials: twice the smaller tail, exactly."""
    at_most, at_least = special.bdtr(count, n, mass), special.bdtrc(np.asarray(count) - 1, n, mass)
    return np.minimum(1.0, 2 * np.minimum(at_most, at_least))


def mass_shares(path: str, values: Values, law: Law) -> list[Evidence]:
    """For each point mass, its share of independent `values`, `(draws, *shape)`, against its probability."""
    rows = []
    for value, mass in law.point_masses:
        if mass >= 1:
            continue
        count = int(np.count_nonzero(values == np.asarray(value).astype(values.dtype)))
        finding = f"a share of {count / values.size:.4g} of the values is {value:g}, the spec's is {mass:.4g}"
        p_value = float(binomial_p(count, values.size, mass))
        effect = partial(_mass_effect, values.size, mass)
        rows.append(Evidence(path, f"mass at {value:g}", values.size, count, p_value, finding, smallest=effect))
    return rows


def mass_shares_by_row(path: str, values: Values, law: Law) -> list[Evidence]:
    """How many values of each row of `(draws, rows, ...)` are at a point mass; the worst row times their number.

    For entries that are drawn independently, and for columns that are, the number is binomial.
    """
    hit, mass = at_point_mass(values, law), sum(mass for _, mass in law.point_masses)
    if values.ndim < 2 or values.shape[1] == 1 or not 0 < mass < 1:
        return []
    n = values.size // values.shape[1]
    if n < LEAST_GROUP:
        return [inapplicable(path, "rows mass", f"rows of {n} values are below {LEAST_GROUP}: draw more replicates")]
    counts = np.count_nonzero(np.moveaxis(hit, 1, 0).reshape(values.shape[1], -1), axis=1)
    p_values = binomial_p(counts, n, mass)
    row = int(np.argmin(p_values))
    p_value = min(1.0, float(p_values[row]) * len(counts))
    finding = f"row {row}: a share of {counts[row] / n:.4g} of the values is at a point mass, the spec's is {mass:.4g}"
    effect = partial(_row_effect, n, len(counts), mass)
    return [Evidence(path, "rows mass", n, float(counts[row]), p_value, finding, smallest=effect)]


def _mass_effect(n: int, mass: float, alpha: float, beta: float) -> str:
    """The smallest change of a probability, in words."""
    below, above = power.masses(n, mass, alpha, beta)
    return f"a mass below {below:.3g} or above {above:.3g}"


def _row_effect(n: int, rows: int, mass: float, alpha: float, beta: float) -> str:
    return f"{_mass_effect(n, mass, alpha / rows, beta)} in one of {rows} rows"
