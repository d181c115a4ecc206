"""Fingerprints: the gradients at the symmetric point, matched inside a shape class whatever the order of their axes.

Sums over all entries do not depend on the order of the axes: by them candidates are found in a sorted list, so that
only few pairs are ever compared entry by entry and the work grows with n log n.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import permutations
from math import prod
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from ...pairs.closeness import norm, relative_error, rows_apart

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
    """How the reference's axes become the port's, those of length 1 left out.

    flips: the port's axes that run backwards, counted with those of length 1.
    """

    axes: tuple[int, ...]
    shuffle: Shuffle | None = None
    flips: tuple[int, ...] = ()


# How far the sums of two equal gradients may be apart, relative to their norms; rounding stays far below it.
COARSE = 1e-3
# A partner is assigned when the next best is this much worse; anything between is left to weaker evidence.
MARGIN = 16.0
# What rounding, and terms of second order, may add to how far sums are apart.
SLACK = 1e-5
# Candidates that are compared entry by entry. More that agree in all sums are copies of one another.
MOST = 12


class FingerprintMatch(NamedTuple):
    """A port's tensor that a reference's may be, and the order of its axes."""

    path: str
    order: Order
    error: float


def fingerprint_matches(
    reference: Mapping[str, np.ndarray],
    port: Mapping[str, np.ndarray],
    limit: float,
    shuffled: Collection[int] = (),
    turned: bool = False,
) -> dict[str, list[FingerprintMatch]]:
    """For each fingerprint of a class those of the port that equal it, best first.

    Only errors up to `limit`, or as small as MARGIN times the best if that is within COARSE: rounding differs from
    program to program, and a tensor whose gradient is a small difference of large numbers has more of it.

    shuffled: the lengths of the axes that may be shuffled.
    turned: whether kernels may run backwards.
    """
    if not reference or not port:
        return {path: [] for path in reference}
    found = {}
    for path, near in _near(reference, port).items():
        compared: list[FingerprintMatch] = []
        most = COARSE
        for apart, other in near:
            if apart > most + SLACK:
                break
            compared += _compared(reference[path], other, port, shuffled, turned)
            best = min((each.error for each in compared), default=0.0)
            most = min(max(limit, best * MARGIN), COARSE)
        compared.sort(key=lambda each: each.error)
        found[path] = [each for each in compared if each.error <= most]
    return found


def but_for_rows(
    reference: Mapping[str, np.ndarray],
    port: Mapping[str, np.ndarray],
    limit: float,
    found: Mapping[str, Sequence[FingerprintMatch]],
) -> dict[str, list[FingerprintMatch]]:
    """Of fingerprints that equal none, those that equal one of the port's but in few rows, which one side may keep.

    found: what others, and these, equal as a whole.
    """
    equal = {each.path for several in found.values() for each in several}
    ours = [path for path in reference if not found.get(path)]
    theirs = [path for path in port if path not in equal]
    if len(ours) * len(theirs) > MOST**2:
        return {}
    matches: dict[str, list[FingerprintMatch]] = {path: [] for path in ours}
    for path in ours:
        for other in theirs:
            for order in orders(reference[path].shape, port[other].shape):
                if rows_apart(port[other], reordered(reference[path], order, port[other].shape), limit) is not None:
                    matches[path].append(FingerprintMatch(other, order, limit))
    return matches


def assigned(found: Mapping[str, Sequence[FingerprintMatch]]) -> dict[str, FingerprintMatch]:
    """Those with one candidate, in one order of the axes, that is no other's."""
    takers: dict[str, int] = {}
    for each in found.values():
        for path in {match.path for match in each}:
            takers[path] = takers.get(path, 0) + 1
    return {path: each[0] for path, each in found.items() if len(each) == 1 and takers[each[0].path] == 1}


@lru_cache(maxsize=1024)
def orders(shape: Shape, port_shape: Shape) -> tuple[Order, ...]:
    """Every order of the axes longer than 1 that makes the one shape the other."""
    long, wanted = (tuple(length for length in each if length != 1) for each in (shape, port_shape))
    if sorted(long) != sorted(wanted):
        return ()
    found = (order for order in permutations(range(len(long))) if tuple(long[axis] for axis in order) == wanted)
    return tuple(Order(order) for order in found)


def reordered(array: np.ndarray, order: Order, port_shape: Shape) -> np.ndarray:
    """The array with its axes in the port's order."""
    long = array.reshape([length for length in array.shape if length != 1])
    if order.shuffle is not None:
        long = np.take(long, permuted(order.shuffle), order.shuffle.axis)
    found = long.transpose(order.axes).reshape(port_shape)
    return np.flip(found, order.flips) if order.flips else found


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
            positions = permuted(Shuffle(0, lengths, order)).tobytes()
            if positions not in seen:
                seen.add(positions)
                found.append((lengths, order))
    return found


