"""Laws: the distribution of one entry of a parameter, exactly.

A law is a mixture of *point masses*, values that are hit with a positive probability, and one continuous part that
carries the rest of the mass. SciPy does the numerics and is imported when a number is asked for: describing a
model must not cost its import.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InitializerError

Array = np.ndarray[Any, np.dtype[np.float64]]

# The rounding of a sum of a few masses.
_MASS_SLACK = 1e-12


class ContinuousPart(Protocol):
    """What a law asks of its continuous part; of an array, the functions work entry by entry and give float64."""

    # As in `Continuous`, which says what each is.
    def cdf(self, x: ArrayLike) -> Array: ...
    def sf(self, x: ArrayLike) -> Array: ...
    def ppf(self, u: ArrayLike) -> Array: ...
    def logpdf(self, x: ArrayLike) -> Array: ...
    def between(self, low: float, high: float, power: int) -> float: ...
    @property
    def support(self) -> tuple[float, float]: ...
    @property
    def mean(self) -> float: ...
    @property
    def std(self) -> float: ...


@dataclass(frozen=True)
class Continuous:
    """A continuous distribution of `scipy.stats` by name, with its shape numbers, location and scale.

    `Continuous("laplace", (), 0.0, 0.1)` is enough to give an initializer of one's own its law.
    """

    family: str
    shapes: tuple[float, ...] = ()
    loc: float = 0.0
    scale: float = 1.0

    def _frozen(self) -> Any:
        return _frozen(self.family, self.shapes, self.loc, self.scale)

    def cdf(self, x: ArrayLike) -> Array:
        """P(X <= x)."""
        return np.asarray(self._frozen().cdf(x))

    def sf(self, x: ArrayLike) -> Array:
        """P(X > x), exact where 1 - cdf(x) would round to 0."""
        return np.asarray(self._frozen().sf(x))

    def ppf(self, u: ArrayLike) -> Array:
        """The quantile function, inverse of `cdf`."""
        return np.asarray(self._frozen().ppf(u))

    def logpdf(self, x: ArrayLike) -> Array:
        """The log of the density; -inf outside the support."""
        return np.asarray(self._frozen().logpdf(x))

    def between(self, low: float, high: float, power: int) -> float:
        """The integral of x^power over [low, high]: a probability for power 0, a partial moment above."""
        least, most = self.support
        low, high = max(low, least), min(high, most)
        if low >= high:
            return 0.0
        if power == 0:
            return float(self.cdf(high) - self.cdf(low))
        return float(self._frozen().expect(lambda x: x**power, lb=low, ub=high))

    @property
    def support(self) -> tuple[float, float]:
        """The smallest interval with all of the mass."""
        low, high = self._frozen().support()
        return float(low), float(high)

    @property
    def mean(self) -> float:
        """The mean: the location, and the scale times the mean of the family with location 0 and scale 1."""
        return self.loc + self.scale * _standard_moments(self.family, self.shapes)[0]

    @property
    def std(self) -> float:
        """The standard deviation: the scale times that of the family with location 0 and scale 1."""
        return self.scale * _standard_moments(self.family, self.shapes)[1]


@lru_cache(maxsize=256)
def _frozen(family: str, shapes: tuple[float, ...], loc: float, scale: float) -> Any:
    """SciPy's object: costly to make, cheap to keep."""
    from scipy import stats

    return getattr(stats, family)(*shapes, loc=loc, scale=scale)


@lru_cache(maxsize=256)
def _standard_moments(family: str, shapes: tuple[float, ...]) -> tuple[float, float]:
    """Mean and std at location 0 and scale 1: one integral for all laws of a family, which shift and scale."""
    standard = _frozen(family, shapes, 0.0, 1.0)
    return float(standard.mean()), float(standard.std())


