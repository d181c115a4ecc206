"""Multiples: what differs by a rate alone, or by an average that changes with the steps, where no rule explains it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...pairs.closeness import norm
from .responses import Responses, Trail
from .rules import EXPLAINED, Course, Numbers, directions

# What a multiple may be off by, of how far it is from one: with other steps the values go apart, and what they decide.
_DRIFT = 0.05
# Of the values; of a step that is no more rounding has taken the digits.
_LEAST = 1e-9
# Three shares tell any two entries.
_ENOUGH = 6


def multiples_of(seen: Responses, path: str) -> dict[int, float]:
    """By the number of a step, how many times as far the port goes; empty where its moves are no multiples."""
    found: dict[int, float] = {}
    for name, course in seen.by_course.items():
        response = course[path]
        moves = zip(seen.counts[name], response.ours.before, response.ours.moves, response.theirs.moves, strict=True)
        for count, before, ours, theirs in moves:
            size = norm(ours)
            if size <= _LEAST * norm(before) or not np.isfinite(norm(theirs)):
                continue
            times = float((ours * theirs).sum() / size**2)
            near = max(EXPLAINED, _DRIFT * abs(times - 1))
            is_one = norm(theirs - times * ours) <= near * max(size, norm(theirs))
            if not is_one or abs(found.setdefault(count, times) - times) > near:
                return {}
    return found


def shares_kept(numbers: Numbers, counts: Sequence[int], given: np.ndarray, trail: Trail) -> np.ndarray | None:
    """From the second step on what a momentum or a first average kept of itself, if that alone is no fixed number.

    numbers: of the rule otherwise. None where that is not all. The first step does not tell its own: it is taken for
    that of the second.
    """
    if numbers.nesterov or numbers.coupled or numbers.dampening or not (numbers.momentum or numbers.first):
        return None
    if given.shape[1] < _ENOUGH:
        return None
    scale = _scales(numbers, Course(given, trail.before, counts))
    kept, mean = [], np.zeros(given.shape[1])
    for number, (gradient, before, move) in enumerate(zip(given, trail.before, trail.moves, strict=True)):
        if not number:
            mean = gradient
            continue
        columns = np.stack([mean * scale[number], gradient * scale[number], before], axis=1)
        sizes = np.maximum(np.sqrt((columns**2).sum(axis=0)), np.finfo(float).tiny)
        parts = np.linalg.lstsq(columns / sizes, -move, rcond=None)[0] / sizes
        if norm(move + columns @ parts) > EXPLAINED * norm(move) or not parts[1] > 0:
            return None
        share = float(parts[0] / parts[1])
        if numbers.momentum:
            mean = share * mean + gradient
        else:
            share = share if number == 1 else share / (1 + share)
            mean = share * mean * (1 - share if number == 1 else 1) + (1 - share) * gradient
        kept.append(share)
    return np.array(kept)


def _scales(numbers: Numbers, course: Course) -> np.ndarray:
    """By step and entry, what a rule multiplies its average by."""
    if numbers.squares == "none":
        return np.ones(course.given.shape)
    # Of a rule without a first average the direction is the gradient by that scale.
    made = directions(numbers._replace(first=0.0, momentum=0.0), course)
    return np.divide(made, course.given, out=np.zeros_like(made), where=course.given != 0)
