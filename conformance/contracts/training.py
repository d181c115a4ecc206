"""The contract of training: a few steps of an optimizer leave the same on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.wing import Optimizer, PairError, StoredTensor, Training
from ...pairs.closeness import (
    MOST_TIMES,
    is_zero_gradient,
    largest_gradient,
    norm,
    relative_error,
    root_mean_square,
    rows_apart,
)
from ...pairs.comparison import Comparison, output_errors
from ...pairs.kept import PADDING, kept_rows, words_of, zero_rows
from ...pairs.maps import MapRow
from ...pairs.precision import ROUNDINGS, Setting
from ...pairs.side import Side
from ...pairs.weight_norms import norms_of
from ..explain import FRAMEWORK, Diagnosis, biased_variance
from ..results import Finding
from .moves import OPTIMIZERS, Move, Steps
from .structure import all_paths

STEPS = 3


def training(comparison: Comparison) -> Iterator[Finding]:
    """After some steps each parameter and buffer has moved alike, and what was tied is so still.

    At float32 both are trained in float64 if they can, where less rounding is left for an optimizer to amplify: AdamW
    makes whole steps of a gradient that is zero but for it. What rounding does to the moves of either side is measured
    where they are not alike (see `moves`): an entry of which both sides' gradients are no more than that is left out.

    Where the port holds a parameter in another form, the same step leads elsewhere; it is left out, and a single step
    is made, so that nothing else has seen what came of it.
    """
    idle: dict[str, str] = {}
    for optimizer in OPTIMIZERS:
        left = reformed(comparison, decays=bool(optimizer.weight_decay))
        try:
            steps, ours, theirs = both_trained(comparison, optimizer, 1 if left else STEPS)
        except NotExpressibleError as refused:
            yield Finding("", None, None, None, str(refused))
            return
        idle = idle or _idle(steps, ours, theirs)
        if idle and optimizer is OPTIMIZERS[0]:
            yield _of_idle(comparison, len(idle))
        yield from moved(steps, ours, theirs, left | idle)
        for side, trained in ((comparison.reference, ours), (comparison.port, theirs)):
            yield from still_tied(comparison, side, trained.stored_tensors, steps)


def reformed(comparison: Comparison, *, decays: bool) -> dict[str, str]:
    """By port path, why a step does not lead the port's parameter where it leads the reference's: by the map alone."""
    reasons = {}
    norms = norms_of(comparison.reference), norms_of(comparison.port)
    for row in comparison.bound.rows:
        if not comparison.reference.is_free(row.reference):
            continue
        if row.reference in norms[0] or row.port in norms[1]:
            side, other = ("reference", "port") if row.reference in norms[0] else ("port", "reference")
            reasons[row.port] = f"the {side} trains a magnitude and a direction, whose product the {other} trains"
        elif row.summed:
            reasons[row.port] = "one side trains several tensors where the other has their sum, which goes another way"
        elif row.copied:
            reasons[row.port] = "one side trains one tensor where the other has copies of it, which go different ways"
        elif row.slope != 1:
            reasons[row.port] = f"the port holds {row.transform} in the place of x: no optimizer scales its steps so"
        elif row.transform and decays:
            reasons[row.port] = f"the port holds {row.transform} in the place of x, and weight decay shrinks either"
    return reasons


def _idle(steps: Steps, ours: Training, theirs: Training) -> dict[str, str]:
    """By port path why nothing is compared, where the gradient alone moves parameters and moves none on either side.

    What weight decay makes of them is no more than they were. None where training is to leave all of them alone.
    """
    comparison, start = steps.comparison, steps.start
    if steps.optimizer is None or steps.optimizer.weight_decay:
        return {}
    free = [row for row in comparison.bound.rows if _is_free(comparison, row)]
    moved = (steps.moves(comparison.reference, start, ours), steps.moves(comparison.port, start, theirs))
    is_moved = any(each[row.port].any() for row in free for each in moved if row.port in each)
    return {} if is_moved else {row.port: "no gradient moves a parameter on either side" for row in free}


def _is_free(comparison: Comparison, row: MapRow) -> bool:
    return comparison.reference.is_free(row.reference) and comparison.port.is_free(row.port)


def _of_idle(comparison: Comparison, count: int) -> Finding:
    """A failure, unless `gradients` has said so already."""
    words = (
        f"training was not compared: no gradient moves any of {count} parameters on either side. Take what stops them "
        "(no_grad, detach, stop_gradient) out of the calls in training mode, or give inputs that reach the parameters"
    )
    if not comparison.has_gradients:
        return Finding("", None, None, None, words)
    return Finding("", False, count, 0, words, cause="no gradient")


def both_trained(comparison: Comparison, optimizer: Optimizer | None, count: int) -> tuple[Steps, Training, Training]:
    """Some steps and what they leave of both sides: in float64 if both can.

    Raises:
        PairError, NotExpressibleError: as `Steps.trained`.
    """
    setting = comparison.setting
    settings = [setting] if setting.is_coarse else [Setting(setting.device, "float64"), setting]
    for each in settings:
        steps = Steps(comparison, each, optimizer, count)
        try:
            ours, theirs = (steps.trained(side, steps.start) for side in (comparison.reference, comparison.port))
            return steps, ours, theirs
        except PairError:
            if each is settings[-1]:
                raise
    raise AssertionError("the last setting returns or raises")


class _Judged(NamedTuple):
    """The error of a move, and what is allowed and why.

    diagnosis: of one that is too large. seen: what is said of one that is not.
    """

    measured: float
    allowed: float
    policy: str
    diagnosis: Diagnosis
    seen: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.measured <= self.allowed)


def moved(steps: Steps, ours: Training, theirs: Training, reformed: Mapping[str, str]) -> Iterator[Finding]:
    """How far each tensor went, and where to, in the port's layout."""
    comparison, start = steps.comparison, steps.start
    one, other = steps.moves(comparison.reference, start, ours), steps.moves(comparison.port, start, theirs)
    moves = {path: Move(move, other[path]) for path, move in one.items() if path in other}
    largest = _largest(moves)
    exact = _exact_moves(steps)
    asked = {path: move for path, move in moves.items() if path not in reformed}
    judged = {path: _plainly(steps, move, largest, exact.get(path)) for path, move in asked.items()}
    # A coarse run is judged by the reference's own error, which is what rounding makes of it.
    if not comparison.setting.is_coarse:
        apart = {path: asked[path] for path, each in judged.items() if not each.ok and not each.diagnosis.cause}
        judged.update(_beyond_rounding(steps, apart, largest) if apart else {})
    wrong = [path for path, each in judged.items() if not each.ok]
    later = _later(steps, moves, wrong)
    first = ", ".join(path for path in wrong if path not in later)
    at_start = _at_start(steps) if wrong else {}
    reasons = {
        **reformed,
        **dict.fromkeys(later, f"its first step is the reference's, the next follow that of {first}"),
    }
    for path, move in moves.items():
        row = _row(comparison, path, move)
        if path in reasons:
            yield Finding(row.reference, None, None, None, f"{steps.name}: {reasons[path]}", path)
            continue
        each = judged[path]
        words, cause, module = each.seen, "", ""
        if not each.ok:
            words = f"{row.reference} (= {path}): after {steps} {each.diagnosis.words}"
            cause, module = each.diagnosis.cause or _cause(comparison, row), comparison.bound.modules(row)
        found = Finding(row.reference, each.ok, each.measured, each.allowed, words, path, each.policy, cause, module)
        yield found if each.ok else replace(found, details={**_of_frameworks(steps, row, move), **at_start})


