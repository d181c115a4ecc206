"""Fingerprints: the gradients at the symmetric point, matched inside a shape class whatever the order of their axes.

Sums over all entries do not depend on the order of the axes: by them candidates are found in a sorted list, so that
only few pairs are ever compared entry by entry and the work grows with n log n.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import permutations
from math import prod
from typing import NamedTuple

import numpy as np

from .closeness import error, norm

Shape = tuple[int, ...]


class Shuffle(NamedTuple):
    """An axis whose entries the other side has in another order: seen as `lengths`, which change places.

    What a convolution gives is flattened channels first on one side, and last on the other.
    axis: of those longer than 1.
    """

    axis: int
    lengths: Shape
    order: tuple[int, ...]


class Order(NamedTuple):
    """How the reference's axes become the port's, those of length 1 left out."""

    axes: tuple[int, ...]
    shuffle: Shuffle | None = None


# How far the sums of two equal gradients may be apart, relative to their norms; rounding stays far below it.
COARSE = 1e-3
# A partner is settled when the next best is this much worse; anything between is left to weaker evidence.
MARGIN = 16.0
# Candidates that are compared entry by entry. More that agree in all sums are copies of one another.
MOST = 12


class Candidate(NamedTuple):
    """A port's tensor that a reference's may be, and the order of its axes."""

    path: str
    order: Order
    error: float


def candidates(
    reference: Mapping[str, np.ndarray],
    port: Mapping[str, np.ndarray],
    limit: float,
    shuffled: Collection[int] = (),
) -> dict[str, list[Candidate]]:
    """For each fingerprint of a class those of the port that equal it, best first.

    Only errors up to `limit`, or as small as MARGIN times the best if that is within COARSE: rounding differs from
    program to program, and a tensor whose gradient is a small difference of large numbers has more of it.

    shuffled: the lengths of the axes that may be shuffled.
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
        compared = [each for place in near for each in _compared(gradient, paths[ranking[place]], port, shuffled)]
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


def orders(shape: Shape, port_shape: Shape) -> list[Order]:
    """Every order of the axes longer than 1 that makes the one shape the other."""
    long, wanted = (tuple(length for length in each if length != 1) for each in (shape, port_shape))
    if sorted(long) != sorted(wanted):
        return []
    found = (order for order in permutations(range(len(long))) if tuple(long[axis] for axis in order) == wanted)
    return [Order(order) for order in found]


def reordered(array: np.ndarray, order: Order, port_shape: Shape) -> np.ndarray:
    """The array with its axes in the port's order."""
    long = array.reshape([length for length in array.shape if length != 1])
    if order.shuffle is not None:
        long = np.take(long, permuted(order.shuffle), order.shuffle.axis)
    return long.transpose(order.axes).reshape(port_shape)


def permuted(shuffle: Shuffle) -> np.ndarray:
    """The places that the entries come from."""
    return np.arange(prod(shuffle.lengths)).reshape(shuffle.lengths).transpose(shuffle.order).ravel()


@lru_cache(maxsize=64)
def shuffles(length: int) -> list[tuple[Shape, tuple[int, ...]]]:
    """Every other order that an axis of that length may have, seen as two or three axes."""
    seen = {np.arange(length).tobytes()}
    found = []
    for lengths in _factored(length):
        for order in permutations(range(len(lengths))):
            places = permuted(Shuffle(0, lengths, order)).tobytes()
            if places not in seen:
                seen.add(places)
                found.append((lengths, order))
    return found


def _factored(length: int) -> Iterator[Shape]:
    two = [(each, length // each) for each in range(2, length) if length % each == 0]
    yield from two
    yield from ((first, each, rest // each) for first, rest in two for each in range(2, rest) if rest % each == 0)


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


def _compared(
    gradient: np.ndarray, path: str, port: Mapping[str, np.ndarray], shuffled: Collection[int]
) -> list[Candidate]:
    other = port[path]
    found = [
        Candidate(path, order, error(reordered(gradient, order, other.shape), other))
        for order in orders(gradient.shape, other.shape)
    ]
    for order in orders(gradient.shape, other.shape):
        found += _shuffled(gradient, path, other, order, shuffled)
    return found


def _shuffled(
    gradient: np.ndarray, path: str, other: np.ndarray, order: Order, shuffled: Collection[int]
) -> Iterator[Candidate]:
    """The same with each axis of such a length in every order that its norms along it allow."""
    long = [length for length in gradient.shape if length != 1]
    array, partner = gradient.reshape(long), other.reshape([length for length in other.shape if length != 1])
    for axis, length in enumerate(long):
        if length not in shuffled:
            continue
        along, theirs = _norms(array, axis), _norms(partner, order.axes.index(axis))
        for lengths, places in shuffles(length):
            shuffle = Shuffle(axis, lengths, places)
            if error(along[permuted(shuffle)], theirs) <= COARSE:
                made = Order(order.axes, shuffle)
                yield Candidate(path, made, error(reordered(gradient, made, other.shape), other))


def _norms(array: np.ndarray, axis: int) -> np.ndarray:
    rest = tuple(each for each in range(array.ndim) if each != axis)
    return np.sqrt((array.astype(np.float64) ** 2).sum(axis=rest))
