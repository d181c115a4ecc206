"""The contracts of arithmetic: outputs, gradients and layouts at values of their own, carried by the map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.wing import Probe
from ...pairs.closeness import (
    MOST_TIMES,
    is_comparable,
    is_zero_gradient,
    largest_gradient,
    norm,
    relative_error,
    root_mean_square,
)
from ...pairs.comparison import Comparison, Point, Rounding, fine, output_errors
from ...pairs.kept import PADDING, kept_rows, words_of
from ...pairs.localize import locate
from ...pairs.maps import MapRow
from ...pairs.precision import COARSEST, ROUNDINGS
from ...pairs.side import Side
from ...pairs.values import cotangents
from ...pairs.weight_norms import norms_of, stored_as_it_is
from ..explain import Diagnosis, diagnosis_of, entered, explain, modules, other_orders, position
from ..results import WHY, Finding

Arrays = Mapping[str, np.ndarray]


class _Error(NamedTuple):
    """An error, and what is allowed after a look at the reference's own, where there was need of one."""

    measured: float
    allowed: float
    policy: str
    own: float = 0.0

    @property
    def ok(self) -> bool:
        return self.measured <= self.allowed


def forward(comparison: Comparison) -> Iterator[Finding]:
    """Each output of the port is the reference's; if not, the first module that differs is sought.

    At values of ordinary size, and if it is so there also at faint and at large ones, where an eps or a bound shows.
    """
    bound, (ours, theirs) = comparison.bound, comparison.probes
    plain = list(_outputs(comparison, bound.ordinary, ours.outputs, theirs.outputs, comparison.rounding))
    yield from plain
    if comparison.setting.is_coarse or not all(finding.ok for finding in plain):
        return
    for point in chain(bound.outer_points, _faint_beginning(comparison)):
        found = list(_outputs_at(comparison, point))
        yield from found
        milder = bound.less_faint(point) if any(finding.ok is None for finding in found) else None
        if milder is not None:
            yield from _outputs_at(comparison, milder)


def _outputs_at(comparison: Comparison, point: Point) -> Iterator[Finding]:
    one, other = comparison.outputs_at(point)
    # Where the reference has no number, as the root of a negative one, nothing can be compared.
    comparable = {name: array for name, array in one.items() if is_comparable(array)}
    partners = {name: other[partner] for name, partner in zip(one, other, strict=True) if name in comparable}
    return _outputs(comparison, point, comparable, partners, comparison.rounding_at(point))


def _faint_beginning(comparison: Comparison) -> Iterator[Point]:
    """Where only what enters is faint: beside a residual an eps shows in none of the points where all is.

    Not of large models, whose calls take too long to be watched; their tables are faint enough at the ordinary values.
    """
    bound = comparison.bound
    first = entered(comparison) if comparison.reference.is_small else set[str]()
    if first and len(first) < len(bound.ours):
        ours = {path: value * bound.fainter(path) if path in first else value for path, value in bound.ours.items()}
        yield bound.point("faint first layers", ours)


