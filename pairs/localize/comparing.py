"""Comparing: how far an array of the port is from one of the reference, whatever the order of their axes.

One framework has channels first and the other last, one splits heads off and the other has them merged. So the port's
array is seen in every way that gives the reference's shape, and the closest counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, permutations
from typing import NamedTuple

import numpy as np

from ...common.wing import is_floating
from ..closeness import relative_error

# Of an array of many axes of one length not all orders are tried.
_MOST_ORDERS = 720


class ClosestView(NamedTuple):
    """The error beside the norm of the reference's array, and the port's array with the reference's axes, beside that.

    order: how the axes of an array of the same shape had to be moved; empty where they had not.
    axes: for each axis of the reference's array that of the port's; empty where they are not as many.
    """

    error: float
    aligned: np.ndarray
    exact: np.ndarray
    order: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()


def closest_view(reference: np.ndarray, port: np.ndarray, limit: float) -> ClosestView | None:
    """The closest of all ways to see the port's array, the first within `limit`.

    One may repeat what the other has once. None where the sizes differ otherwise.
    """
    is_alike = reference.ndim == port.ndim
    if reference.size != port.size:
        try:
            reference, port = np.broadcast_arrays(reference, port)
        except ValueError:
            return None
    exact, best = wide(reference), None
    for order, seen in islice(views_of(wide(port), reference.shape), _MOST_ORDERS):
        error = apart(seen, exact)
        if best is None or error < best.error:
            moved = order if port.shape == reference.shape and order != tuple(range(port.ndim)) else ()
            best = ClosestView(error, seen, exact, moved, order if is_alike else ())
        if error <= limit:
            return best
    # What was flattened with its axes in another order no view shows.
    unordered = apart(np.sort(port, axis=None).astype(np.float64), np.sort(reference, axis=None).astype(np.float64))
    if best is None or unordered <= limit:
        aligned = best.aligned if best else wide(port).reshape(reference.shape)
        return ClosestView(unordered if unordered <= limit else math.inf, aligned, exact)
    return best


def axis_text(axes: Sequence[int], axis: int) -> str:
    """An axis of the reference's array, called as it is in the port's. axes: of a `ClosestView`."""
    return f"axis {axes[axis]}" if axes else f"axis that is {axis} in the reference"


def orders(fine: tuple[int, ...], coarse: tuple[int, ...]) -> int:
    """In how many orders of its axes an array of one shape can be seen in another one; beyond one they are not counted.

    Axes are moved and merged, or split and moved.
    """
    fine, coarse = (fine, coarse) if len(fine) >= len(coarse) else (coarse, fine)
    return len(list(islice(_orders(fine, coarse), 2)))


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def apart(found: np.ndarray, exact: np.ndarray) -> float:
    """||found - exact|| / ||exact||, entries aside that are infinite alike; infinite where only one side is."""
    here, there = np.isfinite(found), np.isfinite(exact)
    if not np.array_equal(here, there) or not np.array_equal(found[~here], exact[~there], equal_nan=True):
        return math.inf
    return relative_error(found[here], exact[there])


def rounding(arrays: Mapping[str, np.ndarray]) -> float:
    """The unit of rounding of the coarsest floating-point array."""
    return max((unit(array) for array in arrays.values() if is_floating(array)), default=0.0)


def unit(array: np.ndarray) -> float:
    """The distance from 1 to the next number of the array's type."""
    import ml_dtypes

    return float(ml_dtypes.finfo(array.dtype).eps) if is_floating(array) else 0.0


def views_of(array: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """The array in every way that gives `shape`: axes moved, then merged, or split and then moved.

    Each with the order in which its axes are moved; empty where they are split.
    """
    if array.ndim >= len(shape):
        for order in _orders(array.shape, shape):
            yield order, array.transpose(order).reshape(shape)
        return
    for order in _orders(shape, array.shape):
        split = array.reshape(tuple(shape[axis] for axis in order))
        yield (), split.transpose(np.argsort(order))


def _orders(fine: tuple[int, ...], coarse: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The orders of the axes of `fine` in which merging neighbours gives `coarse`, the order as it is first."""
    return (
        order
        for order in islice(permutations(range(len(fine))), 5040)
        if _merges(tuple(fine[axis] for axis in order), coarse)
    )


def _merges(fine: tuple[int, ...], coarse: tuple[int, ...]) -> bool:
    lengths = iter([length for length in fine if length != 1])
    for whole in (length for length in coarse if length != 1):
        product = 1
        while product < whole:
            product *= next(lengths, whole + 1)
        if product != whole:
            return False
    return next(lengths, None) is None
