"""The contract of recipes: both sides' own optimizers make the same steps of the same gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.wing import PairError, Training
from ...pairs.closeness import norm
from ...pairs.comparison import Comparison
from ...pairs.precision import ROUNDINGS
from ...pairs.side import Side
from ..recipes import (
    CONSTANT,
    ZERO,
    Cause,
    Response,
    Responses,
    Step,
    cause_of_steps,
    causes_of,
    causes_of_averages,
    lengths_of_steps,
    respond,
)
from ..results import Finding
from .moves import Steps
from .training import STEPS, both_trained, moved, reformed

# Of a step. Optax computes some numbers of a recipe in float32, such as those of `inject_hyperparams`.
LIMIT = 2.0**-15
POLICY = "2^-15 of a step, and the rounding of the values in float64"
# Roundings of a value in float64 that a step may be off by.
_ROUNDINGS = 64 * 2.0**-52
_SHOWN = 4
# How much larger values are from which step functions are tried once more, whose gradients may be clipped there.
_LARGER = 8.0
# Two lengths of gradients are one but for this much of them.
_SAME = 1e-2


def recipe(comparison: Comparison) -> Iterator[Finding]:
    """Under the map both optimizers get the same gradients, in courses of steps, and move each parameter alike.

    In float64, from the values at which the sides are compared. A parameter that the map does not carry value by value
    is left out, with the reason.
    """
    missing = _missing(comparison)
    if missing:
        yield Finding("", None, None, None, missing)
        return
    sides = comparison.reference, comparison.port
    seen, found = None, []
    if all(side.optimizer is not None for side in sides):
        aside = reformed(comparison, decays=False)
        seen = respond(comparison, aside, is_whole=comparison.reference.step is not None)
        yield from _skipped(comparison, aside, seen)
        found = list(_of_courses(comparison, seen))
    failures = [each for each in found if each.ok is False]
    losses = list(_of_losses(comparison, seen)) if not failures or comparison.reference.step else []
    if comparison.reference.step and not [each for each in losses if each.ok is False]:
        found = [_done_by_steps(each) if each.cause == "clipping" else each for each in found]
    yield from found
    yield from (
        _following(each) if failures and each.ok is False and each.cause == "training" else each for each in losses
    )


def _following(failure: Finding) -> Finding:
    """Of steps that optimizers make which are not alike, with no cause of their own."""
    return replace(
        failure, ok=None, message=f"{failure.message}: what the optimizers do otherwise makes it so", cause=""
    )


def _done_by_steps(clipping: Finding) -> Finding:
    """Of optimizers that clip otherwise by themselves, in step functions that go alike."""
    words = f"the optimizers alone are not alike: {clipping.message}. Whole steps are, from larger values, too"
    return replace(clipping, ok=None, message=words, cause="")


def _of_courses(comparison: Comparison, seen: Responses) -> Iterator[Finding]:
    """How the optimizers go with given gradients."""
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


def _of_losses(comparison: Comparison, seen: Responses | None) -> Iterator[Finding]:
    """How both go by themselves, from the reference's values, with a real loss."""
    left = reformed(comparison, decays=True)
    try:
        steps, ours, theirs = both_trained(comparison, None, 1 if left else STEPS)
    except NotExpressibleError as refused:
        yield Finding("", None, None, None, f"no steps of a loss were made: {refused}")
        return
    _check_repeated(comparison, steps, (ours, theirs))
    found = _moved(steps, ours, theirs, left)
    failures = [each for each in found if each.ok is False]
    judged = [each for each in found if each.ok is not None]
    if not failures and comparison.reference.step:
        yield from _of_larger(comparison, seen, replace(steps, larger=_LARGER), left)
    if not failures and judged:
        worst = max(judged, key=lambda each: each.measured or 0.0)
        yield replace(worst, path="", port_path="", message=f"after {steps} all parameters are alike")
    elif failures and not comparison.reference.step and _has_other_gradients(comparison):
        words = "steps of a loss were not compared: the models' own gradients differ already, as `gradients` says"
        yield Finding("", None, None, None, words)
    elif failures:
        cause = _cause_of_steps(comparison, seen, steps, failures) if comparison.reference.step else None
        failures = [_decaying(each, seen) for each in failures]
        yield from ([_of_cause(failures, cause)] if cause else _grouped(failures))


