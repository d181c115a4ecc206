"""How far two measured arrays are apart, how much of it rounding explains, and whether a gradient says anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# Between 2.3 and 4.6 eps were measured on a tied language model, in both frameworks, for an error relative to the
# tensor's norm against a float64 run; the factor leaves room for other shapes and other libraries.
FACTOR = 32
# Below it a call of `einsum` takes longer than its work; above it `dot` copies, and waits for threads.
SMALL = 4096
# The norm below which numbers are too coarse to be compared.
COARSE_BELOW = 1e-25


def allowed(depth: int, dtype: str = "float32") -> float:
    """The largest error, relative to the tensor's norm, of a model with `depth` layers: 32 eps sqrt(depth).

    Errors of independent roundings add up like the steps of a random walk (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, section 2.8).
    """
    return FACTOR * float(np.finfo(dtype).eps) * math.sqrt(depth)


def norm(array: np.ndarray) -> float:
    """The 2-norm of all entries, summed in float64."""
    flat = array.ravel("K")
    if flat.size <= SMALL:
        wide = flat.astype(np.float64)
        return math.sqrt(float(np.dot(wide, wide)))
    return math.sqrt(float(np.einsum("i,i->", flat, flat, dtype=np.float64)))


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    """||found - exact|| / ||exact||: 0 where both are zero; infinite where only one is, a shape differs or a number
    of the difference is not finite."""
    if found.shape != exact.shape:
        return math.inf
    difference, size = norm(found - exact), norm(exact)
    if not math.isfinite(difference):
        return math.inf
    return difference / size if size else (0.0 if difference == 0 else math.inf)


# Beyond so many times the norm of the exact array a ratio to it says only that this is next to nothing.
MOST_TIMES = 1e3


def largest_gradient(gradients: Mapping[str, np.ndarray]) -> float:
    """The largest root mean square of one of the gradients: what rounding errors are to be seen against."""
    return max(map(root_mean_square, gradients.values()), default=0.0)


def root_mean_square(array: np.ndarray) -> float:
    """Of all entries; 0 of none."""
    return norm(array) / math.sqrt(array.size) if array.size else 0.0


def is_zero_gradient(gradient: np.ndarray | None, largest: float, limit: float) -> bool:
    """Whether a gradient says nothing: there is none, or no more of it than rounding leaves where it should be zero."""
    return gradient is None or norm(gradient) <= limit * largest * math.sqrt(max(gradient.size, 1))


class RowsApart(NamedTuple):
    """The only places along an axis at which two arrays differ."""

    axis: int
    rows: tuple[int, ...]

    def of(self, array: np.ndarray) -> np.ndarray:
        return array.take(self.rows, self.axis)


def rows_apart(found: np.ndarray, exact: np.ndarray, limit: float) -> RowsApart | None:
    """Where two matrices of one shape differ, if only in few rows or columns, and the rest says something.

    limit: what the rest may differ by, of the norm of all. Few are one, or a quarter.
    """
    for axis in range(exact.ndim if exact.ndim > 1 else 0):
        length, rest = exact.shape[axis], tuple(each for each in range(exact.ndim) if each != axis)
        apart = np.sqrt(((found.astype(np.float64) - exact) ** 2).sum(axis=rest))
        rows = np.flatnonzero(apart > limit * norm(exact) / math.sqrt(length))
        if 0 < rows.size <= max(length // 4, 1) and np.delete(exact, rows, axis).any():
            return RowsApart(axis, tuple(rows.tolist()))
    return None


def is_comparable(array: np.ndarray) -> bool:
    """Whether an output is one to compare with: finite, and not so small that its numbers are coarse."""
    return COARSE_BELOW < norm(array) < math.inf
