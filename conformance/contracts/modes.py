"""The contract of the two modes: inference and training mean the same on both sides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...common.errors import NotExpressibleError
from ...pairs.closeness import norm, relative_error
from ...pairs.comparison import Comparison
from ...pairs.maps import MapRow
from ...pairs.precision import Setting
from ...pairs.side import Side, Weights
from ..explain import FRAMEWORK, biased_variance, statistic_factor
from ..results import Finding
from ..statistics import compare, judge

# How many masks dropout draws on each side; at 2^-32 for each two the sign test has reserve for its correction.
_MASKS = 64


def modes(comparison: Comparison) -> Iterator[Finding]:
    """Inference changes no tensor and is not random; training updates buffers alike, and is random on both or neither.

    In training mode outputs and buffers are compared with dropout switched off.
    """
    sides = ((comparison.reference, comparison.bound.ours), (comparison.port, comparison.bound.theirs))
    yield from _inference(comparison, sides)
    try:
        passes = [side.passed(weights, comparison.setting, training=True) for side, weights in sides]
        dropped = [
            _dropped(side, weights, comparison.setting, passes[n].outputs) for n, (side, weights) in enumerate(sides)
        ]
    except NotExpressibleError as refused:
        yield Finding("", None, None, None, str(refused))
        return
    limit = comparison.limit
    for (name, one), other in zip(passes[0].outputs.items(), passes[1].outputs.values(), strict=True):
        size = relative_error(other.astype(np.float64), one.astype(np.float64))
        label = f"the output {name!r}" if name else "the output"
        words, cause = f"in training mode, without dropout, {label} differs by {size:.2g} of its norm", "mode"
        if one.shape == other.shape and not one.any() and np.isfinite(other).all() and size:
            words = f"in training mode, without dropout, {label} is not zero, as the reference's is"
        elif not np.isfinite(size):
            words, cause = f"in training mode {label} is not finite, or of another shape", "not finite"
        ok = bool(size <= limit)
        told = ("", "") if ok else (words, cause)
        yield Finding("", ok, size, limit, told[0], "", comparison.policy, told[1], details={"output": name})
    yield from _buffers(comparison, passes[0].buffers, passes[1].buffers)
    yield _dropout(dropped, limit * math.hypot(*map(norm, passes[0].outputs.values())))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Bit for bit, but for what is not a number."""
    return bool(np.array_equal(one, other, equal_nan=True))


def _inference(comparison: Comparison, sides: Sequence[tuple[Side, Weights]]) -> Iterator[Finding]:
    for side, weights in sides:
        masks = [side.passed(weights, comparison.setting, training=False, dropout=True, seed=seed) for seed in (0, 1)]
        random = any(not _equal(array, masks[1].outputs[name]) for name, array in masks[0].outputs.items())
        words = f"the {side.role} is random in inference mode" if random else f"{side.role}: inference is not random"
        yield Finding("", not random, float(random), 0, words, cause="dropout" if random else "")
        for path in masks[0].changed:
            words = (
                f"{path}: the call of the {side.role} changes this parameter, which only an optimizer should: a second "
                "call gives something else"
            )
            own, other = comparison.bound.partners(side, path)
            yield Finding(own, False, 1, 0, words, other, cause="changed by the call")
        for path, array in masks[0].buffers.items():
            if path not in side.tensors:
                continue
            before = np.asarray(weights.get(path, side.tensors[path].array), array.dtype)
            if not _equal(before, array):
                words = f"{path}: inference changes this buffer of the {side.role}"
                own, other = side.paths_for(path)
                yield Finding(own, False, 1, 0, words, other, cause="mode")


def _buffers(
    comparison: Comparison, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
) -> Iterator[Finding]:
    for row in comparison.bound.rows:
        if row.reference not in ours or row.port not in theirs or not row.is_whole:
            continue
        one, other = row.to_port(ours[row.reference].astype(np.float64)), theirs[row.port].astype(np.float64)
        size = relative_error(other, one)
        ok = bool(size <= comparison.limit)
        cause, diagnosis = ("", "") if ok else _wrong_buffer(comparison, row, one, other)
        words = f"{row.reference} (= {row.port}): after one pass in training mode {diagnosis}" if diagnosis else ""
        yield Finding(
            row.reference,
            ok,
            size,
            comparison.limit,
            words,
            row.port,
            comparison.policy,
            cause,
            "" if ok else comparison.bound.modules(row),
            {} if ok else _of_frameworks(comparison, row, one, other),
        )


def _of_frameworks(comparison: Comparison, row: MapRow, one: np.ndarray, other: np.ndarray) -> dict[str, str]:
    """The details of what the frameworks themselves differ in."""
    before = np.asarray(comparison.bound.theirs[row.port], np.float64)
    device = comparison.setting.device
    words = biased_variance(comparison.bound, row, before, one - before, other - before, device)
    return {FRAMEWORK: words} if words else {}


