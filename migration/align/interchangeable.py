"""Interchangeable branches: tensors that may trade places, but only all of a branch at once.

The outputs of two convolutions, each with a norm, are added: either may be the first. Once one tensor of a branch has
its partner, values of its own tell all others of that branch from those of the other one.
"""

from __future__ import annotations

from ...pairs.side import Side
from .candidates import Candidates, Options
from .matching import Matching, rematch
from .points import SymmetricPoint
from .tie_breaking import alike, assign_by_module

# Pairs that are taken by their names alone; of more branches weaker evidence has to do.
MOST_TAKEN = 32


def assign_interchangeable(found: Matching, point: SymmetricPoint, reference: Side, port: Side, limit: float) -> None:
    """Take the closest names of those of equal gradients, one pair at a time, and assign what is told by it then."""
    candidates = found.candidates
    for _ in range(MOST_TAKEN):
        before = {key: dict(options) for key, options in candidates.options.items()}
        if not _take_closest(candidates):
            break
        rematch(found, point, reference, port, limit)
        _keep_narrow(candidates, before)
        assign_by_module(candidates)


def _take_closest(candidates: Candidates) -> bool:
    """Assign the closest pair of a part that has several options of equal gradients; False where there is none."""
    open_pairs = [
        (key, port)
        for key, options in candidates.options.items()
        if key in candidates.alike and len(options) > 1
        for port in options
    ]
    open_pairs.sort(key=lambda pair: -alike(candidates, *pair))
    return any(candidates.assign(key, port, "name") for key, port in open_pairs)


def _keep_narrow(candidates: Candidates, before: Options) -> None:
    """Drop the options that a rule, a module or values had ruled out, and put back those of what has no gradient."""
    for key, options in before.items():
        if key not in candidates.matches:
            now = candidates.options.get(key, {})
            kept = {port: orders for port, orders in now.items() if port in options}
            still = {port: orders for port, orders in options.items() if candidates.is_open(key, port)}
            candidates.options[key] = kept or still
