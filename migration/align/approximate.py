"""Rough matching, for programs that differ: which tensor is most likely which, so that the difference can be located.

Gradients of two programs that differ in one place are still alike, and where they and the names tell nothing, the
order of the calls does. Nothing is proved by it, and no map of it is given
out as one: it says which modules to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...common.errors import NotExpressibleError
from ...common.wing import PairError
from ...pairs.closeness import relative_error
from ...pairs.side import Side
from ...pairs.values import ShapeClass, shape_class
from .axis_groupings import Part
from .candidates import Candidates, opened
from .fingerprints import Order, orders, reordered
from .points import SymmetricPoint
from .proof import output_errors
from .tie_breaking import similarity

# Of larger classes only the names are compared.
MOST_COMPARED = 64
MOST_NAMED = 1024
# What unlike names weigh beside unlike gradients: where the outputs are nearly equal, and more where they are not.
NAMES, MORE = 0.2, 2.0
# What the order of the calls weighs, as far as names are unlike.
ORDER = 0.5
# Gradients that are less unlike than this tell the order of the axes.
CLEAR = 0.1


def approximate(point: SymmetricPoint, reference: Side, port: Side) -> Candidates:
    """The most likely partners, by gradients at the point and by names, for all parts of the likeliest partition."""
    candidates = opened(point, reference, port)
    ours, theirs = (_classes(candidates, side) for side in (reference, port))
    apart = max((size for _, _, size in output_errors(*(probe.outputs for probe in point.probes))), default=1.0)
    names = NAMES + MORE * min(apart, 1.0)
    calls = [_execution_order(side, point) for side in (reference, port)]
    found: list[_Guess] = []
    for of, members in ours.items():
        partners = theirs.get(of, [])
        if len(members) * len(partners) <= MOST_NAMED**2:
            ranks = [_ranks(each, order) for each, order in zip((members, partners), calls, strict=True)]
            found += _assigned(point, members, partners, names, np.abs(ranks[0][:, None] - ranks[1]))
    # The clear ones first: an order of axes that is not clear is that of the others of these names, or of the layer.
    for guess in sorted(found, key=lambda guess: (not guess.is_told, guess.unlike)):
        ways, pair = orders(guess.part.shape, guess.other.shape), (guess.part.key, guess.other.key)
        usual = candidates.usual_order(*pair, ways) if guess.unlike > CLEAR or not guess.is_told else None
        if usual is None and not guess.is_told:
            usual = candidates.layout(*pair, ways)
        candidates.match(*pair, usual or guess.order, "name")
    return candidates


def _execution_order(side: Side, point: SymmetricPoint) -> dict[str, int]:
    """The tensors in the order in which the calls of their modules begin, the others after them as they are defined."""
    try:
        traces = side.traced(point.weights[side.number])
    except (PairError, NotExpressibleError):
        # Some programs do not run where their calls are watched; the order of their definition is left.
        traces = ()
    paths = (*(path for trace in traces for path in trace.holds), *side.tensors)
    return {path: number for number, path in enumerate(dict.fromkeys(paths))}


def _ranks(parts: list[Part], order: Mapping[str, int]) -> np.ndarray:
    """Where each part stands among these, from 0 to 1."""
    places = np.argsort(np.argsort([order[part.path] for part in parts], kind="stable"))
    return places / max(len(parts) - 1, 1)


def _classes(candidates: Candidates, side: Side) -> dict[ShapeClass, list[Part]]:
    """The parts of each tensor's last partition, which is the one that takes it apart."""
    found: dict[ShapeClass, list[Part]] = {}
    for partitions in candidates.partitions[side.number].values():
        for part in partitions[-1] if partitions else ():
            found.setdefault(shape_class(part.shape), []).append(part)
    return found


class _Guess(NamedTuple):
    """Two parts that are likely one, how unlike their gradients are, and the order of the axes that fits them best.

    is_told: whether the gradients tell that order.
    """

    part: Part
    other: Part
    unlike: float
    order: Order
    is_told: bool


def _assigned(
    point: SymmetricPoint, members: list[Part], partners: list[Part], names: float, away: np.ndarray
) -> Iterator[_Guess]:
    """away: how far apart the members and the partners stand in the order of their calls."""
    alike = np.reshape([[similarity(part.key, other.key) for other in partners] for part in members], away.shape)
    # Where no name is much like another, the order is what is left.
    costs = names * (1.5 - alike) + ORDER * (1.5 - alike.max(initial=0.0)) * away
    best: dict[tuple[int, int], _Guess] = {}
    is_compared = max(costs.shape, default=0) <= MOST_COMPARED
    for row, part in enumerate(members):
        for column, other in enumerate(partners):
            unlike, order = _unlike(part, other, point) if is_compared else (1.0, None)
            possible = order or next(iter(orders(part.shape, other.shape)), None)
            costs[row, column] += unlike + 4.0 * (possible is None)
            if possible is not None:
                best[row, column] = _Guess(part, other, unlike, possible, order is not None)
    for row, column in zip(*linear_sum_assignment(costs), strict=True):
        if (row, column) in best:
            yield best[row, column]


def _unlike(part: Part, other: Part, point: SymmetricPoint) -> tuple[float, Order | None]:
    """How far two gradients are apart beside the larger one, at most 1, and in which order of the axes."""
    ours, theirs = (probe.gradients.get(each.path) for probe, each in zip(point.probes, (part, other), strict=True))
    if ours is None or theirs is None:
        return float((ours is None) != (theirs is None)), None
    own, partner = part.of(ours), other.of(theirs)
    found = [
        (relative_error(reordered(own, order, partner.shape), partner), order)
        for order in orders(own.shape, partner.shape)
    ]
    closest, order = min(found, key=lambda each: each[0], default=(1.0, None))
    # Of gradients that are zero every order is right.
    is_told = len([error for error, _ in found if error == closest]) == 1
    return min(closest, 1.0), order if is_told else None