@dataclass(frozen=True)
class Hollow:
    """A continuous distribution given that |x| >= `below`: what a mask leaves of it.

    The quantile function needs no root search: with H = P(-below < X < below) and L = P(X <= -below), the
    u-quantile is the base's at u (1 - H) where that is at most L, and at u (1 - H) + H beyond the hole.
    """

    base: ContinuousPart
    below: float

    @cached_property
    def hole(self) -> float:
        """The mass that the mask takes out."""
        return self.base.between(-self.below, self.below, 0)

    def cdf(self, x: ArrayLike) -> Array:
        """P(X <= x), given |X| >= below."""
        values = np.asarray(x, dtype=np.float64)
        passed = self.base.cdf(np.clip(values, -self.below, self.below)) - self.base.cdf(-self.below)
        return (self.base.cdf(values) - passed) / (1 - self.hole)

    def sf(self, x: ArrayLike) -> Array:
        """P(X > x), given |X| >= below."""
        values = np.asarray(x, dtype=np.float64)
        ahead = self.base.sf(np.clip(values, -self.below, self.below)) - self.base.sf(self.below)
        return (self.base.sf(values) - ahead) / (1 - self.hole)

    def ppf(self, u: ArrayLike) -> Array:
        """The quantile function, inverse of `cdf`."""
        hole = self.hole
        kept = np.asarray(u, dtype=np.float64) * (1 - hole)
        beyond = kept > self.base.cdf(-self.below)
        # A quantile on the brim of the hole may round into it, where no value can be.
        left = np.minimum(self.base.ppf(np.where(beyond, 0.5, kept)), -self.below)
        right = np.maximum(self.base.ppf(np.minimum(kept + hole, 1.0)), self.below)
        return np.where(beyond, right, left)

    def logpdf(self, x: ArrayLike) -> Array:
        """The log of the density; -inf in the hole and outside the support."""
        values = np.asarray(x, dtype=np.float64)
        return np.where(np.abs(values) < self.below, -np.inf, self.base.logpdf(values) - math.log1p(-self.hole))

    def between(self, low: float, high: float, power: int) -> float:
        """The integral of x^power over [low, high], the hole left out."""
        masked = self.base.between(max(low, -self.below), min(high, self.below), power)
        return (self.base.between(low, high, power) - masked) / (1 - self.hole)

    @property
    def support(self) -> tuple[float, float]:
        """The smallest interval with all of the mass; a side that the mask takes whole is left out."""
        low, high = self.base.support
        if low > -self.below:
            low = max(low, self.below)
        if high < self.below:
            high = min(high, -self.below)
        return low, high

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """E[X] and E[X^2]: what the whole has, less what the hole has; integrals, so kept."""
        whole = (self.base.mean, self.base.std**2 + self.base.mean**2)
        first, second = (
            (all_of_it - self.base.between(-self.below, self.below, power)) / (1 - self.hole)
            for power, all_of_it in enumerate(whole, start=1)
        )
        return first, second

    @property
    def mean(self) -> float:
        """The mean."""
        return self._moments[0]

    @property
    def std(self) -> float:
        """The standard deviation."""
        first, second = self._moments
        return math.sqrt(max(second - first**2, 0.0))