def _moved(steps: Steps, ours: Training, theirs: Training, left: Mapping[str, str]) -> list[Finding]:
    """Of what both sides train, how it moved.

    What becomes of buffers is no matter of a recipe, and nothing follows of it: a mean that is kept for inference.
    """
    tensors = steps.comparison.reference.stored_tensors
    kept = {row.port: "a buffer" for row in steps.comparison.bound.rows if not tensors[row.reference].trainable}
    return [each for each in moved(steps, ours, theirs, {**left, **kept}) if tensors[each.path].trainable]


def _cause_of_steps(
    comparison: Comparison, seen: Responses | None, steps: Steps, failures: Sequence[Finding]
) -> Cause | None:
    """Of gradients that are multiples: a clipping where one side's are as long from larger values, too."""
    first = _first_steps(steps, failures)
    cause = cause_of_steps(comparison, seen, first)
    if cause is None or seen is None or cause.cause == "label smoothing":
        return cause
    own = lengths_of_steps(seen, first)
    larger = lengths_of_steps(seen, _first_steps(replace(steps, larger=_LARGER), failures))
    clips = [
        f"the {side.role}'s are {one:.4g} long, as they are from {_LARGER:g} times these values"
        for side, one, other in zip(_sides(comparison), own, larger, strict=True)
        if abs(other / one - 1) < _SAME
    ]
    return cause._replace(cause="clipping", words=f"{cause.words}: {' and '.join(clips)}") if clips else cause


def _of_larger(
    comparison: Comparison, seen: Responses | None, steps: Steps, left: Mapping[str, str]
) -> Iterator[Finding]:
    """A failure where step functions part from larger values: there gradients are larger, and what is clipped is less.

    Nothing where the models' own gradients are not alike there, or what a side does of such values is no number.
    """
    if _has_other_gradients(comparison, steps):
        return
    try:
        ours, theirs = (steps.trained(side, steps.start) for side in _sides(comparison))
    except (PairError, NotExpressibleError):
        return
    failures = [each for each in _moved(steps, ours, theirs, left) if each.ok is False]
    if failures and all(each.cause != "not finite" for each in failures):
        cause = cause_of_steps(comparison, seen, _first_steps(steps, failures))
        told = f": {cause.words.partition(':')[0]}" if cause and cause.cause != "label smoothing" else ""
        words = f"from the reference's values they are alike, and from {steps.larger:g} times these not{told}"
        cause = Cause("clipping", f"{words}. One clips what the other does not", tuple(each.path for each in failures))
        yield _of_cause(failures, cause)


def _sides(comparison: Comparison) -> tuple[Side, Side]:
    return comparison.reference, comparison.port


def _first_steps(steps: Steps, failures: Sequence[Finding]) -> dict[str, Step]:
    first = replace(steps, count=1)
    before = steps.comparison.bound.carried(steps.start)
    moves = first.again([each.port_path for each in failures if each.port_path in before])
    return {path: Step(before[path].astype(np.float64), *move) for path, move in moves.items()}


def _of_cause(failures: Sequence[Finding], cause: Cause) -> Finding:
    first = max(failures, key=lambda each: each.measured or 0.0)
    return replace(first, message=f"{cause.words} (in steps of their own)", cause=cause.cause, module="")


