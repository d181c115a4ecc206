"""The contract of recipes: both sides' own optimizers make the same steps of the same gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...pairs.closeness import norm
from ...pairs.comparison import Comparison
from ..recipes import CONSTANT, COURSES, Cause, Response, Responses, causes_of, causes_of_averages, respond
from ..results import Finding
from .training import reformed

# Of a step. Optax computes some numbers of a recipe in float32, such as those of `inject_hyperparams`.
LIMIT = 2.0**-15
POLICY = "2^-15 of a step, and the rounding of the values in float64"
# Roundings of a value in float64 that a step may be off by.
_ROUNDINGS = 64 * 2.0**-52
_SHOWN = 4


def recipe(comparison: Comparison) -> Iterator[Finding]:
    """Under the map both optimizers get the same gradients, in courses of steps, and move each parameter alike.

    In float64, from the values at which the sides are compared. A parameter that the map does not carry value by value
    is left out, with the reason.
    """
    missing = _missing(comparison)
    if missing:
        yield Finding("", None, None, None, missing)
        return
    aside = reformed(comparison, decays=False)
    seen = respond(comparison, aside)
    yield from _skipped(comparison, aside, seen)
    errors = {path: _errors(seen, path) for path in next(iter(seen.by_course.values()))}
    shifted = reformed(comparison, decays=True)
    wrong = {
        path: [name for name, error in found.items() if error > LIMIT]
        for path, found in errors.items()
        if max(found.values(), default=0.0) > LIMIT and path not in shifted
    }
    for path, found in errors.items():
        row = seen.rows[path]
        worst = max(found.values(), default=0.0)
        if path in shifted and worst > LIMIT:
            yield Finding(row.reference, None, None, None, shifted[path], path)
        elif path not in wrong:
            yield Finding(row.reference, True, worst, LIMIT, "", path, POLICY)
    for cause in causes_of(seen, wrong) if wrong else ():
        yield _failure(comparison, seen, cause, errors)
    right = [path for path in errors if path not in wrong and path not in shifted]
    apart = {path: error for path in right if (error := _of_averages(seen.by_course[CONSTANT][path])) > LIMIT}
    for cause in causes_of_averages(seen, list(apart)):
        yield _failure(comparison, seen, cause, {path: {"their averages": apart.get(path, np.inf)} for path in errors})


def _missing(comparison: Comparison) -> str:
    """What is to be given, where a side has no optimizer."""
    without = [f"{side.role}_optimizer" for side in (comparison.reference, comparison.port) if side.optimizer is None]
    if not without:
        return ""
    return f"the pair has no {' and no '.join(without)}: give both, and their steps are compared"


def _skipped(comparison: Comparison, aside: Mapping[str, str], seen: Responses) -> Iterator[Finding]:
    for path, reason in aside.items():
        yield Finding(seen.rows[path].reference, None, None, None, reason, path)
    for name, reason in seen.cut.items():
        yield Finding("", None, None, None, f"{name} was seen in part alone, since counts cannot be set on: {reason}")


def _errors(seen: Responses, path: str) -> dict[str, float]:
    """By course the largest error of a step, relative to the larger of the two."""
    return {
        name: max(_of_steps(course[path]), default=0.0) for name, course in seen.by_course.items() if path in course
    }


def _of_steps(response: Response) -> Iterator[float]:
    for ours, theirs, before in zip(response.ours.moves, response.theirs.moves, response.ours.before, strict=True):
        # What is no number on both sides, as 0 / 0 is where eps is 0, is the same on both.
        apart = np.where(np.isnan(ours) & np.isnan(theirs), 0.0, theirs - ours)
        size = max(norm(np.nan_to_num(ours)), norm(np.nan_to_num(theirs)))
        rounding = _ROUNDINGS * norm(np.nan_to_num(before))
        difference = norm(apart)
        if not np.isfinite(difference):
            yield np.inf
        elif difference <= rounding or not size:
            yield 0.0
        else:
            yield (difference - rounding) / size


def _of_averages(response: Response) -> float:
    """The largest error of an average, relative to how far it is from the first values."""
    if response.averages is None:
        return 0.0
    ours, theirs = response.averages
    start = response.ours.before[0]
    sizes = [max(norm(one - start), norm(other - start)) for one, other in zip(ours, theirs, strict=True)]
    rest = [max(norm(other - one) - _ROUNDINGS * norm(start), 0.0) for one, other in zip(ours, theirs, strict=True)]
    return max(error / size if size else 0.0 for error, size in zip(rest, sizes, strict=True))


def _failure(
    comparison: Comparison, seen: Responses, cause: Cause, errors: Mapping[str, Mapping[str, float]]
) -> Finding:
    path = cause.paths[0]
    row, found = seen.rows[path], errors[path]
    courses = [name for name, error in found.items() if error > LIMIT]
    about = _about([seen.rows[each].reference for each in cause.paths], len(errors))
    first = next((course.name for course in COURSES if course.name in courses), courses[0])
    words = f"{cause.words} ({about}; at {first} by {min(found[first], 9e9):.2g} of a step)"
    worst = max(max(errors[each].values()) for each in cause.paths)
    return Finding(row.reference, False, worst, LIMIT, words, path, POLICY, cause.cause, comparison.bound.modules(row))


def _about(paths: Sequence[str], count: int) -> str:
    if len(paths) == count:
        return f"all {count} parameters" if count > 1 else paths[0]
    shown = ", ".join(paths[:_SHOWN]) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
    return f"{len(paths)} of {count} parameters: {shown}"
