"""Rough matching, for programs that differ: which tensor is most likely which, so that the difference can be located.

Gradients of two programs that differ in one place are still alike, and where they and the names tell nothing, the
order of the calls does. Nothing is proved by it, and no map of it is given
out as one: it says which modules to compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
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
from .points import SymmetricPoint, are_of_one_shape
from .proof import output_errors
from .tie_breaking import similarity

# Of larger classes only the names are compared.
MOST_COMPARED = 64
MOST_NAMED = 1024
# What unlike names weigh beside unlike gradients: where the outputs are nearly equal, and more where they are not.
NAMES, MORE = 0.2, 2.0
# What the order of the calls weighs, as far as names are unlike.
ORDER = 0.5
# What like names of modules weigh beside that they hold the same shapes.
ALIKE = 0.3
# Gradients that are less unlike than this tell the order of the axes.
CLEAR = 0.1


class Calls(NamedTuple):
    """What the calls of a side's modules tell of its tensors.

    order: that in which they begin, the others after them as they are defined. shared: what is used more than once.
    """

    order: Mapping[str, int]
    shared: frozenset[str]


def calls_of(side: Side, point: SymmetricPoint) -> Calls:
    """The calls at a point."""
    try:
        traces = side.traced(point.weights[side.number])
    except (PairError, NotExpressibleError):
        # Some programs do not run where their calls are watched; the order of their definition is left.
        traces = ()
    held = [path for trace in traces for path in trace.holds]
    tied = {path for path, native in side.tensors.items() if native.aliases}
    # What a module holds that is not called itself is used by the innermost call around it, the last in this order.
    deeper = sorted(range(len(traces)), key=lambda number: traces[number].depth)
    used = {path: number for number in deeper if traces[number].path for path in traces[number].subtree}
    used |= dict.fromkeys(held, -1)
    begun = [
        path
        for number, trace in enumerate(traces)
        for path in trace.subtree
        if path in trace.holds or used.get(path) == number
    ]
    order = {path: number for number, path in enumerate(dict.fromkeys((*begun, *side.tensors)))}
    return Calls(order, frozenset(tied | {path for path, times in Counter(held).items() if times > 1}))


def by_tensors(point: SymmetricPoint, reference: Side, port: Side, calls: Sequence[Calls]) -> Candidates:
    """The most likely partners, by gradients at the point and by names, for all parts of the likeliest partition."""
    return _matched(point, opened(point, reference, port), calls, ())


def by_modules(point: SymmetricPoint, reference: Side, port: Side, calls: Sequence[Calls]) -> Candidates:
    """The same, but first whole modules in the order of the calls, in which what one side lacks leaves a place."""
    candidates = opened(point, reference, port)
    ours, theirs = (_modules(candidates, side, calls[side].order) for side in (0, 1))
    return _matched(point, candidates, calls, in_order(ours, theirs))


def _matched(
    point: SymmetricPoint,
    candidates: Candidates,
    calls: Sequence[Calls],
    modules: Iterable[tuple[list[Part], list[Part]]],
) -> Candidates:
    """The partners, those inside of the modules that are partners first."""
    names = NAMES + MORE * min(_apart(point), 1.0)
    found: list[_Guess] = []
    for parts in modules:
        ours, theirs = (_by_class(each) for each in parts)
        for of, members in ours.items():
            found += _assigned(point, members, theirs[of], names, np.zeros((len(members), len(theirs[of]))))
    done = {guess.part.key for guess in found}, {guess.other.key for guess in found}
    ours, theirs = (_by_class(_parts(candidates, side), done[side]) for side in (0, 1))
    for of, members in ours.items():
        partners = theirs.get(of, [])
        if len(members) * len(partners) <= MOST_NAMED**2:
            ranks = [_ranks(each, known.order) for each, known in zip((members, partners), calls, strict=True)]
            found += _assigned(point, members, partners, names, np.abs(ranks[0][:, None] - ranks[1]))
    # The clear ones first: an order of axes that is not clear is that of the others of these names, or of the layer.
    for guess in sorted(found, key=lambda guess: (not guess.is_told, guess.unlike)):
        ways, pair = orders(guess.part.shape, guess.other.shape), (guess.part.key, guess.other.key)
        usual = candidates.usual_order(*pair, ways) if guess.unlike > CLEAR or not guess.is_told else None
        if usual is None and (guess.unlike > CLEAR or not guess.is_told):
            usual = candidates.layout(*pair, ways)
        candidates.match(*pair, usual or guess.order, "name")
    _share(candidates, calls)
    return candidates


def _share(candidates: Candidates, calls: Sequence[Calls]) -> None:
    """A matrix without a partner is a copy of what the other side uses more than once, if one alone can be that."""
    for side in (0, 1):
        left = [part for part in _parts(candidates, side) if len(shape_class(part.shape)) > 1]
        for part in left:
            if part.key in (candidates.taken if side else candidates.matches):
                continue
            used = [
                (key, match)
                for key, match in candidates.matches.items()
                if candidates.path(1 - side, match.key if not side else key) in calls[1 - side].shared
                and orders(part.shape, candidates.parts[1 - side][match.key if not side else key].shape)
            ]
            if len(used) == 1 and used[0][0] not in candidates.copied:
                ((key, match),) = used
                candidates.copied[key] = [match]
                one, other = (key, part.key) if side else (part.key, match.key)
                ways = orders(candidates.parts[0][one].shape, candidates.parts[1][other].shape)
                candidates.copy(one, other, candidates.layout(one, other, ways) or ways[0])


def _apart(point: SymmetricPoint) -> float:
    if not are_of_one_shape(point):
        return 1.0
    return max((size for _, _, size in output_errors(*(probe.outputs for probe in point.probes))), default=1.0)


def in_order(
    ours: Mapping[str, list[Part]], theirs: Mapping[str, list[Part]]
) -> Iterator[tuple[list[Part], list[Part]]]:
    """The modules of both sides that hold the same shapes, as many as can be without crossing, the likest names first.

    ours, theirs: the parts by module, in the order of the calls.
    """
    if len(ours) * len(theirs) > MOST_NAMED**2:
        return
    worth = np.reshape([[_worth(*one, *other) for other in theirs.items()] for one in ours.items()], (len(ours), -1))
    best = np.zeros((len(ours) + 1, len(theirs) + 1))
    for row, each in enumerate(worth, 1):
        taken = np.maximum(best[row - 1, 1:], best[row - 1, :-1] + each)
        best[row, 1:] = np.maximum.accumulate(taken)
    row, column, (left, right) = len(ours), len(theirs), ([*ours.values()], [*theirs.values()])
    while row and column:
        if best[row, column] == best[row - 1, column]:
            row -= 1
        elif best[row, column] == best[row, column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            yield left[row], right[column]


def _worth(one: str, parts: list[Part], other: str, partners: list[Part]) -> float:
    """What it is worth that two modules are partners: of those that do not hold the same it is nothing."""
    ours, theirs = (sorted(shape_class(part.shape) for part in each) for each in (parts, partners))
    return 1.0 + ALIKE * similarity(one, other) if ours == theirs else 0.0


def _ranks(parts: list[Part], order: Mapping[str, int]) -> np.ndarray:
    """Where each part stands among these, from 0 to 1."""
    places = np.argsort(np.argsort([order[part.path] for part in parts], kind="stable"))
    return places / max(len(parts) - 1, 1)


def _parts(candidates: Candidates, side: int) -> Iterator[Part]:
    """The parts of each tensor's last partition, which is the one that takes it apart."""
    for partitions in candidates.partitions[side].values():
        yield from partitions[-1] if partitions else ()


def _modules(candidates: Candidates, side: int, order: Mapping[str, int]) -> dict[str, list[Part]]:
    """The parts by module, in the order of the calls."""
    found: dict[str, list[Part]] = {}
    for part in sorted(_parts(candidates, side), key=lambda part: order[part.path]):
        found.setdefault(part.module, []).append(part)
    return found


def _by_class(parts: Iterable[Part], done: Container[str] = ()) -> dict[ShapeClass, list[Part]]:
    found: dict[ShapeClass, list[Part]] = {}
    for part in parts:
        if part.key not in done:
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