def _outputs(
    comparison: Comparison, point: Point, ours: Arrays, theirs: Arrays, rounding: Rounding
) -> Iterator[Finding]:
    place, diagnosis = None, None
    where = f" at {point.name}" if point.name else ""
    values = {"values": point.name} if point.name else {}
    for (name, one), two in zip(ours.items(), theirs.values(), strict=True):
        judged = _judged(comparison, one, two, rounding, lambda probe, name=name: probe.outputs[name])
        label = (f"output {name!r}" if name else "the output") + where
        if judged.ok:
            yield _finding("", judged, f"{label} agrees", details={"output": name, **values})
            continue
        own = max(judged.own, comparison.shaken_at(point).get(name, 0.0)) if point.name else 0.0
        if own > COARSEST:
            words = f"{label}: nothing can be told, since rounding alone moves the reference's by {own:.1e}"
            yield Finding("", None, None, None, words)
            continue
        if diagnosis is None:
            place = locate(comparison, point)
            diagnosis = explain(comparison, point, place, ours, theirs)
            if place is not None and place.cause is not None and diagnosis.cause != place.cause.name:
                # A mistake that can be undone says more than what is done there.
                place = replace(place, cause=None)
        size = _size(judged.measured, one, two)
        parts = (
            f"{label} differs{size}.",
            _alike(one, two),
            str(place or comparison.reference.unseen),
            diagnosis.words,
        )
        words = " ".join(part.strip() for part in parts if part) + (place.excerpts if place else "")
        cause = diagnosis.cause or _plain_cause(one, two)
        likely = str(place.cause) if place is not None and place.cause is not None else diagnosis.words
        details = {"output": name, **values, **({WHY: likely} if likely else {})}
        yield _finding("", judged, words.strip(), cause=cause, module=modules(place), details=details)


def _size(error: float, one: np.ndarray, two: np.ndarray) -> str:
    """How large an error is; beside an output that is next to nothing no ratio tells."""
    if error <= MOST_TIMES:
        return f" by {error:.2g} of its norm"
    if not np.isfinite(error):
        return ""
    return (
        f": it is {root_mean_square(two):.2g} (root mean square), where the reference's is {root_mean_square(one):.2g}"
    )


def _plain_cause(one: np.ndarray, two: np.ndarray) -> str:
    if one.shape != two.shape:
        return "shape"
    return "" if np.isfinite(two.astype(np.float64)).all() else "not finite"


def _alike(one: np.ndarray, two: np.ndarray) -> str:
    if one.shape != two.shape:
        return f"It has shape {two.shape}, expected {one.shape}. "
    counts = [int(np.count_nonzero(~np.isfinite(each.astype(np.float64)))) for each in (one, two)]
    if not any(counts):
        return ""
    return f"Not finite are {counts[0]} of the reference's {one.size:,} entries and {counts[1]} of the port's. "


def gradients(comparison: Comparison) -> Iterator[Finding]:
    """The gradient of <outputs, cotangents> by each parameter is the reference's, in the port's layout."""
    shapes = [[array.shape for array in probe.outputs.values()] for probe in comparison.probes]
    if shapes[0] != shapes[1]:
        words = "the outputs have other shapes, so that there is no one number to differentiate on both sides"
        yield Finding("", None, None, None, words)
        return
    found = {row: _pair_of(comparison, row) for row in comparison.bound.rows}
    if not comparison.has_gradients:
        count = sum(both is not None for both in found.values())
        if count:
            yield Finding("", False, count, 0, _NOTHING.format(count=count), cause="no gradient")
        return
    judged: dict[MapRow, _Error] = {}
    for row, both in found.items():
        if both is None:
            yield from _unknown(comparison, row)
            continue
        frozen = _is_stopped(comparison, row, *both)
        if frozen:
            yield Finding(row.reference, None, None, None, frozen, row.port)
        else:
            judged[row] = _row_error(comparison, row, *both)
    wrong = [row for row, each in judged.items() if not each.ok]
    is_hidden = bool(wrong) and _outputs_agree(comparison)
    boundary = _boundary(comparison, wrong) if is_hidden else ""
    place = (
        f"; the outputs agree, and of all modules with a wrong gradient {boundary} is called last" if boundary else ""
    )
    # Outputs that agree at this precision may differ in a finer one, and by something known.
    finer = locate(comparison, comparison.bound.ordinary) if is_hidden else None
    if finer is not None and finer.module_cause is not None:
        place, boundary = f"; beyond rounding the outputs differ too. {finer}", modules(finer)
    known = finer.module_cause.name if finer is not None and finer.module_cause is not None else ""
    expected = {row.reference: both[0] for row, both in found.items() if both is not None} if wrong else {}
    diagnosed: dict[MapRow, Diagnosis] = {}
    for row in wrong:
        ours, theirs = found[row] or (np.zeros(0), np.zeros(0))
        others = {path: array for path, array in expected.items() if path != row.reference}
        diagnosed[row] = _gradient_diagnosis(comparison, row, ours, theirs, judged[row].allowed, others)
    silent = [row for row, diagnosis in diagnosed.items() if diagnosis.cause == "zero"]
    details = (
        _placed(comparison, wrong, boundary)
        if boundary
        else _elsewhere(comparison, wrong) | _placed(comparison, silent, _boundary(comparison, silent))
    )
    for row, each in judged.items():
        if each.ok:
            yield _finding(row.reference, each, port_path=row.port)
            continue
        diagnosis = diagnosed[row]
        cause, where = _gradient_cause(diagnosis), (place, boundary)
        if cause == "gradient scale" and not is_hidden and np.prod(row.shape) == 1:
            # Any number is some times another one.
            cause = ""
        # What outputs that nearly agree cannot make, as rows that one side keeps, is the tensor's own matter.
        if cause == PADDING or (known and cause not in ("", "gradient scale", "shift")):
            where = ("", "")
        else:
            cause = known or cause
        words = f"{_named(row)}: the gradient {diagnosis.words}{where[0]}"
        module = where[1] or comparison.bound.modules(row)
        yield _finding(row.reference, each, words, row.port, cause, module, details.get(row))


