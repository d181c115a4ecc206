"""Locating: where two programs of a pair part ways, by the calls of their modules and by all of their values."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import NamedTuple

from ...common.errors import NotExpressibleError
from ...common.wing import PairError, Tape, Trace
from ..comparison import Comparison, Point
from ..precision import Setting
from ..side import Side, Weights
from ..values import cotangents
from ..weight_norms import norms_of
from .coarseness import SINGLE, noise_of_calls
from .first_module import Units, localize
from .gap import Cause
from .lines import Marked, Stretch, backward_stretches, noise_on, stretches_of, units_of_modules
from .localized import Localized

# More than this is no rounding of float64.
_SINGLE_SHOWS = 2.0**-36


def locate(comparison: Comparison, point: Point) -> Localized | None:
    """Where the two programs of a pair part ways, both watched at some values.

    In float64 if both sides can; None where nothing is to be seen of it in the calls of modules.
    """
    for precision in ("float64", "float32"):
        try:
            place = _traced_apart(comparison, point, Setting(comparison.setting.device, precision))
        except PairError:
            # Some programs run in one type alone, and some not at all where their calls are watched.
            continue
        return place if place is not None and place.tells else None
    return None


def locate_gradients(comparison: Comparison, point: Point) -> Localized | None:
    """Where the gradients of a pair part ways whose outputs agree, from the outputs back; None where that is not seen.

    In float64: what cannot be run or differentiated in it tells nothing.
    """
    try:
        tapes = _tapes(comparison, point, Setting(comparison.setting.device, "float64"), with_rules=True)
    except (PairError, NotExpressibleError):
        return None
    shapes = [_output_shapes(tape) for tape in tapes]
    if shapes[0] != shapes[1]:
        return None
    given = cotangents(shapes[0])
    ours, theirs = (Marked(tape, len(comparison.map.rows), noise_on(tape)) for tape in tapes)
    one, other = (dict(zip(tape.outputs, given, strict=True)) for tape in tapes)
    found = backward_stretches(ours, theirs, (one, other))
    if not found:
        return None
    return Localized(None, None, math.nan, math.nan, cause=found[0].cause, stretches=tuple(found))


def _traced_apart(comparison: Comparison, point: Point, setting: Setting) -> Localized | None:
    taped = _taped_apart(comparison, point, setting)
    place = _modules_apart(comparison, point, setting, taped.units)
    if not taped.stretches:
        return place and replace(place, module_cause=place.cause, unseen=taped.unseen)
    place = place or Localized(None, None, math.nan, math.nan)
    cause = place.cause or next((each.cause for each in taped.stretches if each.cause), None)
    cause = cause if taped.unmade is None or (cause and cause.is_measured) else taped.unmade
    return replace(place, stretches=taped.stretches, cause=cause, module_cause=place.cause)


class _Taped(NamedTuple):
    """What the values of both sides tell: how coarse their modules compute inside, and where the values part.

    units: None where no values are seen. unseen: why. unmade: of a weight norm that makes something else.
    """

    units: tuple[Units, Units] | None = None
    stretches: tuple[Stretch, ...] = ()
    unseen: str = ""
    unmade: Cause | None = None


def _taped_apart(comparison: Comparison, point: Point, setting: Setting) -> _Taped:
    try:
        ours, theirs = _tapes(comparison, point, setting)
    except PairError:
        return _Taped()
    except NotExpressibleError as error:
        return _Taped(unseen=f"expected {error.expected}, found {error.found}. {error.remedy}".rstrip())
    units = units_of_modules(ours, setting.eps), units_of_modules(theirs, setting.eps)
    names = list(ours.outputs) if set(ours.outputs) == set(theirs.outputs) else list(theirs.outputs)
    if sorted(_output_shapes(ours)) != sorted(_output_shapes(theirs)):
        return _Taped(units)
    partners = dict(zip(ours.outputs, names, strict=True))
    depth, is_guess = len(comparison.map.rows), not comparison.map.verified
    unmade = _unmade(comparison.reference, ours) or _unmade(comparison.port, theirs)
    stretches = stretches_of(ours, theirs, partners, setting.eps, depth, is_guess=is_guess)
    return _Taped(units, tuple(stretches), unmade=unmade)


def _unmade(side: Side, tape: Tape) -> Cause | None:
    """That no value of a program is the product of factors that are seen as it."""
    there = {value.operation for value in tape.values if value.kind == "parameter"}
    lacking = [norm for path, norm in norms_of(side).items() if path not in there]
    if not lacking:
        return None
    magnitude, direction = lacking[0].factors
    text = f"no value of the {side.role}'s program is {magnitude} * {direction} / |{direction}|, with the length over "
    text += f"{'axis' if len(lacking[0].axes) == 1 else 'axes'} {', '.join(map(str, lacking[0].axes))}"
    return Cause("weight norm", text, is_measured=False)


def _tapes(comparison: Comparison, point: Point, setting: Setting, *, with_rules: bool = False) -> tuple[Tape, Tape]:
    """Those of both sides. Raises NotExpressibleError for a record, code that cannot be traced, and too many values."""
    ours = comparison.reference.taped(point.ours, setting, with_rules=with_rules)
    theirs = comparison.port.taped(point.theirs, setting, with_rules=with_rules)
    return _loosened(ours, comparison.map.by_reference), _loosened(theirs, comparison.map.by_port)


def _output_shapes(tape: Tape) -> list[tuple[int, ...]]:
    return [tape.values[place].array.shape for place in tape.outputs.values()]


def _loosened(tape: Tape, mapped: Container[str]) -> Tape:
    """With tensors that the map is not about as constants, which the other side may have by another way."""
    return tape._replace(
        values=tuple(
            replace(value, kind="constant") if value.kind == "parameter" and value.operation not in mapped else value
            for value in tape.values
        )
    )


def _modules_apart(
    comparison: Comparison, point: Point, setting: Setting, units: tuple[Units, Units] | None
) -> Localized | None:
    both = (comparison.reference, point.ours), (comparison.port, point.theirs)
    (ours, again), (theirs, once_more) = ([side.traced(weights, setting) for _ in range(2)] for side, weights in both)
    if units is None:
        units = _units_seen(*both[0], setting, ours), _units_seen(*both[1], setting, theirs)
    held = {path: native.array for path, native in comparison.reference.tensors.items()} | dict(point.ours)
    limit = setting.allowed(len(comparison.map.rows))
    return localize(ours, theirs, comparison.map, held, limit=limit, again=(again, once_more), units=units)


def _units_seen(side: Side, weights: Weights, setting: Setting, traces: Sequence[Trace]) -> Units:
    """The modules that compute in single precision inside, by what they make of inputs that are moved a little."""
    calls = noise_of_calls(side, weights, setting, ((trace.path, trace.call) for trace in traces)) or {}
    return {path: SINGLE for (path, _), noise in calls.items() if noise > _SINGLE_SHOWS}
