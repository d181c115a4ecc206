"""Draws that are orthogonal matrices: recognized by what they are, and held to the sign that a QR factorization loses.

Householder's R has a first diagonal entry whose sign is opposite to the matrix's, so a Q whose signs were not fixed has
the same sign at [0, 0] in every draw (Mezzadri 2007, section 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from . import power
from .evidence import Evidence
from .point_masses import binomial_p
from .rounding import eps
from .sign_tests import count_p

Values = np.ndarray[Any, Any]

# How far the product of two rows, over the squared gain, may be from 0 or 1 by rounding.
_SLACK = 1e-4


def gain_of(draws: Values) -> float | None:
    """g if every draw `(draws, *shape)` has W W^T = g^2 I for the lesser side of W; None otherwise.

    An array of more axes is read as `(out, ...)` and as `(..., in)`; a convolution with one tap that is not 0 as the
    matrix of that tap. At least two rows are asked for: one row alone is orthogonal to nothing.
    """
    tolerance = max(_SLACK, 4 * eps(draws.dtype))
    for matrices in _matrices(draws):
        gain = _gain(matrices, tolerance)
        if gain is not None:
            return gain
    return None


def corner_sign(path: str, corner: Values) -> Evidence:
    """The sign of the entry [0, 0], `(draws,)`, of draws of a known law: + as often as -, by the binomial test."""
    above, n = int(np.count_nonzero(corner > 0)), corner.size
    finding = f"the first entry is positive in {above} of {n} draws{_unfixed(above in (0, n))}"
    p_value = float(binomial_p(above, n, 0.5))
    return Evidence(path, "sign", n, above, p_value, finding, smallest=partial(_sign_effect, n))


def corner_signs(path: str, reference: Values, port: Values) -> Evidence:
    """The signs of that entry on both sides, `(draws,)` each: by the sign test on the draws that have one of each."""
    ours, theirs = reference > 0, port > 0
    of_port, different = int(np.count_nonzero(theirs & ~ours)), int(np.count_nonzero(theirs ^ ours))
    n = len(ours)
    unfixed = _unfixed(theirs.sum() in (0, n) or ours.sum() in (0, n))
    finding = (
        f"the first entry is positive in {theirs.sum()} of {n} draws of the port's, "
        f"{ours.sum()} of the reference's{unfixed}"
    )
    return Evidence(path, "sign", n, of_port, float(count_p(of_port, different)), finding)


def _unfixed(constant: bool) -> str:
    return ", as without the sign fix of the QR factorization" if constant else ""


def _sign_effect(n: int, alpha: float, beta: float) -> str:
    below, _ = power.masses(n, 0.5, alpha, beta)
    if below <= 0:
        return f"nothing: {n} replicates are too few"
    return f"a sign that is positive in less than {100 * below:.2g} % of the draws"


def _matrices(draws: Values) -> Iterator[Values]:
    """The draws as matrices `(draws, rows, columns)`, in each way that they may be read."""
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
