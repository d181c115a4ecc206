"""The contracts of training: a few steps of an optimizer leave the same, and the two modes mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...common.closeness import error, is_silent, scale
from ...common.errors import NotExpressibleError
from ...common.natives import Native
from ...common.pairs import PairError
from ...common.seeding import generator
from ...common.training import Optimizer, Training
from ..comparison import Comparison
from ..precision import ROUNDINGS, Setting
from ..report import Finding
from ..sides import Side, Weights
from ..statistics import judge
from ..statistics.paired import compare
from .structure import all_paths

STEPS = 3
OPTIMIZERS = (
    Optimizer("sgd", 0.05, momentum=0.9),
    Optimizer("adamw", 1e-3, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8),
)
# How many masks dropout draws on each side; at 2^-64 per side the sign test has reserve for any correction.
_MASKS = 64


def targets(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Fixed normal targets for the outputs, the same on both sides."""
    return [generator(0, f"target {number}").normal(size=shape) for number, shape in enumerate(shapes)]


def training(comparison: Comparison) -> Iterator[Finding]:
    """After some steps each parameter and buffer has moved alike, and what was tied is so still.

    At float32 both are trained in float64 if they can, where no rounding is left for an optimizer to amplify: AdamW
    makes whole steps of a gradient that is zero but for it.

    Where the port holds a parameter in another form, the same step leads elsewhere; it is left out, and a single step
    is made, so that nothing else has seen what came of it.
    """
    weights = _own(comparison)
    for optimizer in OPTIMIZERS:
        reformed = _reformed(comparison, optimizer)
        steps = 1 if reformed else STEPS
        try:
            setting, ours, theirs = _trained(comparison, weights, optimizer, steps)
        except NotExpressibleError as refused:
            yield Finding("", None, None, None, str(refused))
            return
        yield from _moved(comparison, weights, optimizer, steps, setting, ours, theirs, reformed)
        for side, trained in ((comparison.reference, ours), (comparison.port, theirs)):
            yield from _still_tied(comparison, side, trained.natives, optimizer, steps)


def _reformed(comparison: Comparison, optimizer: Optimizer) -> dict[str, str]:
    """By port path, why a step does not lead the port's parameter where it leads the reference's: by the map alone."""
    reasons = {}
    for row in comparison.bound.rows:
        if not comparison.reference.is_free(row.reference):
            continue
        if row.summed:
            reasons[row.port] = "one side trains several tensors where the other has their sum, which goes another way"
        elif row.slope != 1:
            reasons[row.port] = f"the port holds {row.transform} in the place of x: no optimizer scales its steps so"
        elif row.transform and optimizer.weight_decay:
            reasons[row.port] = f"the port holds {row.transform} in the place of x, and weight decay shrinks either"
    return reasons


def _own(comparison: Comparison) -> tuple[Weights, Weights]:
    """The values that the reference has, and what the map makes of them."""
    ours = {path: native.array for path, native in comparison.reference.tensors.items()}
    return ours, comparison.bound.carried(ours)


def _trained(
    comparison: Comparison, weights: tuple[Weights, Weights], optimizer: Optimizer, steps: int
) -> tuple[Setting, Training, Training]:
    setting = comparison.setting
    settings = [setting] if setting.is_coarse else [Setting(setting.device, "float64"), setting]
    for each in settings:
        try:
            ours, theirs = (
                side.train(values, targets, optimizer, steps, each)
                for side, values in zip((comparison.reference, comparison.port), weights, strict=True)
            )
            return each, ours, theirs
        except PairError:
            if each is settings[-1]:
                raise
    raise AssertionError("the last setting returns or raises")


def _moved(
    comparison: Comparison,
    weights: tuple[Weights, Weights],
    optimizer: Optimizer,
    steps: int,
    setting: Setting,
    ours: Training,
    theirs: Training,
    reformed: Mapping[str, str],
) -> Iterator[Finding]:
    """How far each tensor went, and where to, in the port's layout."""
    ours_after = {path: native.array for path, native in ours.natives.items()}
    after = comparison.bound.carried({path: ours_after[path] for path in weights[0]})
    moves = {
        path: (_move(array, weights[1][path]), _move(theirs.natives[path].array, weights[1][path]))
        for path, array in after.items()
        if path in theirs.natives
    }
    exact = _exact_moves(comparison, weights, optimizer, steps, setting)
    loudest = [scale({path: both[side] for path, both in moves.items()}) for side in (0, 1)]
    for path, (one, other) in moves.items():
        row = comparison.bound.map.by_port[path][0]
        if path in reformed:
            yield Finding(row.reference, None, None, None, f"{optimizer.name}: {reformed[path]}", path)
            continue
        limit, policy = comparison.limit, f"{comparison.policy}, of the way gone"
        if is_silent(one, loudest[0], limit) and is_silent(other, loudest[1], limit):
            yield Finding(row.reference, True, 0.0, limit, f"{optimizer.name}: does not move", path, policy)
            continue
        measured, allowed = error(other, one), limit
        if exact is not None:
            own = error(one, exact[path])
            measured, allowed = error(other, exact[path]), max(limit, ROUNDINGS * own)
            policy = f"{ROUNDINGS:g} times the reference's own error {own:.1e} against its float64 run"
        ok = bool(measured <= allowed)
        what = "" if ok else f"{row.reference} (= {path}): after {_steps(steps, optimizer)} "
        if not ok:
            what += "the port has not moved" if not other.any() else f"it went another way, by {measured:.2g} of it"
        if not ok and not np.isfinite(measured):
            what = f"{row.reference} (= {path}): after {_steps(steps, optimizer)} it is not finite"
        cause = "" if ok else _cause(comparison, row, measured)
        yield Finding(row.reference, ok, measured, allowed, what, path, policy, cause, _module(comparison, row, ok))


