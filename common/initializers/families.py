"""Initializers whose entries are independent: plain distributions, and the schemes that scale them by a fan."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InitializerError
from .base import (
    DISTRIBUTIONS,
    Distribution,
    Initializer,
    ShapeFree,
    assign,
    bounds,
    finite_number,
    first_index,
    one_of,
    positive_number,
)
from .fans import FAN_MODES, NONLINEARITIES, FanMode, fans, gain
from .laws import Continuous, Hollow, Law

# The std of a standard normal that is cut at two sigma, sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)) (Johnson, Kotz &
# Balakrishnan 1994, section 13.10.1); dividing by it makes the cut normal's std exact again.
TWO_SIGMA_STD = 0.87962566103423978


def _normal(mean: float, std: float) -> Law:
    return Law(Continuous("norm", (), mean, std))


def _uniform(low: float, high: float) -> Law:
    return Law(Continuous("uniform", (), low, high - low))


@dataclass(frozen=True)
class Uniform(ShapeFree):
    """Uniform on [low, high). PyTorch's `uniform_` and this default to [0, 1); Flax's `uniform()` is [0, 0.01).

    Raises:
        InitializerError: the two are no finite numbers, or bound no interval.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = bounds("Uniform", self.low, self.high)
        assign(self, low=low, high=high)

    def law(self, shape: Sequence[int]) -> Law:
        """U(low, high)."""
        return _uniform(self.low, self.high)


