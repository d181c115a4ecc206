"""Losses: by what two step functions differ whose optimizers are the same, from the gradients that they must have had.

A first step of a known rule can be turned back into the gradient that it was made of, whatever the step function did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.wing import PairError
from ...pairs.comparison import Comparison
from ...pairs.precision import Setting
from .causes import Cause, rule_of
from .courses import CONSTANT, ZERO
from .responses import Responses
from .rules import Numbers, decays, rates

# Two gradients are one but for this much of them; the way back from a step of Adam loses digits.
_NEAR = 1e-2
# Where a step is as long as a step can be, nothing tells how large the gradient was.
_UNTOLD = 1e-7


class Step(NamedTuple):
    """The first step of a parameter on both sides, in the port's layout, and the values before it."""

    before: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray


# Of each path the gradients of both sides, flat.
_Gradients = Mapping[str, tuple[np.ndarray, np.ndarray]]


def cause_of_steps(comparison: Comparison, seen: Responses | None, steps: Mapping[str, Step]) -> Cause | None:
    """Why step functions differ, if their gradients tell it; None where they do not.

    seen: what their optimizers made of given gradients; without it steps are taken for multiples of gradients.
    """
    found = {path: each for path, step in steps.items() if (each := _gradients(seen, path, step)) is not None}
    paths = tuple(found)
    if not paths:
        return None
    words = _scale(comparison, found) or _smoothing(comparison, found)
    return Cause(*words, paths) if words else None


def lengths_of_steps(seen: Responses, steps: Mapping[str, Step]) -> tuple[float, float]:
    """How long all gradients together were that both sides made their first steps of; NaN where none is told."""
    found = [each for path, step in steps.items() if (each := _gradients(seen, path, step)) is not None]
    ours, theirs = (
        np.sqrt(sum(float((each[side] ** 2).sum()) for each in found)) if found else np.nan for side in (0, 1)
    )
    return ours, theirs


def _gradients(seen: Responses | None, path: str, step: Step) -> tuple[np.ndarray, np.ndarray] | None:
    """What both sides' gradients were, in the entries where both are told; None where none is, or both are zero."""
    ours, theirs = (_turned_back(seen, path, side, step.before, (step.ours, step.theirs)[side]) for side in (0, 1))
    told = np.isfinite(ours) & np.isfinite(theirs)
    if not told.any() or not (ours[told].any() and theirs[told].any()):
        return None
    return np.where(told, ours, 0.0), np.where(told, theirs, 0.0)


def _turned_back(seen: Responses | None, path: str, side: int, before: np.ndarray, move: np.ndarray) -> np.ndarray:
    """The gradient that made a first step; NaN where it cannot be told."""
    before, move = before.ravel(), move.ravel()
    if seen is None:
        return -move
    given = seen.by_course[CONSTANT][path]
    numbers, rate = rule_of(seen, path)[side].numbers, 0.0
    rate = float(rates(numbers, seen.counts[CONSTANT], given.given, given.of(side))[0])
    share = 0.0 if numbers.coupled else float(decays(seen.by_course[ZERO][path].of(side))[0])
    if not (np.isfinite(rate) and rate):
        return np.full(move.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _inverse(numbers, -(move + share * before) / rate) - numbers.coupled * before


def _inverse(numbers: Numbers, step: np.ndarray) -> np.ndarray:
    """The gradient whose first direction is `step`."""
    if numbers.squares == "none":
        return step / (1 + numbers.momentum if numbers.nesterov else 1)
    first, second = (1.0, 1.0) if numbers.corrected else (1 - numbers.first, 1 - numbers.second)
    if numbers.squares == "sum":
        first, second = 1.0, 1.0
    size, start = np.abs(step), numbers.start
    rest = first - size * np.sqrt(second)
    if numbers.is_inside or start:
        inside = np.where(rest > 0, first**2 - second * size**2, np.nan)
        found = size * np.sqrt((numbers.eps if numbers.is_inside else 0.0) + start) / np.sqrt(inside)
    else:
        found = numbers.eps * size / rest
    return np.where(rest > _UNTOLD, np.sign(step) * found, np.where(size == 0, 0.0, np.nan))


def _scale(comparison: Comparison, found: _Gradients) -> tuple[str, str] | None:
    """Cause and words where all gradients of the port are one multiple of the reference's."""
    ours, theirs = (np.concatenate([each[side] for each in found.values()]) for side in (0, 1))
    factor = float((ours * theirs).sum() / (ours**2).sum())
    apart = np.sqrt(((theirs - factor * ours) ** 2).sum() / (theirs**2).sum())
    if apart > _NEAR or factor <= 0 or abs(factor - 1) < _NEAR:
        return None
    larger, smaller = ("port", "reference") if factor > 1 else ("reference", "port")
    times = max(factor, 1 / factor)
    told = f"the {larger}'s gradients are {times:.4g} times the {smaller}'s in every parameter"
    of = [what for what, count in _counts(comparison) if abs(times / count - 1) < _NEAR / 2]
    if of:
        return "loss mean", f"{told}: one has the mean over {' or '.join(of)} where the other has not"
    if abs(times - round(times)) < _NEAR:
        return "accumulation", f"{told}: it adds up {round(times)} parts where the other has their mean"
    return "loss scale", told


def _counts(comparison: Comparison) -> Iterator[tuple[str, int]]:
    """What a loss may have the mean over, by the inputs."""
    inputs = comparison.reference.inputs
    named = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs)
    told: dict[str, int] = {}
    for name, array in named:
        if not array.ndim:
            continue
        told.setdefault(f"the batch of {array.shape[0]}", array.shape[0])
        if array.ndim > 1:
            length, shifted = array.shape[1], array.shape[1] - 1
            told.setdefault(f"the {length} places of each row of input {name!r}", length)
            told.setdefault(f"all {array.shape[0] * length} of input {name!r}", array.shape[0] * length)
            told.setdefault(f"the {shifted} next places of each row of input {name!r}", shifted)
            told.setdefault(f"all {array.shape[0] * shifted} next places of input {name!r}", array.shape[0] * shifted)
    yield from ((what, count) for what, count in told.items() if count > 1)


