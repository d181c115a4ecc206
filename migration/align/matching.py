"""From gradients to partners: at the symmetric point, and again with what is settled out of the way.

Once some rows are settled their tensors can have values of their own, carried across, while the open ones stay alike.
The functions are still equal whatever the rest of the map is, and what was silent or alike before often is no more.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np

from ...common.maps import Map, MapRow, permuting
from ...common.pairs import Probe
from .closeness import is_silent, scale
from .contents import ShapeClass, shape_class
from .fingerprints import Candidate, candidates, orders, settled
from .leftovers import Ledger, Match
from .points import Weights, check_same_programs
from .proof import both_probed
from .sides import Side

Gradients = dict[str, np.ndarray]
# Rounds after the first; each but the last must have settled something.
ROUNDS = 4
# Rounding alone can leave a little more than the limit; a gradient this many times as large is one.
CLEARLY = 8.0


@dataclass(frozen=True)
class Matching:
    """What equal gradients settled.

    ledger: the settled rows, and the options of those that have several equals.
    heard: the paths of the reference and of the port that had a clear gradient in some round.
    """

    ledger: Ledger
    heard: tuple[set[str], set[str]]


def matched(reference: Side, port: Side, points: tuple[Weights, Weights], limit: float) -> Matching:
    """Raises AlignmentError or PairError for programs that differ at the symmetric point."""
    ours, theirs = reference.probe(points[0]), port.probe(points[1])
    check_same_programs(reference, port, ours, theirs, limit)
    found = Matching(Ledger({}, {}), (set(), set()))
    _take(found, reference, port, ours, theirs, limit)
    for _ in range(ROUNDS):
        before = len(found.ledger.matches)
        if before == len(reference.tensors):
            break
        _take(found, reference, port, *_apart(found.ledger, reference, port, points), limit)
        if len(found.ledger.matches) == before:
            break
    return found


def with_silent_options(found: Matching, reference: Side, port: Side) -> Ledger:
    """The ledger with options for what no gradient told of: the tensors of its class that are as silent.

    A buffer may also be a parameter and a parameter a buffer, which has no gradient to show.
    """
    ledger, (ours, theirs) = found.ledger, found.heard
    taken = {match.path for match in ledger.matches.values()}
    classes = port.classes(path for path in port.tensors if path not in taken)
    for path, row in reference.tensors.items():
        if path not in ledger.matches and path not in ledger.options:
            ledger.options[path] = {
                other: orders(row.sizes, port.tensors[other].sizes)
                for other in classes.get(shape_class(row.sizes), [])
                if (path not in ours and other not in theirs) or row.kind != port.tensors[other].kind
            }
    return ledger


def map_of(ledger: Ledger, reference: Side, port: Side) -> Map:
    """The settled rows in the reference's order, not proved yet."""
    rows = []
    for path, row in reference.tensors.items():
        match = ledger.matches.get(path)
        if match is not None:
            layout = permuting(row.sizes, match.order, port.tensors[match.path].sizes)
            aliases = reference.aliases(path), port.aliases(match.path)
            rows.append(MapRow(path, match.path, row.sizes, layout, match.evidence, *aliases))
    taken = {row.port for row in rows}
    return Map(
        tuple(rows),
        (reference.wing.NAME, port.wing.NAME),
        tuple(path for path in reference.tensors if path not in ledger.matches),
        tuple(path for path in port.tensors if path not in taken),
        reference.aside,
        port.aside,
    )


def _apart(ledger: Ledger, reference: Side, port: Side, points: tuple[Weights, Weights]) -> tuple[Probe, Probe]:
    """Both sides with distinct values in the settled tensors and the symmetric point's in the open ones."""
    made = map_of(ledger, reference, port)
    taken = {row.port for row in made.rows}
    rest = (
        {path: value for path, value in points[0].items() if path not in ledger.matches},
        {path: value for path, value in points[1].items() if path not in taken},
    )
    return both_probed(made, reference, port, rest)


def _take(found: Matching, reference: Side, port: Side, ours: Probe, theirs: Probe, limit: float) -> None:
    """Settle what is sure by the gradients of the open tensors, and note the options of what has several."""
    matches, options, alike = found.ledger.matches, found.ledger.options, found.ledger.alike
    taken = {match.path for match in matches.values()}
    near: dict[str, list[Candidate]] = {}
    their_classes = _by_class(_loud(port, theirs, limit, taken, found.heard[1]))
    for of, members in _by_class(_loud(reference, ours, limit, matches, found.heard[0])).items():
        near.update(candidates(members, their_classes.get(of, {}), limit))
    sure = settled(near)
    matches.update({path: Match(each.path, each.order, "fingerprint") for path, each in sure.items()})
    taken |= {each.path for each in sure.values()}
    for path, several in near.items():
        options.pop(path, None)
        for candidate in several:
            if path not in sure and candidate.path not in taken:
                options.setdefault(path, {}).setdefault(candidate.path, []).append(candidate.order)
                alike.add(path)


def _loud(side: Side, probe: Probe, limit: float, done: Container[str], heard: set[str]) -> Gradients:
    """The gradients of the open tensors that are more than rounding; those that clearly are, are noted."""
    loudest = scale(probe.gradients)
    found = {}
    for path, gradient in probe.gradients.items():
        if path in side.tensors and path not in done and not is_silent(gradient, loudest, limit):
            found[path] = gradient
            if not is_silent(gradient, loudest, limit * CLEARLY):
                heard.add(path)
    return found


def _by_class(gradients: Mapping[str, np.ndarray]) -> dict[ShapeClass, Gradients]:
    found: dict[ShapeClass, Gradients] = {}
    for path, gradient in gradients.items():
        found.setdefault(shape_class(gradient.shape), {})[path] = gradient
    return found