@dataclass(frozen=True)
class Normal(ShapeFree):
    """Normal. PyTorch's `normal_` and this default to std 1; Flax's `normal()` has std 0.01.

    Raises:
        InitializerError: the two are no finite numbers, or the std is not above 0.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        assign(self, mean=finite_number("Normal", "mean", self.mean), std=positive_number("Normal", "std", self.std))

    def law(self, shape: Sequence[int]) -> Law:
        """N(mean, std^2)."""
        return _normal(self.mean, self.std)


@dataclass(frozen=True)
class TruncatedNormal(ShapeFree):
    """Normal, given that it lies between two bounds; `std` is the one before the cut, and nothing is rescaled.

    With cut "absolute" the bounds are values (PyTorch's `trunc_normal_`), with cut "sigma" they are in units
    of `std` around `mean` (Flax's `truncated_normal`): at std 0.02 and the default bounds the two have std
    0.0200 and 0.0176.

    Raises:
        InitializerError: a number that is not finite, a std not above 0, bounds without an interval, another cut.
    """

    mean: float = 0.0
    std: float = 1.0
    low: float = -2.0
    high: float = 2.0
    cut: str = "absolute"

    def __post_init__(self) -> None:
        one_of("TruncatedNormal", "cut", self.cut, ("absolute", "sigma"))
        low, high = bounds("TruncatedNormal", self.low, self.high)
        mean, std = (
            finite_number("TruncatedNormal", "mean", self.mean),
            positive_number("TruncatedNormal", "std", self.std),
        )
        assign(self, mean=mean, std=std, low=low, high=high)

    def law(self, shape: Sequence[int]) -> Law:
        """N(mean, std^2) between the bounds."""
        ends = (self.low, self.high)
        if self.cut == "absolute":
            ends = ((self.low - self.mean) / self.std, (self.high - self.mean) / self.std)
        return Law(Continuous("truncnorm", ends, self.mean, self.std))


class FanScaled(Initializer):
    """A scheme that is `VarianceScaling` under another name: it says which by `scaling`."""

    @abstractmethod
    def scaling(self) -> VarianceScaling:
        """The same distribution as a VarianceScaling."""

    def law(self, shape: Sequence[int]) -> Law:
        """The law of `scaling()`; raises as `validate` does."""
        return self.scaling().law(shape)

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape has fans, and the one asked for is not 0."""
        self.scaling().validate(shape, path)

    def std(self, shape: Sequence[int]) -> float:
        """The standard deviation of an entry of a parameter of `shape`; raises as `law` does."""
        return self.scaling().std(shape)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Variance `scale / fan`, mean 0 (`jax.nn.initializers.variance_scaling`).

    The truncated normal is cut at two of its own sigmas and rescaled by 1 / 0.8796, so that the std after the
    cut is the one that is asked for; the uniform's bound is sqrt(3) times the std.

    Raises:
        InitializerError: a scale that is no finite number above 0, or a mode or distribution that is none.
    """

    scale: float = 1.0
    mode: FanMode = "fan_in"
    distribution: Distribution = "truncated_normal"

    def __post_init__(self) -> None:
        one_of("VarianceScaling", "mode", self.mode, FAN_MODES)
        one_of("VarianceScaling", "distribution", self.distribution, DISTRIBUTIONS)
        assign(self, scale=positive_number("VarianceScaling", "scale", self.scale))

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape has fans, and the one asked for is not 0."""
        if fans(shape, path).mode(self.mode) <= 0:
            raise InitializerError(path, f"a {self.mode} above 0", f"shape {tuple(shape)}")

    def std(self, shape: Sequence[int]) -> float:
        """The standard deviation of an entry of a parameter of `shape`; raises as `validate` does."""
        self.validate(shape)
        return math.sqrt(self.scale / fans(shape).mode(self.mode))

    def law(self, shape: Sequence[int]) -> Law:
        """The distribution with mean 0 and the std that the fan gives; raises as `validate` does."""
        std = self.std(shape)
        if self.distribution == "uniform":
            return _uniform(-math.sqrt(3) * std, math.sqrt(3) * std)
        if self.distribution == "normal":
            return _normal(0.0, std)
        return Law(Continuous("truncnorm", (-2.0, 2.0), 0.0, std / TWO_SIGMA_STD))


@dataclass(frozen=True)
class Xavier(FanScaled):
    """Variance gain^2 / ((fan_in + fan_out) / 2) (Glorot & Bengio 2010, equation 16).

    PyTorch's `xavier_normal_` is "normal"; Flax's `glorot_normal` is "truncated_normal".

    Raises:
        InitializerError: another distribution, or a gain that is no finite number above 0.
    """

    distribution: Distribution = "uniform"
    gain: float = 1.0

    def __post_init__(self) -> None:
        one_of("Xavier", "distribution", self.distribution, DISTRIBUTIONS)
        assign(self, gain=positive_number("Xavier", "gain", self.gain))

    def scaling(self) -> VarianceScaling:
        """The same distribution as a VarianceScaling."""
        return VarianceScaling(self.gain**2, "fan_avg", self.distribution)


@dataclass(frozen=True)
class Kaiming(FanScaled):
    """Variance gain^2 / fan, the gain being that of `nonlinearity` (He et al. 2015, equations 10 and 14).

    `a` is the negative slope of a leaky_relu and is ignored by the others. PyTorch's default for Linear and
    Conv is `Kaiming(a=sqrt(5))`, that is U(+-1 / sqrt(fan_in)). PyTorch's `kaiming_normal_` is "normal", Flax's
    `he_normal` "truncated_normal".

    Raises:
        InitializerError: another distribution, mode or nonlinearity, or an `a` that is no finite number.
    """

    distribution: Distribution = "uniform"
    a: float = 0.0
    mode: FanMode = "fan_in"
    nonlinearity: str = "leaky_relu"

    def __post_init__(self) -> None:
        one_of("Kaiming", "distribution", self.distribution, DISTRIBUTIONS)
        one_of("Kaiming", "mode", self.mode, FAN_MODES)
        one_of("Kaiming", "nonlinearity", self.nonlinearity, NONLINEARITIES)
        assign(self, a=finite_number("Kaiming", "a", self.a))

    def scaling(self) -> VarianceScaling:
        """The same distribution as a VarianceScaling."""
        return VarianceScaling(gain(self.nonlinearity, self.a) ** 2, self.mode, self.distribution)


@dataclass(frozen=True)
class LeCun(FanScaled):
    """Variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp", section 4.6).

    Raises:
        InitializerError: another distribution.
    """

    distribution: Distribution = "truncated_normal"

    def __post_init__(self) -> None:
        one_of("LeCun", "distribution", self.distribution, DISTRIBUTIONS)

    def scaling(self) -> VarianceScaling:
        """The same distribution as a VarianceScaling."""
        return VarianceScaling(1.0, "fan_in", self.distribution)


# What the frameworks' own classes draw from where nothing is said: the layers of the spec and the catalogue of schemes
# name these. PyTorch's is U(+-1 / sqrt(fan_in)), which its code writes as kaiming_uniform_(a=sqrt(5)).
TORCH_WEIGHT = VarianceScaling(1 / 3, "fan_in", "uniform")
TORCH_EMBEDDING = Normal()
FLAX_KERNEL = LeCun("truncated_normal")
FLAX_EMBEDDING = VarianceScaling(1.0, "fan_in", "normal")


@dataclass(frozen=True)
class Masked(Initializer):
    """A draw of `of` in which every entry with |x| < below is +0.0; |x| = below stays.

    The sign of the zeros is part of the promise: a mask by product leaves -0.0 where the draw was negative.

    Raises:
        InitializerError: `of` has no independent entries, or `below` is no finite number above 0.
    """

    of: Initializer
    below: float

    def __post_init__(self) -> None:
        if not isinstance(self.of, Initializer) or not self.of.independent:
            raise InitializerError("", "an initializer of independent entries as of of Masked", repr(self.of))
        assign(self, below=positive_number("Masked", "below", self.below))

    @property
    def reads_axes(self) -> bool:
        """Whether `of` does."""
        return self.of.reads_axes

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape suits `of`."""
        self.of.validate(shape, path)

    def law(self, shape: Sequence[int]) -> Law:
        """A point mass at 0 with the mass inside the mask, the rest of the law as it was; raises as `validate` does."""
        whole = self.of.law(shape)
        kept = {value: mass for value, mass in whole.point_masses if abs(value) >= self.below}
        spread, part = whole.spread, whole.continuous
        if part is not None:
            hole = part.between(-self.below, self.below, 0)
            spread *= 1 - hole
            part = Hollow(part, self.below) if 0 < hole < 1 else part
        zero = 1 - spread - sum(kept.values())
        # Below this, the mass is the rounding of the difference.
        masses = [*kept.items(), (0.0, zero)] if zero > 1e-15 else [*kept.items()]
        return Law(part if spread > 0 else None, tuple(masses))

    def violation(self, array: np.ndarray[Any, Any]) -> str | None:
        """A negative zero, or an entry inside the mask that is not zero."""
        negative = (array == 0) & np.signbit(array)
        if negative.any():
            count = np.count_nonzero(negative)
            return f"entry {first_index(negative)} is -0.0, expected +0.0 ({count} of {array.size} entries are)"
        # Compared in the array's own dtype, where `below` itself may have been rounded down.
        threshold = np.asarray(self.below).astype(array.dtype)
        inside = (array != 0) & (np.abs(array) < threshold)
        if inside.any():
            index = first_index(inside)
            return f"entry {index} is {array[index]}, expected 0 or an absolute value of at least {self.below!r}"
        return None
