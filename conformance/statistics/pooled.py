"""Tests that take all values of a parameter as one sample: mean, spread, extremes, shape."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy import special

from ...common.initializers import ContinuousPart
from . import power
from .evidence import Evidence, inapplicable
from .scores import Scores, pull_in

# How far, in stds, two mirrored quantiles may be from mirroring each other.
_SYMMETRIC = 1e-6


def pooled(path: str, sample: Scores) -> list[Evidence]:
    """The tests of a sample of independent values, `(draws, *shape)`, against their one continuous law."""
    n = int(np.count_nonzero(sample.kept))
    if n == 0:
        return [inapplicable(path, "chi-square", "no value has the law's continuous part")]
    rows = [_mean(path, sample, n), _chi_square(path, sample, n), *_ends(path, sample, n)]
    if _symmetric(sample.part):
        rows.append(_furthest(path, sample, n))
    return [*rows, _shape(path, sample, n)]


def mean_p(total: np.ndarray | float, n: np.ndarray | float) -> np.ndarray:
    """Two-sided p-value of a sum of `n` scores, exactly: the sum over sqrt(n) is standard normal."""
    return 2 * special.ndtr(-np.abs(total) / np.sqrt(n))


def chi_square_p(squares: np.ndarray | float, n: np.ndarray | float) -> np.ndarray:
    """Two-sided p-value of a sum of `n` squared scores, exactly: chi-square with n degrees of freedom."""
    half, freedom = np.asarray(squares) / 2, np.asarray(n) / 2
    return 2 * np.minimum(special.gammainc(freedom, half), special.gammaincc(freedom, half))


def shift_in_words(values: np.ndarray, part: ContinuousPart) -> str:
    """Where the values' mean lies, in stds of the law."""
    shift = (float(values.mean()) - part.mean) / part.std
    return f"mean is {abs(shift):.3g} of the spec's std {'above' if shift >= 0 else 'below'} the spec's"


def spread_in_words(values: np.ndarray, part: ContinuousPart) -> str:
    """The values' root mean square distance from the law's mean, over the law's std."""
    return f"std is {math.sqrt(float(np.mean((values - part.mean) ** 2))) / part.std:.3f} times the spec's"


def _std_effect(n: int, alpha: float, beta: float) -> str:
    """The smallest factor on the std, in words; the one above 1 (the one below is nearer to it)."""
    return f"a factor of {power.std_factors(n, alpha, beta)[1]:.3g}"


def _mean_effect(n: int, alpha: float, beta: float) -> str:
    """The smallest shift of the mean, in words."""
    return f"a shift of {power.mean_shift(n, alpha, beta):.2g} std"


def _cut_effect(n: int, alpha: float, beta: float) -> str:
    return f"a bound that leaves out {100 * power.cut_off(n, alpha):.2g} % of the spec's mass"


def _shape_effect(n: int, alpha: float, beta: float) -> str:
    return f"a distribution function that is off by {power.cdf_distance(n, alpha, beta):.2g}"


def _mean(path: str, sample: Scores, n: int) -> Evidence:
    total = float(sample.z.sum())
    finding = shift_in_words(sample.values[sample.kept], sample.part)
    return Evidence(
        path, "mean", n, total / math.sqrt(n), float(mean_p(total, n)), finding, smallest=partial(_mean_effect, n)
    )


def _chi_square(path: str, sample: Scores, n: int) -> Evidence:
    squares = float(np.sum(sample.z**2))
    finding = spread_in_words(sample.values[sample.kept], sample.part)
    return Evidence(
        path, "chi-square", n, squares, float(chi_square_p(squares, n)), finding, smallest=partial(_std_effect, n)
    )


def _ends(path: str, sample: Scores, n: int) -> list[Evidence]:
    """The largest and the smallest value: P(max <= m) = F(m)^n. One-sided, for draws that stop too early; draws
    that go too far leave the support. An unbounded law has ends too: where a truncated one's begin."""
    kept = pull_in(sample.values[sample.kept], sample.part, sample.half_cell)
    rows = []
    for test, end, beyond in (("maximum", kept.max(), sample.part.sf), ("minimum", kept.min(), sample.part.cdf)):
        missing = float(beyond(end))
        side = "above" if test == "maximum" else "below"
        finding = f"{test} of {n} values is {float(end):.6g}, and {100 * missing:.3g} % of the spec's mass is {side} it"
        rows.append(
            Evidence(path, test, n, float(end), _never_drawn(missing, n), finding, smallest=partial(_cut_effect, n))
        )
    return rows


def _furthest(path: str, sample: Scores, n: int) -> Evidence:
    """The value furthest from the center of a symmetric law, both ends at once: half the n of one end."""
    center = sample.part.mean
    kept = pull_in(sample.values[sample.kept], sample.part, sample.half_cell)
    distance = float(np.abs(kept - center).max())
    missing = float(sample.part.sf(center + distance) + sample.part.cdf(center - distance))
    finding = (
        f"the furthest of {n} values is {distance:.6g} from the center, "
        f"and {100 * missing:.3g} % of the spec's mass is further"
    )
    return Evidence(path, "extremes", n, distance, _never_drawn(missing, n), finding, smallest=partial(_cut_effect, n))


def _never_drawn(missing: float, n: int) -> float:
    """P(none of n independent draws falls where the law has mass `missing`)."""
    return math.exp(n * math.log1p(-min(missing, 1 - 1e-16)))


def _shape(path: str, sample: Scores, n: int) -> Evidence:
    """Kolmogorov's distance D, with 2 exp(-2 n D^2) as p-value: true for every n, not only in the limit
    (Massart 1990)."""
    values = np.sort(sample.values[sample.kept])
    below = sample.part.cdf(values)
    steps = np.arange(n + 1) / n
    gaps = np.maximum(steps[1:] - below, below - steps[:-1])
    worst = int(np.argmax(gaps))
    distance = float(gaps[worst])
    p_value = min(1.0, 2 * math.exp(-2 * n * distance**2))
    finding = f"distribution function is {distance:.3g} away from the spec's at {values[worst]:.4g}"
    return Evidence(path, "shape", n, distance, p_value, finding, smallest=partial(_shape_effect, n))


def _symmetric(part: ContinuousPart) -> bool:
    levels = np.array([0.01, 0.1, 0.25, 0.4])
    mirrored = part.ppf(levels) + part.ppf(1 - levels)
    return bool(np.all(np.abs(mirrored - 2 * part.mean) <= _SYMMETRIC * part.std))
