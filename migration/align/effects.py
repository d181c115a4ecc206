"""Effects: partners of what has no gradient on one side, told by the outputs.

A frozen encoder, a table of positions that no optimizer is given, what a program stops the gradient of: the outputs
depend on them all the same. Where one of them alone gets values of its own, only its partner with the same values gives
the same outputs.
"""

from __future__ import annotations

import numpy as np

from ...pairs.side import Side
from ...pairs.values import ShapeClass, distinct, shape_class
from .axis_groupings import Part
from .candidates import Candidates
from .fingerprints import Order, orders, reordered
from .matching import CLEARLY, Matching, apart_weights, matched
from .points import SymmetricPoint, Weights
from .proof import outputs_apart
from .tie_breaking import alike, assign_by_module, assign_by_name

# Runs, of small models and of others; of more than these tensors weaker evidence has to do.
MOST_RUNS, MOST_LONG_RUNS = 1024, 128
# Tensors of one class that are held against each other.
MOST_OPEN = 64


def assigned_by_outputs(point: SymmetricPoint, reference: Side, port: Side, limit: float) -> Candidates:
    """The partners where the outputs agree and gradients do not: what no gradient assigns, the outputs do."""
    found = matched(point, reference, port, limit)
    candidates = found.candidates
    classes: dict[ShapeClass, dict[str, Part]] = {}
    for part in candidates.open_parts(1):
        classes.setdefault(shape_class(part.shape), {})[part.key] = part
    for part in candidates.open_parts(0):
        others = classes.get(shape_class(part.shape), {})
        if part.key not in candidates.options and len(others) <= MOST_OPEN:
            for key, other in others.items():
                candidates.offer(part.key, key, orders(part.shape, other.shape))
    assign_by_effect(found, point, reference, port, limit)
    assign_by_module(candidates)
    assign_by_name(candidates)
    return candidates


def assign_by_effect(found: Matching, point: SymmetricPoint, reference: Side, port: Side, limit: float) -> None:
    """Assign what has one of several options, or of several orders of its axes, by the outputs that these give."""
    candidates, runs = found.candidates, 0
    weights: tuple[Weights, Weights] | None = None
    most = MOST_RUNS if reference.is_small and port.is_small else MOST_LONG_RUNS
    for key, options in list(candidates.options.items()):
        if sum(map(len, options.values())) < 2 or runs >= most:
            continue
        weights = weights or apart_weights(candidates, point, reference, port)
        part = candidates.parts[0][key]
        own = part.of(distinct(part.path, reference.tensors[part.path].array, False))
        ours = reference.outputs(_with(weights[0], reference, part, own))
        runs += 2
        if not outputs_apart(reference.outputs(weights[0]), ours, limit * CLEARLY):
            continue
        for other, order in _nearest(candidates, key):
            theirs = candidates.parts[1][other]
            value = point.hypothesis.transform(theirs.path).of(reordered(own, order, theirs.shape))
            runs += 1
            if not outputs_apart(ours, port.outputs(_with(weights[1], port, theirs, value)), limit):
                candidates.match(key, other, order, "output")
                break


def _nearest(candidates: Candidates, key: str) -> list[tuple[str, Order]]:
    """The options with each order of their axes, the likeliest first: of two that do alike the first is taken.

    None that is the only one of another.
    """
    options = candidates.options[key]
    free = [
        other
        for other in options
        if all(len(candidates.options[each]) > 1 for each in candidates.takers(other) if each != key)
    ]
    free.sort(key=lambda other: -alike(candidates, key, other))
    return [(other, order) for other in free for order in options[other]]


def _with(weights: Weights, side: Side, part: Part, value: np.ndarray) -> Weights:
    """The weights with one part of a tensor replaced."""
    made = np.array(weights.get(part.path, side.tensors[part.path].array), np.float32, order="C")
    part.fill(made, value)
    return {**weights, part.path: made}
