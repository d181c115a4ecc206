"""Tests of values that are hit with a positive probability: how often, and where."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import special

from ...common.initializers import Law
from . import power as effects
from .blocks import LEAST_VALUES
from .evidence import Evidence, inapplicable
from .scores import on_atom


def binomial_p(count: np.ndarray[Any, Any] | int, n: int, mass: float) -> np.ndarray[Any, Any]:
    """Two-sided p-value of `count` hits in `n` independent trials: twice the smaller tail."""
    at_most, at_least = special.bdtr(count, n, mass), special.bdtrc(np.asarray(count) - 1, n, mass)
    return np.minimum(1.0, 2 * np.minimum(at_most, at_least))


def atom_masses(path: str, values: np.ndarray[Any, Any], law: Law) -> list[Evidence]:
    """For each atom, its share of independent `values` against its mass."""
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


def atom_places(path: str, values: np.ndarray[Any, Any], law: Law) -> list[Evidence]:
    """The number of atoms' values in each row, which for entries and for columns drawn independently is binomial."""
    hit, mass = on_atom(values, law), sum(mass for _, mass in law.point_masses)
    if values.ndim < 2 or values.shape[1] == 1 or not 0 < mass < 1:
        return []
    n = values.size // values.shape[1]
    if n < LEAST_VALUES:
        return [inapplicable(path, "places", f"rows of {n} values are below {LEAST_VALUES}: draw more replicates")]
    counts = np.count_nonzero(np.moveaxis(hit, 1, 0).reshape(values.shape[1], -1), axis=1)
    p_values = binomial_p(counts, n, mass)
    row = int(np.argmin(p_values))
    p_value = min(1.0, float(p_values[row]) * len(counts))
    finding = f"row {row}: a share of {counts[row] / n:.4g} of the values is on an atom, the spec's is {mass:.4g}"
    effect = partial(_place_effect, n, len(counts), mass)
    return [Evidence(path, "places", n, float(counts[row]), p_value, finding, smallest=effect)]


def sign(path: str, corner: np.ndarray[Any, Any]) -> Evidence:
    """The sign of the entry [0, 0] of orthogonal draws, one per replicate: + as often as -.

    Householder's R has a first diagonal entry whose sign is opposite to the matrix's, so a Q whose signs were not
    fixed has the same sign there in every draw.
    """
    above, n = int(np.count_nonzero(corner > 0)), corner.size
    finding = f"the first entry is positive in {above} of {n} draws"
    if above in (0, n):
        finding += ", as without the sign fix of the QR factorization"
    p_value = float(binomial_p(above, n, 0.5))
    return Evidence(path, "sign", n, above, p_value, finding, smallest=partial(_sign_effect, n))


def _mass_effect(n: int, mass: float, alpha: float, beta: float) -> str:
    below, above = effects.masses(n, mass, alpha, beta)
    return f"a mass below {below:.3g} or above {above:.3g}"


def _place_effect(n: int, rows: int, mass: float, alpha: float, beta: float) -> str:
    return f"{_mass_effect(n, mass, alpha / rows, beta)} in one of {rows} rows"


def _sign_effect(n: int, alpha: float, beta: float) -> str:
    below, _ = effects.masses(n, 0.5, alpha, beta)
    if below <= 0:
        return f"nothing: {n} replicates are too few"
    return f"a sign that is positive in less than {100 * below:.2g} % of the draws"