def _later(steps: Steps, moves: Mapping[str, Move], wrong: Sequence[str]) -> set[str]:
    """Of what went another way the tensors that did not in the first step, where others did: they follow these."""
    first = _first(steps, moves) if len(wrong) > 1 and steps.count > 1 else {}
    later = {path for path in wrong if first and _plainly(steps, first[path], _largest(first), None).ok}
    return later if len(later) < len(wrong) else set()


def _first(steps: Steps, paths: Iterable[str]) -> dict[str, Move]:
    """The first step alone; none of a record, which may not hold it."""
    try:
        return replace(steps, count=1).again(paths)
    except NotExpressibleError:
        return {}


def _at_start(steps: Steps) -> dict[str, float]:
    """The details of steps from where outputs may differ: by how much, which `forward` has measured at other values."""
    comparison = steps.comparison
    starts = (comparison.reference, steps.start), (comparison.port, comparison.bound.carried(steps.start))
    try:
        ours, theirs = (side.probe(weights, steps.setting) for side, weights in starts)
    except (PairError, NotExpressibleError):
        return {}
    return {"start": max(output_errors(ours, theirs))}


def _of_frameworks(steps: Steps, row: MapRow, move: Move) -> dict[str, str]:
    """The details of what the frameworks themselves differ in."""
    bound = steps.comparison.bound
    if not row.is_whole or bound.reference.is_free(row.reference):
        return {}
    before = bound.carried(steps.start)[row.port].astype(np.float64)
    words = biased_variance(bound, row, before, move.ours, move.theirs, steps.setting.device)
    return {FRAMEWORK: words} if words else {}


