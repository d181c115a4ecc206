"""How far two measured arrays are apart, beside the array's norm, and whether a gradient says anything."""

from __future__ import annotations

import math

import numpy as np

# Below it a call of `einsum` takes longer than its work; above it `dot` copies, and waits for threads.
SMALL = 4096
# The norm below which numbers are too coarse to be compared.
COARSE_BELOW = 1e-25


def norm(array: np.ndarray) -> float:
    """The 2-norm, summed in float64."""
    flat = array.ravel("K")
    if flat.size <= SMALL:
        wide = flat.astype(np.float64)
        return math.sqrt(float(np.dot(wide, wide)))
    return math.sqrt(float(np.einsum("i,i->", flat, flat, dtype=np.float64)))


def error(found: np.ndarray, exact: np.ndarray) -> float:
    """||found - exact|| / ||exact||: 0 where both are zero, infinite where only one is or a shape differs."""
    if found.shape != exact.shape:
        return math.inf
    difference, size = norm(found - exact), norm(exact)
    if not math.isfinite(difference):
        return math.inf
    return difference / size if size else (0.0 if difference == 0 else math.inf)


def scale(gradients: dict[str, np.ndarray]) -> float:
    """The largest root mean square of one of the gradients: what rounding errors are to be seen against."""
    return max((norm(array) / math.sqrt(array.size) for array in gradients.values() if array.size), default=0.0)


def is_silent(gradient: np.ndarray | None, loudest: float, limit: float) -> bool:
    """Whether a gradient says nothing: there is none, or no more of it than rounding leaves where it should be zero."""
    return gradient is None or norm(gradient) <= limit * loudest * math.sqrt(max(gradient.size, 1))


def is_comparable(array: np.ndarray) -> bool:
    """Whether an output is one to compare with: finite, and not so small that its numbers are coarse."""
    return COARSE_BELOW < norm(array) < math.inf