def _wrong_buffer(comparison: Comparison, row: MapRow, one: np.ndarray, other: np.ndarray) -> tuple[str, str]:
    """A cause, and words for the step that each side's running statistic made."""
    before = np.asarray(comparison.bound.theirs[row.port], np.float64)
    ours, theirs = one - before, other - before
    if not theirs.any():
        return "stale", "the port has not updated it"
    if not ours.any():
        return "stale", "the port has updated it, the reference has not"
    ratio = float(np.vdot(ours, theirs)) / float(np.vdot(ours, ours))
    if relative_error(theirs, ratio * ours) <= _TOLD:
        return "momentum", f"the port's step is {ratio:.4g} times the reference's: another momentum"
    factor = statistic_factor(before, ours, theirs)
    if factor is not None:
        few = max(factor, 1 / factor)
        count = few / (few - 1)
        diagnosis = f"the port's statistic of the batch is {factor:.4g} times the reference's: a variance that is "
        diagnosis += "biased" if factor < 1 else "unbiased"
        return "variance", f"{diagnosis} on its side alone, of {count:.3g} values"
    return "buffer", f"it differs by {relative_error(other, one):.2g} of its norm: another statistic or momentum"


# How exactly the steps must be what a cause says of them.
_TOLD = 1e-3


class _Dropped(NamedTuple):
    """What masks make of a side's outputs, as distances; all zero where none is drawn.

    moved: for each mask, `(masks,)`, from the outputs without one. apart: for each two of them, `(masks / 2,)`, from
    each other.
    """

    moved: np.ndarray
    apart: np.ndarray


def _dropped(side: Side, weights: Weights, setting: Setting, plain: Mapping[str, np.ndarray]) -> _Dropped:
    moved, apart = [], []
    for seed in range(0, _MASKS, 2):
        one, other = (
            side.passed(weights, setting, training=True, dropout=True, seed=each).outputs for each in (seed, seed + 1)
        )
        moved += [_distance(one, plain), _distance(other, plain)]
        apart.append(_distance(one, other))
        # Two masks of few entries may be one by chance, but what they keep is scaled.
        if not apart[0] > 0 and not moved[0] > 0:
            break
    return _Dropped(np.array(moved), np.array(apart))


def _distance(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """Of all outputs together; not a number where they are not finite."""
    return math.hypot(*(norm(array.astype(np.float64) - other[name].astype(np.float64)) for name, array in one.items()))


def _as_one(distances: np.ndarray, by: float) -> np.ndarray:
    """The distances, those of one that are no further apart than `by` as the least of them."""
    found, least = distances.copy(), -math.inf
    for index in np.argsort(distances):
        least = distances[index] if distances[index] > least + by else least
        found[index] = least
    return found


def _compared(dropped: Sequence[_Dropped], rounding: float) -> tuple[np.ndarray, np.ndarray]:
    """The distances of both sides that are to be held against each other, without what rounding makes of them.

    At a rate of 1/2 an entry is doubled or dropped, so that every mask may move the outputs equally far, and only what
    is between two of them tells. Masks of few entries have few distances, which rounding alone has in an order.
    """
    for which in ("moved", "apart"):
        one, other = (getattr(each, which) for each in dropped)
        both = _as_one(np.concatenate([one, other]), rounding)
        one, other = both[: len(one)], both[len(one) :]
        if np.ptp(one) and np.ptp(other):
            break
    return one, other


def _dropout(dropped: Sequence[_Dropped], rounding: float) -> Finding:
    if not all(np.isfinite(each.moved).all() for each in dropped):
        return Finding("", None, None, None, "outputs in training mode are not finite: dropout cannot be compared")
    random = [bool(each.apart.any()) for each in dropped]
    if random[0] != random[1]:
        words = ["is random" if each else "is not" for each in random]
        diagnosis = f"in training mode the reference {words[0]}, the port {words[1]}: dropout is missing on one side"
        return Finding("", False, 1, 0, diagnosis, cause="dropout")
    if not random[0]:
        return Finding("", True, 0, 0, "training draws no masks on either side")
    one, other = _compared(dropped, rounding)
    verdicts = judge(compare(one, other, path="dropout"))
    worst = min((v for v in verdicts if v.evidence.p_value is not None), key=lambda v: v.evidence.p_value or 0.0)
    p_value, level = worst.evidence.p_value or 0.0, worst.allowed or 0.0
    ratio = float(np.mean(other**2) / np.mean(one**2))
    words = f"the change that dropout makes is {ratio:.3g} times the reference's (squared, mean of {_MASKS} masks)"
    ok = worst.passed
    cause = "" if ok else "dropout"
    return Finding("", ok, p_value, level, words, policy="p-value, above the allowed level", cause=cause)