def _row(comparison: Comparison, path: str, move: Move) -> MapRow:
    """Of the rows of a port's tensor the one whose piece is most apart."""
    rows = comparison.bound.map.by_port[path]
    return rows[0] if len(rows) == 1 else max(rows, key=lambda row: norm(row.port_piece.of(move.theirs - move.ours)))


def _cause(comparison: Comparison, row: MapRow) -> str:
    return "training" if comparison.reference.stored_tensors[row.reference].trainable else "buffer"


def _plainly(steps: Steps, move: Move, largest: tuple[float, float], exact: np.ndarray | None) -> _Judged:
    """By the limit of rounding, or by the reference's own error against its `exact` move."""
    limit, policy = steps.limit, f"{steps.policy}, of the way gone"
    if all(is_zero_gradient(each, most, limit) for each, most in zip(move, largest, strict=True)):
        return _Judged(0.0, limit, policy, Diagnosis("", ""), f"{steps.name}: does not move")
    for each, role in zip(move, ("reference", "port"), strict=True):
        if not np.isfinite(each).all():
            return _Judged(np.inf, limit, policy, Diagnosis("not finite", f"it is not finite in the {role}"))
    measured, allowed = _error(move, largest), limit
    if exact is not None and exact.any():
        own = relative_error(move.ours, exact)
        measured, allowed = relative_error(move.theirs, exact), max(limit, ROUNDINGS * own)
        policy = f"{ROUNDINGS:g} times the reference's own error {own:.1e} against its float64 run"
    return _Judged(measured, allowed, policy, Diagnosis("", _went(move, measured)))


def _largest(moves: Mapping[str, Move]) -> tuple[float, float]:
    ours, theirs = (largest_gradient({path: each[side] for path, each in moves.items()}) for side in (0, 1))
    return ours, theirs


def _error(move: Move, largest: tuple[float, float]) -> float:
    """The error of the port's move; beside its largest one where the reference does not move, which is no measure."""
    if move.ours.any() or not move.theirs.any():
        return relative_error(move.theirs, move.ours)
    return root_mean_square(move.theirs) / largest[1]


def _beyond_rounding(steps: Steps, moves: Mapping[str, Move], largest: tuple[float, float]) -> dict[str, _Judged]:
    """Moves that are not alike, judged without the entries that either side's rounding alone moves.

    What is left may have gone another way for rounding's sake, too, but for what one side alone trains.
    """
    limit, gradients = steps.limit, steps.gradients()
    are_sums = gradients.optimizer == steps.optimizer
    sums = moves if are_sums else gradients.again(moves)
    noise = gradients.noise(sums)
    zero = {path: each.zero(noise[path]) for path, each in sums.items()}
    left = {path: move.where(~(zero[path][0] & zero[path][1])) for path, move in moves.items()}
    apart = {path: moves[path] for path, each in left.items() if _error(each, largest) > limit}
    own = noise if are_sums else steps.noise(apart) if apart else {}
    policy = f"{steps.policy}, of the way gone, beyond {ROUNDINGS:g} times the noise of rounding"
    judged = {}
    for path, each in left.items():
        seen = "" if each.ours.any() else f"{steps.name}: the gradient is zero but for rounding"
        if path in apart:
            each = each.beyond(own[path].where(~sums[path].alone(noise[path])))
        judged[path] = _Judged(_error(each, largest), limit, policy, Diagnosis("", ""), seen)
    wrong = [path for path, each in judged.items() if not each.ok]
    first = _first(gradients, wrong)
    for path in wrong:
        diagnosis = _kept(steps.comparison, path, first[path]) if first else None
        diagnosis = diagnosis or _diagnosis(steps.comparison, path, left[path], zero[path], judged[path].allowed)
        judged[path] = judged[path]._replace(diagnosis=diagnosis)
    return judged


