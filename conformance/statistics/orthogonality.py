"""Draws that are orthogonal matrices: recognized by what they are, since nothing says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .formats import eps

Values = np.ndarray[Any, Any]

# How far the product of two rows, over the squared gain, may be from 0 or 1 by rounding.
_SLACK = 1e-4


def gain_of(draws: Values) -> float | None:
    """g if every draw `(draws, *shape)` has W W^T = g^2 I for the lesser side of W; None otherwise.

    An array of more axes is read as `(out, ...)` and as `(..., in)`; a convolution with one tap that is not 0 as the
    matrix of that tap. At least two rows are asked for: one row alone is orthogonal to nothing.
    """
    tolerance = max(_SLACK, 4 * eps(draws.dtype))
    for matrices in _readings(draws):
        gain = _gain(matrices, tolerance)
        if gain is not None:
            return gain
    return None


def _readings(draws: Values) -> Iterator[Values]:
    if draws.ndim < 3:
        return
    yield draws.reshape(*draws.shape[:2], -1)
    if draws.ndim > 3:
        yield draws.reshape(len(draws), -1, draws.shape[-1])
        taps = draws.reshape(*draws.shape[:3], -1)
        used = np.flatnonzero((taps != 0).any(axis=(0, 1, 2)))
        if len(used) == 1:
            yield taps[..., used[0]]


def _gain(matrices: Values, tolerance: float) -> float | None:
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.transpose(0, 2, 1)
    if matrices.shape[1] < 2:
        return None
    # Two rows of one draw show nearly always that it is none, at no cost.
    if not _is_scaled_identity(matrices[:1, :2].astype(np.float64), tolerance):
        return None
    gains = []
    for matrix in matrices:
        wide = matrix.astype(np.float64)[None]
        if not _is_scaled_identity(wide, tolerance):
            return None
        gains.append(float(np.sqrt(np.mean(np.square(wide).sum(axis=2)))))
    return float(np.mean(gains)) if np.ptp(gains) <= tolerance * max(gains) else None


def _is_scaled_identity(rows: Values, tolerance: float) -> bool:
    products = rows @ rows.transpose(0, 2, 1)
    squared = np.einsum("dii->d", products) / products.shape[1]
    if not (squared > 0).all():
        return False
    return bool(np.abs(products / squared[:, None, None] - np.eye(products.shape[1])).max() <= tolerance)
