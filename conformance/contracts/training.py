"""The contract of training: a few steps of an optimizer leave the same on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.seeding import generator
from ...common.wing import Optimizer, PairError, StoredTensor, Training
from ...pairs.closeness import is_zero_gradient, largest_gradient, relative_error
from ...pairs.comparison import Comparison
from ...pairs.maps import MapRow
from ...pairs.precision import ROUNDINGS, Setting
from ...pairs.side import Side, Weights
from ..results import Finding
from .structure import all_paths

STEPS = 3
OPTIMIZERS = (
    Optimizer("sgd", 0.05, momentum=0.9),
    Optimizer("adamw", 1e-3, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8),
)


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
            yield from _still_tied(comparison, side, trained.stored_tensors, optimizer, steps)


def _reformed(comparison: Comparison, optimizer: Optimizer) -> dict[str, str]:
    """By port path, why a step does not lead the port's parameter where it leads the reference's: by the map alone."""
    reasons = {}
    for row in comparison.bound.rows:
        if not comparison.reference.is_free(row.reference):
            continue
        if row.summed:
            reasons[row.port] = "one side trains several tensors where the other has their sum, which goes another way"
        elif row.copied:
            reasons[row.port] = "one side trains one tensor where the other has copies of it, which go different ways"
        elif row.slope != 1:
            reasons[row.port] = f"the port holds {row.transform} in the place of x: no optimizer scales its steps so"
        elif row.transform and optimizer.weight_decay:
            reasons[row.port] = f"the port holds {row.transform} in the place of x, and weight decay shrinks either"
    return reasons


def _own(comparison: Comparison) -> tuple[Weights, Weights]:
    """The values that the reference has, and what the map makes of them."""
    held = {path: native.array for path, native in comparison.reference.tensors.items()}
    ours = comparison.bound.alike(held)
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
    ours_after = {path: native.array for path, native in ours.stored_tensors.items()}
    after = comparison.bound.carried({path: ours_after[path] for path in weights[0]})
    moves = {
        path: (_move(array, weights[1][path]), _move(theirs.stored_tensors[path].array, weights[1][path]))
        for path, array in after.items()
        if path in theirs.stored_tensors
    }
    exact = _exact_moves(comparison, weights, optimizer, steps, setting)
    largest = [largest_gradient({path: both[side] for path, both in moves.items()}) for side in (0, 1)]
    for path, (one, other) in moves.items():
        row = comparison.bound.map.by_port[path][0]
        if path in reformed:
            yield Finding(row.reference, None, None, None, f"{optimizer.name}: {reformed[path]}", path)
            continue
        limit, policy = comparison.limit, f"{comparison.policy}, of the way gone"
        if is_zero_gradient(one, largest[0], limit) and is_zero_gradient(other, largest[1], limit):
            yield Finding(row.reference, True, 0.0, limit, f"{optimizer.name}: does not move", path, policy)
            continue
        measured, allowed = relative_error(other, one), limit
        if exact is not None:
            own = relative_error(one, exact[path])
            measured, allowed = relative_error(other, exact[path]), max(limit, ROUNDINGS * own)
            policy = f"{ROUNDINGS:g} times the reference's own error {own:.1e} against its float64 run"
        if measured <= allowed:
            yield Finding(row.reference, True, measured, allowed, "", path, policy)
            continue
        words = f"{row.reference} (= {path}): after {_steps(steps, optimizer)} {_went(other, measured)}"
        cause, module = _cause(comparison, row, measured), comparison.bound.modules(row)
        yield Finding(row.reference, False, measured, allowed, words, path, policy, cause, module)


def _went(move: np.ndarray, measured: float) -> str:
    if not np.isfinite(measured):
        return "it is not finite"
    return f"it went another way, by {measured:.2g} of it" if move.any() else "the port has not moved"


def _cause(comparison: Comparison, row: MapRow, measured: float) -> str:
    if not np.isfinite(measured):
        return "not finite"
    return "training" if comparison.reference.stored_tensors[row.reference].trainable else "buffer"


def _steps(steps: int, optimizer: Optimizer) -> str:
    return f"{steps} step{'s' if steps > 1 else ''} of {optimizer.name}"


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
    after = comparison.bound.carried({path: exact.stored_tensors[path].array for path in weights[0]})
    return {path: _move(array, weights[1][path]) for path, array in after.items()}


def _move(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    return after.astype(np.float64) - before.astype(np.float64)


def _still_tied(
    comparison: Comparison, side: Side, after: Mapping[str, StoredTensor], optimizer: Optimizer, steps: int
) -> Iterator[Finding]:
    owners = {path: native.path for native in after.values() for path in (native.path, *native.aliases)}
    before = all_paths(side)
    for path, owner in before.items():
        if path != owner and owners.get(path) != owners.get(owner):
            words = f"{path}: after {_steps(steps, optimizer)} it is not {owner} any more in the {side.role}"
            own, other = comparison.bound.partners(side, owner)
            module = f"{side.module(path)!r} of the {side.role}"
            yield Finding(own, False, 1, 0, words, other, cause="lost tie", module=module)
