"""Matched draws: entry i of a reference's draw beside entry i of a port's, both rounded alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from ...common.errors import ShapeError
from .rounding import coarser

Values = np.ndarray[Any, Any]

# How many entries of each side are enough: for a factor of 1.06 on the std at any level that is left of 1e-6.
_MOST_MATCHED = 2**16


@dataclass(frozen=True)
class Matched:
    """`(draws, entries)` of both sides in float64, and their normal scores in the pooled sample.

    A score is Phi^-1 of the value's rank among all values of both sides, those that are equal having their middle rank
    (van der Waerden 1952). Exchanging two values exchanges their scores, and changes no other one.

    indices: `(entries,)`, where the entries stand in the flattened parameter of `shape`.
    """

    reference: Values
    port: Values
    reference_z: Values
    port_z: Values
    indices: Values
    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        """How many values each side has."""
        return self.reference.size


def in_one_format(reference: Values, port: Values, path: str = "") -> tuple[Values, Values]:
    """Both sides' `(draws, *shape)` with the same number of draws, rounded to the coarser of their dtypes.

    Raises:
        ShapeError: unequal shapes, or fewer than two draws of one side.
    """
    reference, port = np.asarray(reference), np.asarray(port)
    if reference.ndim == 0 or reference.shape[1:] != port.shape[1:] or port.ndim == 0:
        raise ShapeError(path, f"draws of the port of shape (draws, *{reference.shape[1:]})", f"shape {port.shape}")
    count = min(len(reference), len(port))
    if count < 2:
        remedy = "A value that is constant shows by a second draw."
        raise ShapeError(path, "two draws or more of each side", f"{len(reference)} and {len(port)}", remedy)
    reference, port = reference[:count], port[:count]
    common = coarser(reference.dtype, port.dtype)
    if common is None or reference.dtype == port.dtype:
        return reference, port
    return reference.astype(common), port.astype(common)


def matched(reference: Values, port: Values, random: Values | None = None, most: int = _MOST_MATCHED) -> Matched:
    """At most `most` values of each side; of a large parameter at indices that are spread over all rows and columns.

    reference, port: `(draws, *shape)`, with as many draws each.
    random: by flat index, which entries are random on a side. It must not depend on which side is which.
    """
    shape = reference.shape[1:]
    first, second = reference.reshape(len(reference), -1), port.reshape(len(port), -1)
    indices = np.arange(first.shape[1]) if random is None or random.all() else np.flatnonzero(random)
    indices = spread(indices, max(1, most // len(first)), shape)
    one, other = first[:, indices].astype(np.float64), second[:, indices].astype(np.float64)
    z = _normal_scores(np.concatenate([one.ravel(), other.ravel()]))
    return Matched(one, other, z[: one.size].reshape(one.shape), z[one.size :].reshape(one.shape), indices, shape)


def spread(indices: Values, most: int, shape: tuple[int, ...]) -> Values:
    """Every k-th of the flat indices into a parameter of `shape`, at most `most` of them.

    k has no divisor in common with any length of the shape but the first, so that a step visits all rows, which are
    runs of indices, and all columns equally often up to one.
    """
    step = -(-len(indices) // most)
    while any(math.gcd(step, length) > 1 for length in shape[1:]):
        step += 1
    return indices[::step]


def _normal_scores(values: Values) -> Values:
    """Phi^-1((rank - 1/2) / n), `(n,)`, equal values by the middle of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle = last - (counts - 1) / 2
    return special.ndtri((middle - 0.5) / len(values))[inverse.reshape(values.shape)]
