"""Copies: what one side holds once, tied or used several times, and the other side keeps several times.

The outputs do not show it while the copies are equal. The gradient of the one tensor is the sum of those of its copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...pairs.closeness import relative_error
from .candidates import Candidates
from .fingerprints import Order, orders, reordered

Gradients = Mapping[str, np.ndarray]
# Of more candidates of one class no sum is sought.
MOST_COPIES = 48
# Entries of a gradient that are looked at before all are, for each of the unknown shares.
_ENTRIES = 8
# How far a share may be from 0 or 1 where it is taken to be so; the sum is then compared as a whole.
_ROUND = 0.02


class _Share(NamedTuple):
    """A candidate's gradient in the axes of the one tensor, and the order of axes that brings it there."""

    key: str
    order: Order
    gradient: np.ndarray


def assign_copies(candidates: Candidates, ours: Gradients, theirs: Gradients, limit: float) -> bool:
    """Assign the open parts whose gradient is the sum of several open ones of the other side; whether there are any.

    ours, theirs: the nonzero gradients of the open parts of one class.
    """
    found = False
    for side, whole, parts in ((0, ours, theirs), (1, theirs, ours)):
        for key, gradient in whole.items():
            is_open = key not in (candidates.taken if side else candidates.matches)
            done = candidates.matches if side else candidates.taken
            left = {other: each for other, each in parts.items() if other not in done}
            if not is_open or not 1 < len(left) <= MOST_COPIES:
                continue
            shares = _shares(gradient, left, limit)
            for share in shares:
                found = True
                if side:
                    candidates.copy(share.key, key, share.order)
                else:
                    candidates.copy(key, share.key, _inverse(share.order))
    return found


def _shares(whole: np.ndarray, parts: Gradients, limit: float) -> list[_Share]:
    """Those of the parts whose sum is the whole, each in one order of its axes; none where no sum is."""
    shares = [
        _Share(key, order, reordered(gradient, order, whole.shape))
        for key, gradient in parts.items()
        for order in orders(gradient.shape, whole.shape)
    ]
    if not shares or whole.size < 2 * len(shares):
        return []
    step = max(whole.size // (_ENTRIES * len(shares)), 1)
    sample = np.unravel_index(np.arange(0, whole.size, step), whole.shape)
    columns = np.stack([share.gradient[sample].astype(np.float64) for share in shares], -1)
    scale = np.linalg.norm(columns, axis=0)
    if not scale.all():
        return []
    factors = np.linalg.lstsq(columns / scale, whole[sample].astype(np.float64), rcond=None)[0] / scale
    chosen = [share for share, factor in zip(shares, factors, strict=True) if abs(factor - 1) < _ROUND]
    if len(chosen) < 2 or len({share.key for share in chosen}) < len(chosen):
        return []
    total = sum((share.gradient.astype(np.float64) for share in chosen), np.zeros(whole.shape))
    return chosen if relative_error(whole.astype(np.float64), total) <= limit else []


def _inverse(order: Order) -> Order:
    return Order(tuple(int(axis) for axis in np.argsort(order.axes)))
