"""Rough matching, for programs that differ: which tensor is most likely which, so that the difference can be located.

Gradients of two programs that differ in one place are still alike. Nothing is proved by it, and no map of it is given
out as one: it says which modules to compare.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...common.maps import Map
from .closeness import error
from .contents import ShapeClass, shape_class
from .fingerprints import Order, orders, reordered
from .ledger import Ledger, opened
from .leftovers import similarity
from .points import Point
from .readings import Part
from .rows import map_of
from .sides import Side

# Of larger classes only the names are compared.
MOST_COMPARED = 64
MOST_NAMED = 1024
# What unlike names weigh beside unlike gradients.
NAMES = 0.2


def rough_map(point: Point, reference: Side, port: Side) -> Map:
    """The most likely partners, by gradients at the point and by names, for all parts of the likeliest family."""
    ledger = opened(point, reference, port)
    ours, theirs = (_classes(ledger, side) for side in (reference, port))
    for of, members in ours.items():
        partners = theirs.get(of, [])
        if len(members) * len(partners) <= MOST_NAMED**2:
            _assign(ledger, point, members, partners)
    return map_of(ledger, point.trial, reference, port)


def _classes(ledger: Ledger, side: Side) -> dict[ShapeClass, list[Part]]:
    """The parts of each tensor's last family, which is the one that takes it apart."""
    found: dict[ShapeClass, list[Part]] = {}
    for families in ledger.families[side.number].values():
        for part in families[-1] if families else ():
            found.setdefault(shape_class(part.shape), []).append(part)
    return found


def _assign(ledger: Ledger, point: Point, members: list[Part], partners: list[Part]) -> None:
    costs = np.zeros((len(members), len(partners)))
    best: dict[tuple[int, int], Order] = {}
    is_compared = max(costs.shape, default=0) <= MOST_COMPARED
    for row, part in enumerate(members):
        for column, other in enumerate(partners):
            unlike, order = _unlike(part, other, point) if is_compared else (1.0, None)
            possible = order or next(iter(orders(part.shape, other.shape)), None)
            costs[row, column] = unlike + NAMES * (1.5 - similarity(part.key, other.key)) + 4.0 * (possible is None)
            if possible is not None:
                best[row, column] = possible
    for row, column in zip(*linear_sum_assignment(costs), strict=True):
        if (row, column) in best:
            ledger.match(members[row].key, partners[column].key, best[row, column], "name")


def _unlike(part: Part, other: Part, point: Point) -> tuple[float, Order | None]:
    """How far two gradients are apart beside the larger one, at most 1, and in which order of the axes."""
    ours, theirs = (probe.gradients.get(each.path) for probe, each in zip(point.probes, (part, other), strict=True))
    if ours is None or theirs is None:
        return float((ours is None) != (theirs is None)), None
    own, partner = part.of(ours), other.of(theirs)
    found = [
        (error(reordered(own, order, partner.shape), partner), order) for order in orders(own.shape, partner.shape)
    ]
    closest, order = min(found, key=lambda each: each[0], default=(1.0, None))
    return min(closest, 1.0), order
