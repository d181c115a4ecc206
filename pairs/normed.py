"""A weight as a magnitude and a direction, and what the gradients by the two tell of that by their product.

Of `w = g v / s`, with `s` the length of `v`, and the gradient `G` by `w`:

    dL/dv = g/s (G - v <G, v> / s^2)  and  dL/dg = <G, v> / s,  so that  G = s/g dL/dv + v/s dL/dg

A direction is as long as the model's own is, within a factor of three, so that what a program adds to a length shows as
it does there. It is never as long as the weight: a program without a magnitude would be right by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common.wing import StoredTensor
from .maps import Factors, epsilon_of, kept_axes

Arrays = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Norm:
    """How a side stores one tensor.

    shape: of the magnitude. axes: of the direction, over which its length is. lengths: of the model's own directions,
    with axes of length 1 for these. epsilon: what the side adds to the square of a length. is_trained: whether both are
    parameters, without which the gradient by the product is not known.
    """

    factors: Factors
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    lengths: np.ndarray
    epsilon: float
    is_trained: bool = True

    @staticmethod
    def of(factors: Factors, tensors: Mapping[str, StoredTensor], framework: str) -> Norm:
        stored = [tensors[path] for path in factors]
        magnitude, direction = (each.array for each in stored)
        kept = kept_axes(magnitude.shape, direction.shape) or ()
        axes = tuple(axis for axis in range(direction.ndim) if axis not in kept)
        added = 0.0 if framework == "torch" else epsilon_of(factors.magnitude)
        return Norm(
            factors, magnitude.shape, axes, length_over(direction, axes), added, all(each.trainable for each in stored)
        )

    def parts(self, weight: Any) -> dict[str, np.ndarray]:
        """A magnitude and a direction, by their paths, whose product is the weight.

        The direction is the weight times powers of two, and so exact; the magnitude is in float64.
        """
        weight = np.asarray(weight)
        length = length_over(weight, self.axes)
        # By more for every other length, so that a program that lacks one of the two is wrong by no one factor.
        odd = np.arange(length.size).reshape(length.shape) % 2
        with np.errstate(all="ignore"):
            power = np.rint(np.log2(self.lengths / length)) + odd
        power = np.where(np.isfinite(power) & (power != 0), power, 1 - 2 * odd)
        direction = np.where(length == 0, 1, weight * np.exp2(power).astype(weight.dtype)).astype(weight.dtype)
        own = length_over(direction, self.axes)
        magnitude = length * (np.sqrt(own**2 + self.epsilon) / own)
        return {self.factors.magnitude: magnitude.reshape(self.shape), self.factors.direction: direction}

    def gradient(self, parts: Arrays, by: Arrays) -> np.ndarray:
        """The gradient by the product, of those by the two; zero where the magnitude is, which hides the rest."""
        direction = np.asarray(parts[self.factors.direction], np.float64)
        scale = np.sqrt(length_over(direction, self.axes) ** 2 + self.epsilon)
        magnitude, by_magnitude = (
            np.asarray(each[self.factors.magnitude], np.float64).reshape(scale.shape) for each in (parts, by)
        )
        with np.errstate(all="ignore"):
            back = np.where(magnitude == 0, 0.0, scale / magnitude)
            found = back * np.asarray(by[self.factors.direction], np.float64) + by_magnitude / scale * direction
        return found.astype(by[self.factors.direction].dtype)


def length_over(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The length over these axes, which are kept with a length of 1, in float64."""
    return np.sqrt(np.square(array.astype(np.float64)).sum(axes, keepdims=True))