# Zeros agree whatever the port does with its parameters.
_NOTHING = (
    "no gradient was compared: those of all {count} parameters are zero on both sides. Take what stops them (no_grad, "
    "detach, stop_gradient) out of the calls, or give inputs that reach the parameters. Two programs that are never "
    "trained are to be checked without this contract, or with it as a known difference"
)


def _gradient_diagnosis(
    comparison: Comparison, row: MapRow, ours: np.ndarray, theirs: np.ndarray, allowed: float, others: Arrays
) -> Diagnosis:
    """What the port's gradient is: beside one that is zero but for rounding no ratio tells."""
    if ours.shape == theirs.shape and np.isfinite(theirs).all():
        kept = kept_rows(comparison, row, comparison.bound.ordinary, ours, theirs, allowed)
        if kept:
            return Diagnosis(PADDING, f"differs {words_of(kept)}")
        if is_zero_gradient(ours, comparison.largest[0], comparison.limit):
            words = f"is {root_mean_square(theirs):.2g} (root mean square), where the reference's is no more than "
            return Diagnosis("gradient in the port alone", f"{words}rounding, {root_mean_square(ours):.2g}")
    return diagnosis_of(theirs, ours, allowed, others)


def _gradient_cause(diagnosis: Diagnosis) -> str:
    return {"zero": "no gradient", "scale": "gradient scale"}.get(diagnosis.cause, diagnosis.cause)


def _outputs_agree(comparison: Comparison) -> bool:
    return all(error <= comparison.limit for error in output_errors(*comparison.probes))


def _boundary(comparison: Comparison, wrong: list[MapRow]) -> str:
    """The last module with a wrong gradient: from the outputs back to it all gradients are right."""
    positions = position(comparison)
    placed = [(positions[row.reference], row) for row in wrong if row.reference in positions]
    if not placed:
        return ""
    last = max(placed, key=lambda each: each[0])[1]
    return comparison.bound.modules(last)


def _placed(comparison: Comparison, wrong: list[MapRow], boundary: str) -> dict[MapRow, Mapping[str, object]]:
    """For each of these gradients whether it is one of the module that is called last, from where all others come."""
    return {row: {"called_last": comparison.bound.modules(row) == boundary} for row in wrong}