def _smoothing(comparison: Comparison, found: _Gradients) -> tuple[str, str] | None:
    """Cause and words where both are gradients of a cross entropy, of labels that are smoothed by other shares."""
    for parts in _cross_entropies(comparison, tuple(found)):
        fits = [_fit(parts, [each[side] for each in found.values()]) for side in (0, 1)]
        if any(fit is None for fit in fits):
            continue
        (one, ours), (other, theirs) = ((sum(fit), fit[1] / sum(fit)) for fit in fits if fit)
        if abs(ours - theirs) > 1e-3:
            words = f"labels are smoothed by {_told(ours)} in the reference and by {_told(theirs)} in the port"
            return "label smoothing", words
        if abs(one / other - 1) > _NEAR:
            words = f"the loss is divided by {1 / one:.4g} in the reference and by {1 / other:.4g} in the port"
            return "loss mean", words
    return None


def _told(share: float) -> str:
    return "0" if abs(share) < 1e-4 else f"{share:.4g}"


def _fit(parts: Sequence[tuple[np.ndarray, np.ndarray]], gradients: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """How much of each of two parts gradients are, where they are these two."""
    columns = np.stack([np.concatenate([part[n] for part in parts]) for n in (0, 1)], axis=1)
    whole = np.concatenate(gradients)
    told = whole != 0
    shares, *_ = np.linalg.lstsq(columns[told], whole[told], rcond=None)
    rest = np.linalg.norm(whole[told] - columns[told] @ shares)
    is_one = rest < _NEAR * np.linalg.norm(whole[told]) and shares.sum() > 0
    return (float(shares[0]), float(shares[1])) if is_one else None


def _cross_entropies(comparison: Comparison, paths: Sequence[str]) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """For each input that may be the labels of an output: by path the gradients of the two parts of the loss."""
    bound, side = comparison.bound, comparison.reference
    start = bound.alike({path: native.array for path, native in side.tensors.items()})
    setting = Setting(comparison.setting.device, "float64")
    try:
        outputs = side.outputs(start, setting)
    except (PairError, NotExpressibleError):
        return
    for place, logits in enumerate(outputs.values()):
        for labels, kept in _labels(side.inputs, logits.shape):
            parts = []
            for cotangent in _cotangents(logits, labels, kept):
                given = [np.zeros(each.shape) for each in outputs.values()]
                given[place] = cotangent
                probe = side.probe(start, setting, given=lambda shapes, given=given: given)
                parts.append([_laid_out(comparison, path, probe.gradients) for path in paths])
            yield list(zip(*parts, strict=True))


def _laid_out(comparison: Comparison, path: str, gradients: Mapping[str, np.ndarray]) -> np.ndarray:
    rows = comparison.map.by_port[path]
    whole = np.zeros(rows[0].port_shape)
    for row in rows:
        row.port_piece.of(whole)[...] = row.laid_out(gradients[row.reference])
    return whole.ravel()


def _labels(inputs: Any, shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, slice]]:
    """Integers that may be the classes of an output's rows, all or the next ones, and which rows have them."""
    for array in inputs.values() if isinstance(inputs, Mapping) else inputs:
        if not np.issubdtype(array.dtype, np.integer) or len(shape) < 2:
            continue
        if array.shape == shape[:-1]:
            yield array, slice(None)
            if array.ndim > 1:
                yield array[:, 1:], slice(None, -1)


def _cotangents(logits: np.ndarray, labels: np.ndarray, kept: slice) -> Iterator[np.ndarray]:
    """The derivative of the sum of cross entropies by the logits: of the labels, and of all classes alike."""
    rows = (slice(None), kept) if labels.ndim > 1 else (slice(None),)
    own = logits[rows].astype(np.float64)
    shares = np.exp(own - own.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    classes = own.shape[-1]
    known = (labels >= 0) & (labels < classes)
    for goal in (np.eye(classes)[np.where(known, labels, 0)], np.full(own.shape, 1 / classes)):
        whole = np.zeros(logits.shape)
        whole[rows] = (shares - goal) * known[..., None]
        yield whole