def _factored(length: int) -> Iterator[Shape]:
    two = [(each, length // each) for each in range(2, length) if length % each == 0]
    yield from two
    yield from ((first, each, rest // each) for first, rest in two for each in range(2, rest) if rest % each == 0)


def _sums(gradient: np.ndarray) -> tuple[float, float, float]:
    """The logarithm of the norm, and the sums of the entries and of their cubes relative to it.

    Scaled so that none of them differs by more than the error does, to first order.
    """
    size = norm(gradient)
    if not math.isfinite(size):
        return math.nan, 0.0, 0.0
    # Their order does not matter, and a copy would take time.
    flat = gradient.ravel("K") / size
    return math.log(size), float(flat.sum()) / math.sqrt(flat.size), float(np.einsum("i,i->", flat * flat, flat)) / 3


def _near(reference: Mapping[str, np.ndarray], port: Mapping[str, np.ndarray]) -> dict[str, list[tuple[float, str]]]:
    """For each of the reference's those of the port whose sums are nearest, with how far they are apart."""
    ours, theirs = _positions(reference), _positions(port)
    found: dict[str, list[tuple[float, str]]] = {path: [] for path in reference}
    if ours and theirs:
        paths, most = list(theirs), min(MOST, len(theirs))
        tree = KDTree([*theirs.values()])
        told = tree.query([*ours.values()], most, p=np.inf, distance_upper_bound=COARSE + SLACK)
        apart, near = (np.reshape(each, (len(ours), most)).tolist() for each in told)
        for path, distances, positions in zip(ours, apart, near, strict=True):
            # Where there are fewer, the tree gives places beyond the last.
            pairs = zip(distances, positions, strict=True)
            found[path] = [(far, paths[position]) for far, position in pairs if position < len(paths)]
    return found


def _positions(gradients: Mapping[str, np.ndarray]) -> dict[str, tuple[float, ...]]:
    """The sums of each that is finite, and its rank: of thousands of equal ones a tree has to tell some from others."""
    additive = {path: _sums(gradient) for path, gradient in gradients.items()}
    return {
        path: (*each, SLACK * 1e-3 * rank / len(additive))
        for rank, (path, each) in enumerate(additive.items())
        if math.isfinite(each[0])
    }


def _compared(
    gradient: np.ndarray, path: str, port: Mapping[str, np.ndarray], shuffled: Collection[int], turned: bool
) -> list[FingerprintMatch]:
    other = port[path]
    plain = orders(gradient.shape, other.shape)
    possible = [*plain, *(order._replace(flips=flips) for order in plain for flips in _flips(other.shape) if turned)]
    found = [
        FingerprintMatch(path, order, relative_error(reordered(gradient, order, other.shape), other))
        for order in possible
    ]
    for order in plain:
        found += _shuffled(gradient, path, other, order, shuffled)
    return found


def _flips(shape: Shape) -> set[tuple[int, ...]]:
    """The axes of a kernel beside those of the channels, which are the last two or the first two."""
    rank = len(shape)
    ways = (range(rank - 2), range(2, rank)) if rank > 2 else ()
    return {tuple(axis for axis in way if shape[axis] != 1) for way in ways} - {()}


def _shuffled(
    gradient: np.ndarray, path: str, other: np.ndarray, order: Order, shuffled: Collection[int]
) -> Iterator[FingerprintMatch]:
    """The same with each axis of such a length in every order that its norms along it allow."""
    long = [length for length in gradient.shape if length != 1]
    array, partner = gradient.reshape(long), other.reshape([length for length in other.shape if length != 1])
    for axis, length in enumerate(long):
        if length not in shuffled:
            continue
        along, theirs = _norms(array, axis), _norms(partner, order.axes.index(axis))
        for lengths, positions in shuffles(length):
            shuffle = Shuffle(axis, lengths, positions)
            if relative_error(along[permuted(shuffle)], theirs) <= COARSE:
                made = Order(order.axes, shuffle)
                yield FingerprintMatch(path, made, relative_error(reordered(gradient, made, other.shape), other))


def _norms(array: np.ndarray, axis: int) -> np.ndarray:
    rest = tuple(each for each in range(array.ndim) if each != axis)
    return np.sqrt((array.astype(np.float64) ** 2).sum(axis=rest))
