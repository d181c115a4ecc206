"""Sign tests: under the null hypothesis each difference has either sign with probability 1/2.

Nothing else is assumed of a law, so that every p-value here holds for every law and every number of values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

# P(sum of a_i eps_i >= x) <= c P(Z >= x) for independent signs eps, sum of a_i^2 = 1 and Z standard normal, with
# c = 1 / (4 P(Z >= sqrt 2)), which is the least possible (Bentkus & Dzindzalieta 2015, "A tight Gaussian bound for
# weighted sums of Rademacher random variables", Bernoulli 21).
_GAUSSIAN = 0.25 / float(special.ndtr(-math.sqrt(2)))

Numbers = np.ndarray[Any, Any]


def sum_p(totals: Numbers | float, squares: Numbers | float) -> Numbers:
    """Two-sided p-values of sums of differences, given the sums of their squares; both of one shape, or scalars.

    The lesser of two bounds that are always true: Hoeffding's (1963, theorem 2), 2 exp(-x^2 / 2), and the Gaussian one
    above. It is at most 3.2 times what the normal approximation gives.
    """
    squares = np.asarray(squares, dtype=np.float64)
    x = np.abs(totals) / np.sqrt(np.where(squares > 0, squares, 1.0))
    bound = 2 * np.minimum(np.exp(-np.square(x) / 2), _GAUSSIAN * special.ndtr(-x))
    return np.where(squares > 0, np.minimum(1.0, bound), 1.0)


def critical(alpha: float) -> float:
    """How far, in units of the root of the sum of squares, a sum must be for `sum_p` to be at most `alpha`."""
    return float(min(math.sqrt(2 * math.log(2 / alpha)), -special.ndtri(min(0.5, alpha / (2 * _GAUSSIAN)))))


def count_p(positive: Numbers | int, signs: Numbers | int) -> Numbers:
    """Two-sided p-value of a number of positive signs among all, exactly: the sign test, twice the binomial tail."""
    positive, signs = np.asarray(positive), np.asarray(signs)
    fewer = np.minimum(positive, signs - positive)
    return np.where(signs > 0, np.minimum(1.0, 2 * special.bdtr(fewer, np.maximum(signs, 1), 0.5)), 1.0)


def run_p(length: int) -> float:
    """P(the first `length` signs, or more, are all one), which is 2 * 2^-length."""
    return min(1.0, 2.0 ** (1 - length))


def smallest_mean(n: float, alpha: float, beta: float) -> float:
    """The mean of a difference, in its stds, that `n` differences catch: by the normal law for many of them."""
    return (critical(alpha) + float(-special.ndtri(beta))) / math.sqrt(n)