def _elsewhere(comparison: Comparison, wrong: list[MapRow]) -> dict[MapRow, Mapping[str, object]]:
    """For each wrong gradient whether it is right through those outputs alone that agree, where others do not."""
    agree = [error <= comparison.limit for error in output_errors(*comparison.probes)]
    if not wrong or all(agree) or not any(agree):
        return {}

    def cotangents_of(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        return [made * is_right for made, is_right in zip(cotangents(shapes), agree, strict=True)]

    try:
        ours = comparison.reference.probe(comparison.bound.ours, comparison.setting, given=cotangents_of)
        theirs = comparison.port.probe(comparison.bound.theirs, comparison.setting, given=cotangents_of)
    except NotExpressibleError:
        # A record has no other run than its own.
        return {}
    largest = largest_gradient(ours.gradients), largest_gradient(theirs.gradients)
    found: dict[MapRow, Mapping[str, object]] = {}
    for row in wrong:
        both = comparison.bound.gradients(row, ours.gradients, theirs.gradients)
        is_zero = both is not None and all(
            is_zero_gradient(each, most, comparison.limit) for each, most in zip(both, largest, strict=True)
        )
        is_right = both is not None and (is_zero or relative_error(both[1], both[0]) <= comparison.limit)
        found[row] = {"right_elsewhere": is_right}
    return found


def _pair_of(comparison: Comparison, row: MapRow) -> tuple[np.ndarray, np.ndarray] | None:
    """A row's gradient on both sides, in the port's axes, by the reference's value; None for a buffer."""
    ours, theirs = comparison.probes
    return comparison.bound.gradients(row, ours.gradients, theirs.gradients)


def _unknown(comparison: Comparison, row: MapRow) -> Iterator[Finding]:
    """That the gradient by a product is not known, where one of its factors is no parameter."""
    for side, path in ((comparison.reference, row.reference), (comparison.port, row.port)):
        norm = norms_of(side).get(path)
        if norm is not None and not norm.is_trained:
            kinds = [f"{each} is {_kind(side, each)}" for each in norm.factors]
            words = f"in the {side.role} {' and '.join(kinds)}: the gradient by their product is not known"
            yield Finding(row.reference, None, None, None, words, row.port)


def _kind(side: Side, path: str) -> str:
    return "a parameter" if stored_as_it_is(side).stored_tensors[path].trainable else "a buffer"


def _is_stopped(comparison: Comparison, row: MapRow, ours: np.ndarray, theirs: np.ndarray) -> str:
    """That a parameter is frozen on one side, where the other's program stops its gradient; empty otherwise."""
    zeros = [
        is_zero_gradient(each, largest, comparison.limit)
        for each, largest in zip((ours, theirs), comparison.largest, strict=True)
    ]
    sides = [comparison.reference.is_frozen(row.reference), comparison.port.is_frozen(row.port)]
    if zeros[0] == zeros[1] or not any(frozen and not zero for frozen, zero in zip(sides, zeros, strict=True)):
        return ""
    roles = ("reference", "port") if sides[0] else ("port", "reference")
    return f"it is frozen in the {roles[0]}, and the {roles[1]} has no gradient of it: neither trains it"


def _row_error(comparison: Comparison, row: MapRow, ours: np.ndarray, theirs: np.ndarray) -> _Error:
    limit, largest = comparison.limit, comparison.largest
    if is_zero_gradient(ours, largest[0], limit) and is_zero_gradient(theirs, largest[1], limit):
        # No more than rounding leaves of what is zero: beside the largest gradient both are.
        size = norm(theirs) / (largest[1] * max(theirs.size, 1) ** 0.5) if largest[1] else 0.0
        return _Error(size, limit, f"{comparison.policy}, beside the largest gradient: this one is zero")
    if not ours.any() and theirs.any() and np.isfinite(theirs).all():
        size = root_mean_square(theirs) / largest[1]
        return _Error(size, limit, f"{comparison.policy}, beside the largest gradient: the reference's is zero")
    return _judged(
        comparison, ours, theirs, comparison.rounding, lambda probe: comparison.bound.own_gradient(row, probe.gradients)
    )


def _judged(
    comparison: Comparison,
    ours: np.ndarray,
    theirs: np.ndarray,
    rounding: Rounding,
    of: Callable[[Probe], np.ndarray],
) -> _Error:
    """The error of the port's array, and what is allowed.

    At float32 the two are held against each other, and only what is too far apart against the reference's run in
    float64: a small difference of large numbers is rounded coarsely on both sides. A coarser precision is judged by
    that run always, since there one rounding is a percent. How much one rounding makes is seen in the reference's own
    error, and where that is small by chance, or a gradient jumps, as that of a maximum does between two values that
    round to one, in its errors after other roundings of the weights.

    of: the array in a run of the reference.
    """
    direct = relative_error(fine(theirs), fine(ours))
    plain = _Error(direct, comparison.limit, comparison.policy)
    if not np.isfinite(direct) or (plain.ok and not comparison.setting.is_coarse):
        return plain
    probe = rounding.exact
    if probe is None:
        return plain
    right = of(probe)
    own, found = relative_error(fine(ours), right), relative_error(fine(theirs), right)
    allowed = _explained(comparison, ROUNDINGS * own)
    if found > allowed and (own <= COARSEST or comparison.setting.is_coarse):
        own = max(own, *(relative_error(fine(of(each)), right) for each in rounding.nudged), 0.0)
        # The error of a single number may be small by chance in all of these runs; that of many numbers is not.
        jumps = own * (_KINKS + (ROUNDINGS - _KINKS) / right.size**0.5)
        allowed = max(allowed, min(jumps, _MOST) if comparison.setting.is_coarse else _explained(comparison, jumps))
    policy = f"what rounding makes of the reference, {own:.1e} against its float64 run, or {comparison.policy}"
    return _Error(found, allowed, policy, own)


def _explained(comparison: Comparison, size: float) -> float:
    """How large an error may be where rounding makes one of that size."""
    if comparison.setting.is_coarse:
        return min(comparison.limit, max(size, 4 * comparison.setting.eps))
    return max(comparison.limit, size if size <= ROUNDINGS * COARSEST else 0.0)


# Where rounding decides, a port may be as far from the exact array as the reference is after another rounding.
_KINKS = 2.0
# An array that is zero has an error of 1.
_MOST = 0.9


def layout(comparison: Comparison) -> Iterator[Finding]:
    """No other order of the axes fits: where the shape allows one, the gradient tells which is right."""
    if not comparison.has_gradients:
        yield Finding("", None, None, None, "no parameter has a gradient on either side, and nothing else tells")
        return
    for row in comparison.bound.rows:
        both = _pair_of(comparison, row)
        if both is None:
            yield from _unknown(comparison, row)
            continue
        ours, theirs = both
        orders = other_orders(ours.shape)
        if not orders:
            yield Finding(row.reference, True, 0.0, 0.0, "the shape allows no other order of the axes", row.port)
            continue
        judged = _row_error(comparison, row, ours, theirs)
        size, order = min((relative_error(theirs, ours.transpose(order)), order) for order in orders)
        if judged.ok or not size <= judged.allowed:
            yield _finding(
                row.reference, judged._replace(measured=min(judged.measured, judged.allowed)), port_path=row.port
            )
            continue
        words = f"{_named(row)}: is used with its axes in the order {order} of {row.layout!r}: transpose it"
        yield _finding(row.reference, judged, words, row.port, "transposed")


def _named(row: MapRow) -> str:
    return f"{row.reference}{row.reference_piece} (= {row.port}{row.port_piece})"


def _finding(
    path: str,
    judged: _Error,
    message: str = "",
    port_path: str = "",
    cause: str = "",
    module: str = "",
    details: Mapping[str, object] | None = None,
) -> Finding:
    measured = float(judged.measured)
    return Finding(
        path, judged.ok, measured, judged.allowed, message, port_path, judged.policy, cause, module, details or {}
    )
