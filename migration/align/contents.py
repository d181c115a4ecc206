"""What the tensors are filled with at the symmetric point: by shape class alone.

Two tensors are of one *shape class* when their shapes, sorted and with 1s dropped, are equal. At the symmetric point
every tensor of a class holds the same numbers, and swapping axes of equal length changes none of them. So whatever the
true map is, it carries one side's values into the other's.

Sizes, and why all of it is float32: see `pairs/values.py`, which has the values of the proof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, permutations, product

import numpy as np

from ...common.seeding import generator
from ...pairs.values import ShapeClass, drawn, shape_class
from .axis_groupings import Structure


@lru_cache(maxsize=256)
def symmetric(of: ShapeClass) -> np.ndarray:
    """The content of a class: an array of its sorted shape, the same in every process."""
    one = drawn(of, generator(0, f"symmetric point {of}")).astype(np.float64)
    orders = _swaps(of)
    # The sum of k independent numbers is wider by sqrt(k). Rounded last, since a sum depends on the order of its terms.
    total = sum(one.transpose(order) for order in orders) / math.sqrt(len(orders))
    return np.asarray(total, np.float32)


def filled(path: str, shape: tuple[int, ...], structure: Structure, side: int) -> np.ndarray:
    """What a tensor holds at the symmetric point: its class's content, seen as the structure reads the tensor.

    It repeats along what is counted, and along an axis that holds several things, so that each of them holds the same.
    """
    grouping = structure.grouping(side, path, shape)
    kept = [math.prod(shape[axis] for axis in run) for run in grouping.runs]
    seen = [1 if position in grouping.counted else length for position, length in enumerate(kept)]
    content = _content(tuple(length for length in grouping.lengths(shape) if length != 1), structure)
    return np.broadcast_to(content.reshape(seen), kept).reshape(shape)


def _content(lengths: tuple[int, ...], structure: Structure) -> np.ndarray:
    """The content of a class with its axes in the order of `lengths`."""
    for axis, length in enumerate(lengths):
        parts = structure.unequal.get(length)
        if parts is not None:
            made = (_content((*lengths[:axis], part, *lengths[axis + 1 :]), structure) for part in parts)
            return np.concatenate(list(made), axis)
    periods = structure.periods
    short = [periods.get(length, length) for length in lengths]
    order = np.argsort(short, kind="stable")
    content = symmetric(shape_class(lengths, periods)).transpose(np.argsort(order, kind="stable"))
    if len(lengths) > 2:
        content = _both_ways(content, [axis for axis, length in enumerate(lengths) if length in structure.turned])
    return np.tile(content, [length // period for length, period in zip(lengths, short, strict=True)])


def _both_ways(content: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The content made the same backwards along each of the axes."""
    made = content.astype(np.float64)
    for axis in axes:
        made = (made + np.flip(made, axis)) / math.sqrt(2)
    return made.astype(np.float32)


def _swaps(of: ShapeClass) -> list[tuple[int, ...]]:
    """Every order of the axes that leaves the sorted shape as it is."""
    runs, first = [], 0
    for _, run in groupby(of):
        count = len(list(run))
        runs.append(list(permutations(range(first, first + count))))
        first += count
    return [tuple(axis for part in parts for axis in part) for parts in product(*runs)]