def _diagnosis(
    comparison: Comparison, path: str, move: Move, zero: tuple[np.ndarray, np.ndarray], allowed: float
) -> Diagnosis:
    """What is wrong with a move. zero: where the gradients of the sides are no more than rounding."""
    row, left = comparison.bound.map.by_port[path][0], ~(zero[0] & zero[1])
    stored = comparison.reference.stored_tensors[row.reference], comparison.port.stored_tensors[path]
    is_trained, sides = any(each.trainable for each in stored), ("reference", "port")
    for mine, other in ((0, 1), (1, 0)):
        alone = left & zero[other]
        if not alone.any() or relative_error(*move.where(left & ~alone)) > allowed:
            continue
        cause = f"only the {sides[mine]} {'trains' if is_trained else 'moves'} it"
        few = "" if alone[left].all() else f" in {np.count_nonzero(alone)} of {alone.size} entries"
        kind = " (frozen)" if stored[other].frozen else "" if stored[other].trainable else " (a buffer)"
        words = f"{cause}{few}, by {root_mean_square(move[mine][alone]):.2g} (root mean square): the {sides[other]}'s"
        if not is_trained:
            return Diagnosis("", f"{words} has not moved")
        return Diagnosis(cause, f"{words}{kind} has no gradient there beyond rounding")
    return Diagnosis("", _went(move, relative_error(move.theirs, move.ours)))


def _went(move: Move, size: float) -> str:
    """How far a move went another way. size: its error; to a move that is next to nothing a ratio says nothing."""
    if size <= MOST_TIMES:
        return f"it went another way, by {size:.2g} of it"
    ours, theirs = (root_mean_square(each) for each in move)
    return f"it moved by {theirs:.2g} (root mean square), where the reference's moved by {ours:.2g}"


def _kept(comparison: Comparison, path: str, first: Move) -> Diagnosis | None:
    """That rows alone differ, which one side keeps: by the first step, or if it trains them elsewhere by the sites."""
    row, *others = comparison.bound.map.by_port[path]
    places = rows_apart(first.theirs, first.ours, comparison.limit)
    both = comparison.bound.gradients(row, *(probe.gradients for probe in comparison.probes))
    if places is None or both is None or others:
        return None
    kept = zero_rows(places, *first)
    kept = kept or kept_rows(comparison, row, comparison.bound.ordinary, *both, comparison.limit)
    return Diagnosis(PADDING, f"its first step differs {words_of(kept)}") if kept else None


def _exact_moves(steps: Steps) -> dict[str, np.ndarray]:
    """Those of the reference in float64, where the comparison itself is coarse."""
    if not steps.comparison.setting.is_coarse:
        return {}
    exact = replace(steps, setting=Setting(steps.setting.device, "float64"))
    try:
        trained = exact.trained(exact.comparison.reference, exact.start)
    except PairError:
        return {}
    return exact.moves(exact.comparison.reference, exact.start, trained)


def still_tied(
    comparison: Comparison, side: Side, after: Mapping[str, StoredTensor], steps: Steps
) -> Iterator[Finding]:
    """A failure for each tie of a side that the steps have lost."""
    owners = {path: native.path for native in after.values() for path in (native.path, *native.aliases)}
    before = all_paths(side)
    for path, owner in before.items():
        if path != owner and owners.get(path) != owners.get(owner):
            words = f"{path}: after {steps} it is not {owner} any more in the {side.role}"
            own, other = comparison.bound.partners(side, owner)
            module = f"{side.module(path)!r} of the {side.role}"
            yield Finding(own, False, 1, 0, words, other, cause="lost tie", module=module)
