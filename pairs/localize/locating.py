"""Locating: where two programs of a pair part ways, by the calls of their modules and by all of their values."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import replace

from ...common.errors import NotExpressibleError
from ...common.wing import PairError, Tape
from ..comparison import Comparison, Point
from ..precision import Setting
from ..values import cotangents
from .first_module import Units, localize
from .lines import Marked, Stretch, backward_stretches, noise_on, stretches_of, units_of_modules
from .localized import Localized


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
    tapes = _tapes(comparison, point, Setting(comparison.setting.device, "float64"), with_rules=True)
    if tapes is None:
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
    units, stretches = _taped_apart(comparison, point, setting)
    place = _modules_apart(comparison, point, setting, units)
    if not stretches:
        return place and replace(place, module_cause=place.cause)
    place = place or Localized(None, None, math.nan, math.nan)
    cause = place.cause or next((each.cause for each in stretches if each.cause), None)
    return replace(place, stretches=stretches, cause=cause, module_cause=place.cause)


def _taped_apart(
    comparison: Comparison, point: Point, setting: Setting
) -> tuple[tuple[Units, Units], tuple[Stretch, ...]]:
    """How coarse the modules of both sides compute inside, and where the values part; nothing where none are seen."""
    tapes = _tapes(comparison, point, setting)
    if tapes is None:
        return ({}, {}), ()
    ours, theirs = tapes
    units = units_of_modules(ours, setting.eps), units_of_modules(theirs, setting.eps)
    names = list(ours.outputs) if set(ours.outputs) == set(theirs.outputs) else list(theirs.outputs)
    if sorted(_output_shapes(ours)) != sorted(_output_shapes(theirs)):
        return units, ()
    partners = dict(zip(ours.outputs, names, strict=True))
    depth, is_guess = len(comparison.map.rows), not comparison.map.verified
    return units, tuple(stretches_of(ours, theirs, partners, setting.eps, depth, is_guess=is_guess))


def _tapes(
    comparison: Comparison, point: Point, setting: Setting, *, with_rules: bool = False
) -> tuple[Tape, Tape] | None:
    """Those of both sides, or None: code that cannot be traced has no tape, and a record has none."""
    try:
        ours = comparison.reference.taped(point.ours, setting, with_rules=with_rules)
        theirs = comparison.port.taped(point.theirs, setting, with_rules=with_rules)
    except (PairError, NotExpressibleError):
        return None
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
    comparison: Comparison, point: Point, setting: Setting, units: tuple[Units, Units]
) -> Localized | None:
    (ours, again), (theirs, once_more) = (
        [side.traced(weights, setting) for _ in range(2)]
        for side, weights in ((comparison.reference, point.ours), (comparison.port, point.theirs))
    )
    held = {path: native.array for path, native in comparison.reference.tensors.items()} | dict(point.ours)
    limit = setting.allowed(len(comparison.map.rows))
    return localize(ours, theirs, comparison.map, held, limit=limit, again=(again, once_more), units=units)
