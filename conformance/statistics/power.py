"""The smallest defect that a test catches, and the sample size that a defect asks for.

Each test is a region of acceptance at false-alarm rate `alpha`; a defect is caught if a sample with it falls
inside that region with a probability of at most `beta`. Both are exact for the tests of this package, the
distribution function's apart, where the inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant
(1990) bounds both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy import special

from ...common.initializers import Initializer, ZeroRow

ALPHA = 1e-6
BETA = 1e-6
TARGET = 8192
# At 2^-R per side, a sign that never changes needs 35 replicates for p = 6e-11; the rest is reserve.
HAAR_REPLICATES = 64
# Where the search for a sample size gives up.
_MOST = 2**62


@dataclass(frozen=True)
class SmallestEffects:
    """What `n` values catch: factors on the std, a shift in stds, a share of mass cut off, a distance of CDFs."""

    n: int
    alpha: float
    beta: float
    std_above: float
    std_below: float
    mean_shift: float
    cut_off: float
    distance: float

    def __str__(self) -> str:
        return (
            f"n = {self.n}, false alarm {self.alpha:.1g}, miss {self.beta:.1g}: "
            f"std times {self.std_above:.3g} or {self.std_below:.3g}, mean off by {self.mean_shift:.2g} std, "
            f"{100 * self.cut_off:.2g} % of the mass cut off, distribution function off by {self.distance:.2g}"
        )


def smallest_effects(n: int, alpha: float = ALPHA, beta: float = BETA) -> SmallestEffects:
    """What tests of `n` values at false-alarm rate `alpha` each miss with a probability of at most `beta`."""
    below, above = std_factors(n, alpha, beta)
    shift, distance = mean_shift(n, alpha, beta), cdf_distance(n, alpha, beta)
    return SmallestEffects(n, alpha, beta, above, below, shift, cut_off(n, alpha), distance)


def std_factors(n: int, alpha: float, beta: float) -> tuple[float, float]:
    """The factors on the std, below and above 1, from which the chi-square test catches it.

    With a std r times too large the sum of squared scores is r^2 times a chi-square, so it stays below the upper
    critical value h with probability P(chi2 < h / r^2); r is where that is beta. Likewise below.
    """
    upper, lower = special.gammainccinv(n / 2, alpha / 2), special.gammaincinv(n / 2, alpha / 2)
    above = upper / special.gammaincinv(n / 2, beta)
    below = lower / special.gammainccinv(n / 2, beta)
    return math.sqrt(below), math.sqrt(above)


def mean_shift(n: int, alpha: float, beta: float) -> float:
    """The shift of the mean, in stds, from which the z-test catches it."""
    return float(-special.ndtri(alpha / 2) - special.ndtri(beta)) / math.sqrt(n)


def cut_off(n: int, alpha: float) -> float:
    """The share of the law's mass that the draws must leave out, at one end, for the extreme to show it.

    If a share q is never drawn, F(max) <= 1 - q for certain, and the p-value F(max)^n is at most (1 - q)^n:
    no draw is missed. For max |x| of a symmetric uniform, q is the relative error of the bound.
    """
    return -math.expm1(math.log(alpha) / n)


def cdf_distance(n: int, alpha: float, beta: float) -> float:
    """The greatest distance of the two distribution functions from which the DKWM test catches it."""
    return math.sqrt(math.log(2 / alpha) / (2 * n)) + math.sqrt(math.log(2 / beta) / (2 * n))


def masses(n: int, mass: float, alpha: float, beta: float) -> tuple[float, float]:
    """The masses of an atom, below and above `mass`, from which the binomial test catches them.

    P(Binomial(n, q) <= k) is the survival function of Beta(k + 1, n - k) at q, so that the mass at which it is
    beta is a quantile of that (Clopper & Pearson 1934). 0 or 1 if even that is not caught.
    """
    top = _least(lambda k: special.bdtrc(k, n, mass) <= alpha / 2, 0, n)
    bottom = _least(lambda k: special.bdtr(k, n, mass) > alpha / 2, 0, n) - 1
    above = float(special.betainccinv(top + 1, n - top, beta)) if top < n else 1.0
    below = float(special.betaincinv(bottom + 1, n - bottom, beta)) if bottom >= 0 else 0.0
    return below, above


def sample_size_std(factor: float, alpha: float, beta: float = BETA) -> int:
    """The least n at which the chi-square test catches a std that is `factor` times the spec's."""
    if factor > 1:
        return _least(lambda n: std_factors(n, alpha, beta)[1] <= factor)
    return _least(lambda n: std_factors(n, alpha, beta)[0] >= factor)


def sample_size_mean(shift: float, alpha: float, beta: float = BETA) -> int:
    """The least n at which the z-test catches a mean that is off by `shift` stds."""
    return _least(lambda n: mean_shift(n, alpha, beta) <= shift)


def sample_size_cut_off(share: float, alpha: float) -> int:
    """The least n at which the extreme shows that a share of the mass is never drawn."""
    return _least(lambda n: cut_off(n, alpha) <= share)


def sample_size_outside(share: float, beta: float = BETA) -> int:
    """The least n at which a draw falls outside the spec's support, if a share of the draws does."""
    return math.ceil(math.log(beta) / math.log1p(-share))


def sample_size_distance(distance: float, alpha: float, beta: float = BETA) -> int:
    """The least n at which the DKWM test catches a distribution function that is off by `distance`."""
    return _least(lambda n: cdf_distance(n, alpha, beta) <= distance)


def replicates(shape: Sequence[int], target: int = TARGET, initializer: Initializer | None = None) -> int:
    """How many seeds to draw a parameter of `shape` with: enough for `target` values in all.

    An initializer whose entries depend on each other gives one value per draw, and needs more.
    """
    enough = math.ceil(target / max(1, math.prod(shape)))
    # All rows of a ZeroRow but one are independent draws.
    if initializer is None or initializer.independent or isinstance(initializer, ZeroRow):
        return enough
    return 1 if initializer.deterministic else max(enough, HAAR_REPLICATES)


def _least(holds: Callable[[int], bool], low: int = 1, high: int | None = None) -> int:
    """The least whole number from `low` on at which `holds`, which then stays true; `high` if there is none."""
    if high is None:
        high = max(low, 1)
        while not holds(high) and high < _MOST:
            high *= 2
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
