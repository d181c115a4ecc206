"""Values to compare models at: each tensor its own, of a size at which every part of a model shows.

All of it is float32, so that a run in float64 sees the very same numbers. Matrices have mean 0 and the standard
deviation (m n)^(-1/4), that of neither direction of use: up in one layer and down in the next, activations keep their
size. Vectors are positive, since one of them may be a variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from .seeding import generator

ShapeClass = tuple[int, ...]


def shape_class(shape: tuple[int, ...], periods: Mapping[int, int] = MappingProxyType({})) -> ShapeClass:
    """The class of a shape; along an axis with a period only that counts."""
    return tuple(sorted(periods.get(length, length) for length in shape if length != 1))


def distinct(path: str, own: np.ndarray, quiet: bool) -> np.ndarray:
    """Fresh values for one tensor, that no other one has.

    Matrices as at the symmetric point, vectors near the values `own` that the tensor has. There gains are large and
    biases small, and what positions of a sequence have in common does not drown in which they differ.

    quiet: all of it small. What is added to a variance shows where the variance is small, and nonlinearities elsewhere.
    """
    of = shape_class(own.shape)
    random = generator(1 + quiet, path)
    if len(of) > 1:
        return (drawn(of, random) * (0.25 if quiet else 1.0)).reshape(own.shape).astype(np.float32)
    return (_near(own.astype(np.float64), random) * (0.0625 if quiet else 1.0)).astype(np.float32)


def _near(own: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each value by a factor of its own; what is zero a little more, so that a variance stays positive."""
    factors, above = random.uniform(0.75, 1.25, own.shape), random.uniform(0.01, 0.2, own.shape)
    return np.where(np.isfinite(own) & (own != 0), own * factors, above)


def drawn(of: ShapeClass, random: np.random.Generator) -> np.ndarray:
    """Fresh numbers of a class's sorted shape."""
    if len(of) < 2:
        return random.uniform(0.25, 1.25, of)
    *others, rows, columns = of
    return random.normal(size=of) / math.sqrt(math.prod(others) * math.sqrt(rows * columns))
