"""What the tensors are filled with: at the symmetric point by shape class alone, at the proof each with its own.

Two tensors are of one *shape class* when their shapes, sorted and with 1s dropped, are equal. At the symmetric point
every tensor of a class holds the same numbers, and swapping axes of equal length changes none of them. So whatever the
true map is, it carries one side's values into the other's.

All of it is float32, so that a run in float64 sees the very same numbers. Matrices have mean 0 and the standard
deviation (m n)^(-1/4), that of neither direction of use: up in one layer and down in the next, activations keep their
size. Vectors are positive, since one of them may be a variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby, permutations, product
from types import MappingProxyType

import numpy as np

from ...common.seeding import generator
from .readings import Structure

ShapeClass = tuple[int, ...]


def shape_class(shape: tuple[int, ...], periods: Mapping[int, int] = MappingProxyType({})) -> ShapeClass:
    """The class of a shape; along an axis with a period only that counts."""
    return tuple(sorted(periods.get(length, length) for length in shape if length != 1))


@lru_cache(maxsize=256)
def symmetric(of: ShapeClass) -> np.ndarray:
    """The content of a class: an array of its sorted shape, the same in every process."""
    drawn = _drawn(of, generator(0, f"symmetric point {of}"))
    orders = _swaps(of)
    # The sum of k independent numbers is wider by sqrt(k). Rounded last, since a sum depends on the order of its terms.
    total = sum(drawn.transpose(order) for order in orders) / math.sqrt(len(orders))
    return np.asarray(total, np.float32)


def filled(path: str, shape: tuple[int, ...], structure: Structure, side: int) -> np.ndarray:
    """What a tensor holds at the symmetric point: its class's content, seen as the structure reads the tensor.

    It repeats along what is counted, and along an axis that holds several things, so that each of them holds the same.
    """
    reading = structure.reading(side, path, shape)
    kept = [math.prod(shape[axis] for axis in run) for run in reading.runs]
    seen = [1 if place in reading.counted else length for place, length in enumerate(kept)]
    content = _content(tuple(length for length in reading.lengths(shape) if length != 1), structure)
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


def distinct(path: str, own: np.ndarray, quiet: bool) -> np.ndarray:
    """Fresh values for one tensor, that no other one has.

    Matrices as at the symmetric point, vectors near the values `own` that the tensor has. There gains are large and
    biases small, and what positions of a sequence have in common does not drown in which they differ.

    quiet: all of it small. What is added to a variance shows where the variance is small, and nonlinearities elsewhere.
    """
    of = shape_class(own.shape)
    random = generator(1 + quiet, path)
    if len(of) > 1:
        return (_drawn(of, random) * (0.25 if quiet else 1.0)).reshape(own.shape).astype(np.float32)
    return (_near(own.astype(np.float64), random) * (0.0625 if quiet else 1.0)).astype(np.float32)


def _near(own: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each value by a factor of its own; what is zero a little more, so that a variance stays positive."""
    factors, above = random.uniform(0.75, 1.25, own.shape), random.uniform(0.01, 0.2, own.shape)
    return np.where(np.isfinite(own) & (own != 0), own * factors, above)


def _drawn(of: ShapeClass, random: np.random.Generator) -> np.ndarray:
    if len(of) < 2:
        return random.uniform(0.25, 1.25, of)
    *others, rows, columns = of
    return random.normal(size=of) / math.sqrt(math.prod(others) * math.sqrt(rows * columns))


def _swaps(of: ShapeClass) -> list[tuple[int, ...]]:
    """Every order of the axes that leaves the sorted shape as it is."""
    runs, first = [], 0
    for _, run in groupby(of):
        count = len(list(run))
        runs.append(list(permutations(range(first, first + count))))
        first += count
    return [tuple(axis for part in parts for axis in part) for parts in product(*runs)]