def _cause(comparison: Comparison, row, measured: float) -> str:  # type: ignore[no-untyped-def]
    if not np.isfinite(measured):
        return "not finite"
    return "training" if comparison.reference.natives[row.reference].trainable else "buffer"


def _steps(steps: int, optimizer: Optimizer) -> str:
    return f"{steps} step{'s' if steps > 1 else ''} of {optimizer.name}"


def _module(comparison: Comparison, row, ok: bool) -> str:  # type: ignore[no-untyped-def]
    if ok:
        return ""
    return f"{comparison.reference.module(row.reference)!r} = {comparison.port.module(row.port)!r}"


def _exact_moves(
    comparison: Comparison, weights: tuple[Weights, Weights], optimizer: Optimizer, steps: int, setting: Setting
) -> dict[str, np.ndarray] | None:
    """Those of the reference in float64, where the comparison itself is coarser; None where there is no need."""
    if setting.precision == "float64":
        return None
    try:
        exact = comparison.reference.train(weights[0], targets, optimizer, steps, Setting(setting.device, "float64"))
    except PairError:
        return None
    after = comparison.bound.carried({path: exact.natives[path].array for path in weights[0]})
    return {path: _move(array, weights[1][path]) for path, array in after.items()}


def _move(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    return after.astype(np.float64) - before.astype(np.float64)


def _still_tied(
    comparison: Comparison, side: Side, after: Mapping[str, Native], optimizer: Optimizer, steps: int
) -> Iterator[Finding]:
    owners = {path: native.path for native in after.values() for path in (native.path, *native.aliases)}
    before = all_paths(side)
    for path, owner in before.items():
        if path != owner and owners.get(path) != owners.get(owner):
            words = f"{path}: after {_steps(steps, optimizer)} it is not {owner} any more in the {side.role}"
            row = (comparison.map.by_reference if side.role == "reference" else comparison.map.by_port)[owner][0]
            module = f"{side.module(path)!r} of the {side.role}"
            yield Finding(row.reference, False, 1, 0, words, row.port, cause="lost tie", module=module)


def modes(comparison: Comparison) -> Iterator[Finding]:
    """Inference changes no buffer and is not random; training updates buffers alike, and is random on both or neither.

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
        size = error(other.astype(np.float64), one.astype(np.float64))
        label = f"the output {name!r}" if name else "the output"
        words, cause = f"in training mode, without dropout, {label} differs by {size:.2g} of its norm", "mode"
        if not np.isfinite(size):
            words, cause = f"in training mode {label} is not finite, or of another shape", "not finite"
        ok = bool(size <= limit)
        yield Finding("", ok, size, limit, "" if ok else words, "", comparison.policy, "" if ok else cause)
    yield from _buffers(comparison, passes[0].buffers, passes[1].buffers)
    yield _dropout(dropped)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Bit for bit, but for what is not a number."""
    return bool(np.array_equal(one, other, equal_nan=True))


def _inference(comparison: Comparison, sides: Sequence[tuple[Side, Weights]]) -> Iterator[Finding]:
    for side, weights in sides:
        masks = [side.passed(weights, comparison.setting, training=False, dropout=True, seed=seed) for seed in (0, 1)]
        random = any(not _equal(array, masks[1].outputs[name]) for name, array in masks[0].outputs.items())
        words = f"the {side.role} is random in inference mode" if random else f"{side.role}: inference is not random"
        yield Finding("", not random, float(random), 0, words, cause="dropout" if random else "")
        for path, array in masks[0].buffers.items():
            if path not in side.tensors:
                continue
            before = np.asarray(weights.get(path, side.tensors[path].array), array.dtype)
            if not _equal(before, array):
                words = f"{path}: inference changes this buffer of the {side.role}"
                where = (path, "") if side.role == "reference" else ("", path)
                yield Finding(where[0], False, 1, 0, words, where[1], cause="mode")


def _buffers(
    comparison: Comparison, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
) -> Iterator[Finding]:
    for row in comparison.bound.rows:
        if row.reference not in ours or row.port not in theirs or not row.is_whole:
            continue
        one, other = row.to_port(ours[row.reference].astype(np.float64)), theirs[row.port].astype(np.float64)
        size = error(other, one)
        ok = bool(size <= comparison.limit)
        cause, told = ("", "") if ok else _wrong_buffer(comparison, row, one, other)
        words = f"{row.reference} (= {row.port}): after one pass in training mode {told}" if told else ""
        yield Finding(
            row.reference,
            ok,
            size,
            comparison.limit,
            words,
            row.port,
            comparison.policy,
            cause,
            _module(comparison, row, ok),
        )


def _wrong_buffer(comparison: Comparison, row, one: np.ndarray, other: np.ndarray) -> tuple[str, str]:  # type: ignore[no-untyped-def]
    """A cause, and words for the step that each side's running statistic made."""
    before = np.asarray(comparison.bound.theirs[row.port], np.float64)
    ours, theirs = one - before, other - before
    if not theirs.any():
        return "stale", "the port has not updated it"
    if not ours.any():
        return "stale", "the port has updated it, the reference has not"
    ratio = float(np.vdot(ours, theirs)) / float(np.vdot(ours, ours))
    if error(theirs, ratio * ours) <= _TOLD:
        return "momentum", f"the port's step is {ratio:.4g} times the reference's: another momentum"
    factor = _statistic_factor(before, ours, theirs)
    if factor is not None:
        few = max(factor, 1 / factor)
        count = few / (few - 1)
        told = f"the port's statistic of the batch is {factor:.4g} times the reference's: a variance that is "
        told += "biased" if factor < 1 else "unbiased"
        return "variance", f"{told} on its side alone, of {count:.3g} values"
    return "buffer", f"it differs by {error(other, one):.2g} of its norm: another statistic or momentum"


# How exactly the steps must be what a cause says of them.
_TOLD = 1e-3


def _statistic_factor(before: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """How many times the reference's statistic of the batch the port's is, at one momentum; None if that is not so.

    From b a statistic goes the way m (s - b). With k s in the place of s that is k times the reference's, and
    m (k - 1) b besides: two unknowns, and an equation for each channel.
    """
    if before.size < 4:
        return None
    columns = np.stack([ours.ravel(), before.ravel()], 1)
    (factor, rest), *_ = np.linalg.lstsq(columns, theirs.ravel(), rcond=None)
    fits = error(columns @ np.array([factor, rest]), theirs.ravel()) <= _TOLD
    return float(factor) if fits and factor > 0 and 0 < rest / (factor - 1) <= 1 else None


def _dropped(side: Side, weights: Weights, setting: Setting, plain: Mapping[str, np.ndarray]) -> np.ndarray:
    """For each mask how far the outputs are from those without dropout, `(masks,)`; all zero where there is none."""
    found = []
    for seed in range(_MASKS):
        outputs = side.passed(weights, setting, training=True, dropout=True, seed=seed).outputs
        apart = [
            np.sum((outputs[name].astype(np.float64) - array.astype(np.float64)) ** 2) for name, array in plain.items()
        ]
        found.append(float(np.sum(apart)))
        if seed == 1 and (found[0] == found[1] or not np.isfinite(found).all()):
            # Neither mask made a difference of its own, so none is drawn.
            return np.full(_MASKS, found[0])
    return np.array(found)


def _dropout(dropped: Sequence[np.ndarray]) -> Finding:
    if not all(np.isfinite(each).all() for each in dropped):
        return Finding("", None, None, None, "outputs in training mode are not finite: dropout cannot be compared")
    random = [bool(np.ptp(each)) for each in dropped]
    if random[0] != random[1]:
        words = ["is random" if each else "is not" for each in random]
        told = f"in training mode the reference {words[0]}, the port {words[1]}: dropout is missing on one side"
        return Finding("", False, 1, 0, told, cause="dropout")
    if not random[0]:
        return Finding("", True, 0, 0, "training draws no masks on either side")
    verdicts = judge(compare(dropped[0], dropped[1], path="dropout"))
    worst = min((v for v in verdicts if v.evidence.p_value is not None), key=lambda v: v.evidence.p_value or 0.0)
    p_value, level = worst.evidence.p_value or 0.0, worst.allowed or 0.0
    ratio = float(np.mean(dropped[1]) / np.mean(dropped[0]))
    words = f"the change that dropout makes is {ratio:.3g} times the reference's (squared, mean of {_MASKS} masks)"
    ok = worst.passed
    cause = "" if ok else "dropout"
    return Finding("", ok, p_value, level, words, policy="p-value, above the allowed level", cause=cause)