def _decaying(failure: Finding, seen: Responses | None) -> Finding:
    """The failure, with its cause where what one side alone moves is what its optimizer decays without a gradient."""
    sides = [side for side in (0, 1) if failure.cause == f"only the {('reference', 'port')[side]} trains it"]
    response = seen.by_course[ZERO].get(failure.port_path) if seen else None
    if not sides or response is None or not response.of(sides[0]).moves.any():
        return failure
    words = (
        "it is decayed without a gradient, and PyTorch's optimizers leave alone what has none: mask it, or freeze it"
    )
    return replace(failure, message=f"{failure.message}; {words}", cause="frozen parameters decay")


def _grouped(failures: Sequence[Finding]) -> Iterator[Finding]:
    """One failure for each cause, with the paths of the others."""
    for cause in dict.fromkeys(each.cause for each in failures):
        mine = [each for each in failures if each.cause == cause]
        others = _about([each.path for each in mine[1:]], 0)
        yield replace(mine[0], message=mine[0].message + (f"; as do {others}" if others else ""))


def _check_repeated(comparison: Comparison, steps: Steps, found: Sequence[Training]) -> None:
    """Raises PairError for a step function that another run of steps, from the same model, leaves in another state."""
    for side, before in zip((comparison.reference, comparison.port), found, strict=True):
        if side.step is None:
            continue
        again = steps.trained(side, steps.start).stored_tensors
        apart = [path for path, each in before.stored_tensors.items() if not _is_near(each.array, again[path].array)]
        if apart:
            words = "a step that does the same again from the same model and batch"
            remedy = "Let it take what it keeps between steps as an argument: step(model, optimizer, batch)."
            raise PairError(f"{side.role}_step", words, f"another {apart[0]} in a second run", remedy)


def _is_near(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True))


def _has_other_gradients(comparison: Comparison, steps: Steps | None = None) -> bool:
    """Whether the models themselves have other gradients, or none that are numbers: at values of ours, or of steps.

    Of a side that only its steps call nothing is known.
    """
    if steps is None:
        gradients = [probe.gradients for probe in comparison.probes]
    else:
        starts = steps.start, comparison.bound.carried(steps.start)
        try:
            probes = [side.probe(each, steps.setting) for side, each in zip(_sides(comparison), starts, strict=True)]
        except (PairError, NotExpressibleError):
            return False
        gradients = [probe.gradients for probe in probes]
    both = (comparison.bound.gradients(row, *gradients) for row in comparison.bound.rows)
    limit = ROUNDINGS * comparison.limit
    pairs = [each for each in both if each is not None]
    largest = max((norm(ours) for ours, _ in pairs), default=0.0)
    return any(not norm(theirs - ours) <= limit * max(norm(ours), 1e-3 * largest) for ours, theirs in pairs)


def _missing(comparison: Comparison) -> str:
    """What is to be given, where a side has neither an optimizer nor a step function that the other has too."""
    sides = comparison.reference, comparison.port
    without = [f"{side.role}_optimizer" for side in sides if side.optimizer is None]
    alone = [side.role for side in sides if side.step is not None]
    if len(alone) == 1:
        other = "port" if alone[0] == "reference" else "reference"
        return f"the pair has {alone[0]}_step and no {other}_step: give both, and their steps are compared"
    if not without or len(alone) == 2:
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
    first = next(name for name, error in found.items() if error > LIMIT)
    about = _about([seen.rows[each].reference for each in cause.paths], len(errors))
    words = f"{cause.words} ({about}; at {first} by {min(found[first], 9e9):.2g} of a step)"
    worst = max(max(errors[each].values()) for each in cause.paths)
    return Finding(row.reference, False, worst, LIMIT, words, path, POLICY, cause.cause, comparison.bound.modules(row))


def _about(paths: Sequence[str], count: int) -> str:
    """Some of the paths, and how many of `count` they are, if it is told."""
    if paths and len(paths) == count:
        return f"all {count} parameters" if count > 1 else paths[0]
    shown = ", ".join(paths[:_SHOWN]) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
    return f"{len(paths)} of {count} parameters: {shown}" if count else shown
