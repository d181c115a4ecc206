"""From gradients to partners: at the symmetric point, and again with what is assigned out of the way.

Once some rows are assigned their tensors can have values of their own, carried across, while the open ones stay alike.
The functions are still equal whatever the rest of the map is, and what had no gradient or an equal one before
often has its own now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ...common.wing import Probe
from ...pairs.closeness import is_zero_gradient, largest_gradient
from ...pairs.maps import Piece
from ...pairs.side import Side
from ...pairs.values import ShapeClass, distinct, shape_class
from .candidates import Candidates, opened
from .copies import assign_copies
from .fingerprints import FingerprintMatch, assigned, but_for_rows, fingerprint_matches, orders
from .points import Hypothesis, SymmetricPoint, Weights
from .rows import carried, rows_of

Gradients = dict[str, np.ndarray]
# Rounds after the first; each but the last must have assigned something.
ROUNDS = 4
# Rounding alone can leave a little more than the limit; a gradient this many times as large is one.
CLEARLY = 8.0
# A part that no gradient tells of has options among at most this many with none, unless numbers tell
# more.
MOST_ZERO = 256


@dataclass(frozen=True)
class Matching:
    """What equal gradients assigned.

    candidates: the assigned rows, and the options of those that have several equals.
    nonzero: the keys of the reference and of the port that had a clear gradient in some round.
    """

    candidates: Candidates
    nonzero: tuple[set[str], set[str]]


def matched(point: SymmetricPoint, reference: Side, port: Side, limit: float, rounds: int = ROUNDS) -> Matching:
    """What the gradients at the point assign, and those after it."""
    found = Matching(opened(point, reference, port), (set(), set()))
    _take(found, point.hypothesis, reference, port, point.probes, limit)
    rematch(found, point, reference, port, limit, rounds)
    return found


def rematch(
    found: Matching, point: SymmetricPoint, reference: Side, port: Side, limit: float, rounds: int = ROUNDS
) -> None:
    """Assign what the gradients tell once what is assigned has values of its own."""
    for _ in range(rounds):
        before = len(found.candidates.matches)
        if next(found.candidates.open_parts(0), None) is None:
            break
        ours, theirs = apart_weights(found.candidates, point, reference, port)
        probes = reference.probe(ours), port.probe(theirs)
        _take(found, point.hypothesis, reference, port, probes, limit)
        if len(found.candidates.matches) == before:
            break


def offer_zero_gradients(found: Matching) -> Candidates:
    """The candidates with options for what no gradient told of: the parts of its class that have none either.

    What is frozen may be one of these even where it has the gradient of another: the other side need not have any of
    it, and may hold a trained tensor beside it that is used alike.
    """
    candidates = found.candidates
    classes: dict[ShapeClass, dict[str, None]] = {}
    for part in candidates.open_parts(1):
        classes.setdefault(shape_class(part.shape), {})[part.key] = None
    # All of a few; of many those whose path has the same numbers, so that thousands of experts stay thousands.
    numbered = {of: _by_numbers(keys) for of, keys in classes.items() if len(keys) > MOST_ZERO}
    for part in candidates.open_parts(0):
        known = tuple(candidates.options.get(part.key, ()))
        if known and not candidates.sides[0].is_frozen(part.path):
            continue
        of = shape_class(part.shape)
        for other in numbered[of].get(_numbers(part.key), []) if of in numbered else classes.get(of, {}):
            if other not in known:
                offer_if_silent(found, part.key, other)
    return candidates


def offer_if_silent(found: Matching, key: str, other: str) -> None:
    """Offer two parts as partners, if their shapes allow it and no gradient says otherwise.

    A buffer may also be a parameter and a parameter a buffer, which has no gradient to show.
    """
    candidates = found.candidates
    is_silent = key not in found.nonzero[0] and other not in found.nonzero[1]
    if is_silent or candidates.is_free(0, key) != candidates.is_free(1, other):
        possible = orders(candidates.parts[0][key].shape, candidates.parts[1][other].shape)
        if possible:
            candidates.offer(key, other, possible)


def _by_numbers(keys: Iterable[str]) -> dict[tuple[str, ...], list[str]]:
    """Those of the same numbers, unless these are too many as well."""
    found: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        found.setdefault(_numbers(key), []).append(key)
    return {numbers: each for numbers, each in found.items() if len(each) <= MOST_ZERO}


def _numbers(key: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+", key))


def apart_weights(
    candidates: Candidates, point: SymmetricPoint, reference: Side, port: Side
) -> tuple[Weights, Weights]:
    """Distinct values in the assigned parts, carried across, and the symmetric point's in the open ones."""
    rows = rows_of(candidates, point.hypothesis, reference, port)
    ours = dict(point.weights[0])
    drawn: dict[str, np.ndarray] = {}
    copied: dict[tuple[str, Piece], np.ndarray] = {}
    for row in rows:
        own = reference.tensors[row.reference].array
        if row.reference not in drawn:
            drawn[row.reference] = distinct(row.reference, own, False)
        values = drawn[row.reference]
        if row.copied:
            # What is one tensor of the port has one value in all of its copies.
            values = np.array(values)
            one = copied.setdefault((row.port, row.port_piece), row.to_port(values))
            row.reference_piece.of(values)[...] = row.to_reference(one)
        if row.reference_piece.is_whole:
            ours[row.reference] = values
        else:
            base = ours.get(row.reference, own)
            if base is point.weights[0].get(row.reference) or base is own:
                base = ours[row.reference] = np.array(base, np.float32)
            row.reference_piece.of(base)[...] = row.reference_piece.of(values)
    return ours, {**point.weights[1], **carried(rows, ours, point.weights[1])}


