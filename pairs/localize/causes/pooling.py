"""Pooling: which positions of an array that both have each side takes, and how it joins them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..comparing import apart
from ..gap import Cause, Gap


def pooling(gap: Gap) -> Cause | None:
    """Both make one of many positions, or features, and not by the same ones or in the same way."""
    for known in gap.known:
        if known.array.ndim != gap.reference.ndim + 1 or known.array.ndim < 3:
            continue
        ours, theirs = (_way(gap, known.array, made) for made in (gap.reference, gap.port))
        if ours and theirs and ours != theirs:
            return Cause("pooling", f"of {known.label} the reference takes {ours} and the port {theirs}")
    return None


def _way(gap: Gap, array: np.ndarray, made: np.ndarray) -> str:
    for text, joined in _ways(gap, array):
        if joined.shape == made.shape and apart(joined, made) <= 4 * gap.limit:
            return text
        # One number for each that is repeated along the features.
        is_repeated = joined.ndim == made.ndim == 2 and joined.shape[0] == made.shape[0]
        if is_repeated and apart(np.broadcast_to(joined[:, :1], made.shape), made) <= 4 * gap.limit:
            return f"{text}, the first of them,"
    return _taken(gap, array, made)


def _ways(gap: Gap, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for axis in range(1, array.ndim):
        where = f"along axis {axis}"
        yield f"the mean {where}", array.mean(axis)
        yield f"the sum {where}", array.sum(axis)
        yield f"the largest {where}", array.max(axis)
        yield f"the smallest {where}", array.min(axis)
        for given in gap.masks:
            if given.shape != array.shape[: given.ndim] or given.ndim != axis + 1:
                continue
            weights = given.reshape(*given.shape, *[1] * (array.ndim - given.ndim))
            for text, each in (("where the mask is 1", weights), ("where the mask is 0", 1 - weights)):
                total, count = (array * each).sum(axis), each.sum(axis)
                yield f"the sum {where} {text}", total
                yield f"the mean {where} {text}", total / np.maximum(count, 1)
                yield f"the sum {where} {text} by the number of all", total / array.shape[axis]


def _taken(gap: Gap, array: np.ndarray, made: np.ndarray) -> str:
    """One position of each sequence."""
    if array.shape[:1] + array.shape[2:] != made.shape:
        return ""
    found = [
        next((place for place, each in enumerate(row) if apart(each, one) <= 4 * gap.limit), -1)
        for row, one in zip(array, made, strict=True)
    ]
    return f"positions {found}" if found and min(found) >= 0 else ""