@dataclass(frozen=True)
class Law:
    """The distribution of one entry: point masses, `(value, mass)` each, and a continuous part with the rest.

    Its moments are the mixture's: with weights w over the parts, E[X^k] = sum of w E[part^k].

    Raises:
        InitializerError: masses that are no distribution, or a continuous part where they leave nothing, or none where
            they leave something.
    """

    continuous: ContinuousPart | None
    point_masses: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        total = sum(mass for _, mass in self.point_masses)
        values = {value for value, _ in self.point_masses}
        sound = all(0 < mass <= 1 + _MASS_SLACK for _, mass in self.point_masses) and len(values) == len(
            self.point_masses
        )
        if not sound or total > 1 + _MASS_SLACK:
            raise InitializerError(
                "",
                "point masses of distinct values, each above 0 and of a sum of at most 1",
                f"{self.point_masses}",
            )
        if (self.continuous is None) != (total > 1 - _MASS_SLACK):
            raise InitializerError(
                "", "a continuous part exactly if the point masses leave some for one", f"a sum of {total:.12g}"
            )
        object.__setattr__(self, "point_masses", tuple(sorted(self.point_masses)))

    @staticmethod
    def point(value: float) -> Law:
        """The law of a constant."""
        return Law(None, ((value, 1.0),))

    @property
    def spread(self) -> float:
        """The mass of the continuous part."""
        return 0.0 if self.continuous is None else 1.0 - sum(mass for _, mass in self.point_masses)

    def cdf(self, x: ArrayLike) -> Array:
        """P(X <= x), in the shape of x."""
        values = np.asarray(x, dtype=np.float64)
        total = np.zeros(values.shape)
        if self.continuous is not None:
            total = total + self.spread * self.continuous.cdf(values)
        for value, mass in self.point_masses:
            total = total + mass * (values >= value)
        return total

    def ppf(self, u: ArrayLike) -> Array:
        """The quantile function: the least x with cdf(x) >= u, so that `ppf` of a uniform draw has this law.

        In the shape of u; NaN for a u that is not between 0 and 1.
        """
        levels = np.asarray(u, dtype=np.float64)
        result = np.full(levels.shape, np.nan)
        passed = np.zeros(levels.shape)
        for value, mass in self.point_masses:
            upper = float(self.cdf(value))
            result = np.where((levels > upper - mass) & (levels <= upper), value, result)
            passed = passed + np.where(levels > upper, mass, 0.0)
        if self.continuous is None:
            result = np.where(np.isnan(result), self.point_masses[-1][0], result)
        else:
            rest = self.continuous.ppf(np.clip((levels - passed) / self.spread, 0.0, 1.0))
            result = np.where(np.isnan(result), rest, result)
        result = np.where(levels <= 0, self.support[0], result)
        return np.where((levels < 0) | (levels > 1) | np.isnan(levels), np.nan, result)

    @property
    def support(self) -> tuple[float, float]:
        """The smallest interval with all of the mass."""
        ends = [value for value, _ in self.point_masses]
        if self.continuous is not None:
            ends.extend(self.continuous.support)
        return min(ends), max(ends)

    @property
    def mean(self) -> float:
        """The mean."""
        rest = 0.0 if self.continuous is None else self.spread * self.continuous.mean
        return rest + sum(mass * value for value, mass in self.point_masses)

    @property
    def std(self) -> float:
        """The standard deviation."""
        if self.continuous is not None and not self.point_masses:
            return self.continuous.std
        center = self.mean
        # Around the mixture's own mean, so that a constant's is exactly 0.
        variance = sum(mass * (value - center) ** 2 for value, mass in self.point_masses)
        if self.continuous is not None:
            variance += self.spread * (self.continuous.std**2 + (self.continuous.mean - center) ** 2)
        return math.sqrt(variance)


def haar_entry(size: int, gain: float) -> Law:
    """The law of one entry of `gain` times a Haar orthogonal matrix with `size` its larger side.

    A row of a Haar matrix is uniform on the sphere in `size` dimensions, so with Q the entry (1 + Q / gain) / 2
    has the law Beta((size - 1)/2, (size - 1)/2): its square is Beta(1/2, (size - 1)/2), the share of one of `size`
    squared normals in their sum. In one dimension the sphere is two points.
    """
    if size == 1:
        return Law(None, ((-gain, 0.5), (gain, 0.5)))
    half = (size - 1) / 2
    return Law(Continuous("beta", (half, half), -gain, 2 * gain))


def thinned(law: Law, kept: float) -> Law:
    """The law of an entry that keeps its draw with probability `kept` and is 0 otherwise."""
    masses = {value: mass * kept for value, mass in law.point_masses if kept > 0}
    if kept < 1:
        masses[0.0] = masses.get(0.0, 0.0) + 1 - kept
    return Law(law.continuous if kept > 0 else None, tuple(masses.items()))
