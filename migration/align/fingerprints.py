"""Fingerprints: the gradients at the symmetric point, matched inside a shape class whatever the order of their axes.

Sums over all entries do not depend on the order of the axes: by them candidates are found in a sorted list, so that
only few pairs are ever compared entry by entry and the work grows with n log n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np

from .closeness import error, norm

Order = tuple[int, ...]

# How far the sums of two equal gradients may be apart, relative to their norms; rounding stays far below it.
COARSE = 1e-3
# A partner is settled when the next best is this much worse; anything between is left to weaker evidence.
MARGIN = 16.0
# Candidates that are compared entry by entry. More that agree in all sums are copies of one another.
MOST = 12


class Candidate(NamedTuple):
    """A port's tensor that a reference's may be, and the order of its axes, those of length 1 left out."""

    path: str
    order: Order
    error: float


def candidates(
    reference: Mapping[str, np.ndarray], port: Mapping[str, np.ndarray], limit: float
) -> dict[str, list[Candidate]]:
    """For each fingerprint of a class those of the port that equal it, best first.

    Only errors up to `limit`, or as small as MARGIN times the best if that is within COARSE: rounding differs from
    program to program, and a tensor whose gradient is a small difference of large numbers has more of it.
    """
    if not reference or not port:
        return {path: [] for path in reference}
    paths = list(port)
    sums = np.array([_sums(port[path]) for path in paths])
    ranking = np.argsort(sums[:, 0], kind="stable")
    ranked = sums[ranking]
    found = {}
    for path, gradient in reference.items():
        near = _near(_sums(gradient), ranked)
        compared = [each for place in near for each in _compared(gradient, paths[ranking[place]], port)]
        compared.sort(key=lambda each: each.error)
        best = compared[0].error if compared else 0.0
        found[path] = [each for each in compared if each.error <= min(max(limit, best * MARGIN), COARSE)]
    return found


def settled(found: Mapping[str, Sequence[Candidate]]) -> dict[str, Candidate]:
    """Those with one candidate, in one order of the axes, that is no other's."""
    takers: dict[str, int] = {}
    for each in found.values():
        for path in {candidate.path for candidate in each}:
            takers[path] = takers.get(path, 0) + 1
    return {path: each[0] for path, each in found.items() if len(each) == 1 and takers[each[0].path] == 1}


def orders(shape: tuple[int, ...], port_shape: tuple[int, ...]) -> list[Order]:
    """Every order of the axes longer than 1 that makes the one shape the other."""
    long, wanted = (tuple(length for length in each if length != 1) for each in (shape, port_shape))
    if sorted(long) != sorted(wanted):
        return []
    return [order for order in permutations(range(len(long))) if tuple(long[axis] for axis in order) == wanted]


def reordered(array: np.ndarray, order: Order, port_shape: tuple[int, ...]) -> np.ndarray:
    """The array with its axes in the port's order."""
    return array.reshape([length for length in array.shape if length != 1]).transpose(order).reshape(port_shape)


def _sums(gradient: np.ndarray) -> tuple[float, float, float]:
    """The logarithm of the norm, and the sums of the entries and of their cubes relative to it."""
    size = norm(gradient)
    flat = (gradient.ravel() / size).astype(np.float64)
    return np.log(size), flat.sum() / np.sqrt(flat.size), (flat**3).sum()


def _near(sums: tuple[float, float, float], ranked: np.ndarray) -> np.ndarray:
    """The places in the ranking that agree with the sums, the closest ones."""
    low, high = np.searchsorted(ranked[:, 0], [sums[0] - COARSE, sums[0] + COARSE])
    apart = np.abs(ranked[low:high] - sums).max(axis=1, initial=0.0)
    near = np.flatnonzero(apart <= 3 * COARSE)
    return low + near[np.argsort(apart[near], kind="stable")[:MOST]]


def _compared(gradient: np.ndarray, path: str, port: Mapping[str, np.ndarray]) -> list[Candidate]:
    other = port[path]
    return [
        Candidate(path, order, error(reordered(gradient, order, other.shape), other))
        for order in orders(gradient.shape, other.shape)
    ]