def _take(
    found: Matching, hypothesis: Hypothesis, reference: Side, port: Side, probes: tuple[Probe, Probe], limit: float
) -> None:
    """Assign what is sure by the gradients of the open parts, and note the options of what has several."""
    candidates = found.candidates
    near: dict[str, list[FingerprintMatch]] = {}
    their_classes = _by_class(_nonzero(candidates, hypothesis, port, probes[1], limit, found.nonzero[1]))
    our_classes = _by_class(_nonzero(candidates, hypothesis, reference, probes[0], limit, found.nonzero[0]))
    for of, members in our_classes.items():
        near.update(
            fingerprint_matches(
                members, their_classes.get(of, {}), limit, hypothesis.shuffled, bool(hypothesis.structure.turned)
            )
        )
    sure = assigned(near)
    for key, each in sure.items():
        candidates.match(key, each.path, each.order, "fingerprint")
    if not sure:
        for of, members in our_classes.items():
            for key, each in assigned(but_for_rows(members, their_classes.get(of, {}), limit * CLEARLY, near)).items():
                candidates.match(key, each.path, each.order, "fingerprint")
            assign_copies(candidates, members, their_classes.get(of, {}), limit)
    for key, several in near.items():
        candidates.options.pop(key, None)
        for match in several:
            if candidates.is_open(key, match.path):
                candidates.offer(key, match.path, [match.order])
                candidates.alike.add(key)


def _nonzero(
    candidates: Candidates, hypothesis: Hypothesis, side: Side, probe: Probe, limit: float, nonzero: set[str]
) -> Gradients:
    """The gradients of the open parts that are more than rounding; those that clearly are, are noted."""
    largest = largest_gradient(probe.gradients)
    found = {}
    for part in candidates.open_parts(side.number):
        whole = probe.gradients.get(part.path)
        if whole is None or part.key in found:
            continue
        gradient = part.of(whole)
        if not is_zero_gradient(gradient, largest, limit):
            slope = hypothesis.transform(part.path).slope if side.number else 1.0
            found[part.key] = gradient if slope == 1.0 else gradient * np.asarray(slope, gradient.dtype)
            if not is_zero_gradient(gradient, largest, limit * CLEARLY) and not side.is_frozen(part.path):
                nonzero.add(part.key)
    return found


def _by_class(gradients: Mapping[str, np.ndarray]) -> dict[ShapeClass, Gradients]:
    found: dict[ShapeClass, Gradients] = {}
    for key, gradient in gradients.items():
        found.setdefault(shape_class(gradient.shape), {})[key] = gradient
    return found
