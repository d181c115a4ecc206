"""The smallest defect that each test catches, and how many draws to make.

A test is a region of acceptance at false-alarm rate `alpha`; a defect is caught if a sample with it falls inside that
region with a probability of at most `beta`. Both are exact for the tests of this package, the distribution function's
apart, where the inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990) bounds both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from scipy import special

from ...common.initializers import Initializer, ZeroRow

ALPHA = 1e-6
BETA = 1e-6
TARGET = 8192
# At 2^-R per side, a sign that never changes needs 35 draws for p = 6e-11; the rest is reserve.
HAAR_REPLICATES = 64


def std_factors(n: int, alpha: float, beta: float) -> tuple[float, float]:
    """The factors on the std, below and above 1, from which the chi-square test of `n` values catches it.

    With a std r times too large the sum of squared scores is r^2 times a chi-square, so it stays below the upper
    critical value h with probability P(chi2 < h / r^2); r is where that is beta. Likewise below.
    """
    upper, lower = special.gammainccinv(n / 2, alpha / 2), special.gammaincinv(n / 2, alpha / 2)
    above = upper / special.gammaincinv(n / 2, beta)
    below = lower / special.gammainccinv(n / 2, beta)
    return math.sqrt(below), math.sqrt(above)


def mean_shift(n: int, alpha: float, beta: float) -> float:
    """The shift of the mean, in stds, from which the z-test of `n` values catches it.

    A shift d moves the statistic, which is standard normal, by sqrt(n) d. It is caught where that is the critical value
    and the upper `beta` quantile together.
    """
    return float(-special.ndtri(alpha / 2) - special.ndtri(beta)) / math.sqrt(n)


def cut_off(n: int, alpha: float) -> float:
    """The share of the law's mass that `n` draws must leave out, at one end, for the extreme to show it.

    If a share q is never drawn, F(max) <= 1 - q for certain, and the p-value F(max)^n is at most (1 - q)^n:
    no draw is missed. For max |x| of a symmetric uniform, q is the relative error of the bound.
    """
    return -math.expm1(math.log(alpha) / n)


def cdf_distance(n: int, alpha: float, beta: float) -> float:
    """The greatest distance of the two distribution functions from which the test of `n` values catches it.

    P(distance > d) <= 2 exp(-2 n d^2) (Massart 1990), once for the critical value and once for the miss.
    """
    return math.sqrt(math.log(2 / alpha) / (2 * n)) + math.sqrt(math.log(2 / beta) / (2 * n))


def masses(n: int, mass: float, alpha: float, beta: float) -> tuple[float, float]:
    """The probabilities of a value, below and above `mass`, from which the binomial test of `n` draws catches them.

    P(Binomial(n, q) <= k) is the survival function of Beta(k + 1, n - k) at q, so that the mass at which it is
    beta is a quantile of that (Clopper & Pearson 1934). 0 or 1 if even that is not caught.
    """
    top = _least(lambda k: special.bdtrc(k, n, mass) <= alpha / 2, n)
    bottom = _least(lambda k: special.bdtr(k, n, mass) > alpha / 2, n) - 1
    above = float(special.betainccinv(top + 1, n - top, beta)) if top < n else 1.0
    below = float(special.betaincinv(bottom + 1, n - bottom, beta)) if bottom >= 0 else 0.0
    return below, above


def replicates(shape: Sequence[int], target: int = TARGET, initializer: Initializer | None = None) -> int:
    """How many seeds to draw a parameter of `shape` with: enough for `target` values in all.

    An initializer whose entries depend on each other gives one value per draw, and needs more.
    """
    enough = math.ceil(target / max(1, math.prod(shape)))
    # All rows of a ZeroRow but one are independent draws.
    if initializer is None or initializer.independent or isinstance(initializer, ZeroRow):
        return enough
    return 1 if initializer.deterministic else max(enough, HAAR_REPLICATES)


def _least(holds: Callable[[int], bool], most: int) -> int:
    """The least whole number up to `most` at which `holds`, which then stays true; `most` if there is none."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
