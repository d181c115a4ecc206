"""Why an output is wrong: what its numbers are, or what makes it right again; and which modules to look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...common.wing import PairError, Trace
from ...pairs.closeness import relative_error
from ...pairs.comparison import Comparison, Point
from ...pairs.localize import Localized
from ...pairs.precision import Setting
from .diagnosis import Diagnosis, diagnosis_of
from .intervention import Weights, intervene

Arrays = Mapping[str, np.ndarray]


def explain(comparison: Comparison, point: Point, place: Localized | None, ours: Arrays, theirs: Arrays) -> Diagnosis:
    """A cause and a sentence of the first wrong output, both empty where none is known.

    What was measured where the programs part comes first, then what the output is, then a mistake that can be undone,
    and at last what only the order and number of calls say, and what is done where they part.
    """
    if place is not None and place.cause is not None and place.cause.is_measured:
        is_last = place.calls is not None and place.reference is None and place.after is None
        return Diagnosis(place.cause.name, f"After it {place.calls}." if is_last else "")
    diagnosis = _of_outputs(comparison, point, ours, theirs) or _intervened(comparison, point, place, ours)
    if diagnosis is None and place is not None and place.calls is not None:
        return Diagnosis(place.calls.name, f"Likely cause: {place.calls}.")
    if diagnosis is None and place is not None and place.cause is not None:
        return Diagnosis(place.cause.name, "")
    return diagnosis or Diagnosis("", "")


def _of_outputs(comparison: Comparison, point: Point, ours: Arrays, theirs: Arrays) -> Diagnosis | None:
    for (name, one), two in zip(ours.items(), theirs.values(), strict=True):
        if (
            one.shape == two.shape
            and relative_error(two.astype(np.float64), one.astype(np.float64)) <= comparison.limit
        ):
            continue
        turned = two.T.astype(np.float64)
        if one.shape != two.shape and relative_error(turned, one.astype(np.float64)) <= comparison.limit:
            return Diagnosis("transposed", "It is the transpose of what it should be.")
        diagnosis = diagnosis_of(
            two, one, comparison.limit, {other: array for other, array in ours.items() if other != name}
        )
        if diagnosis.cause in ("shape", "not finite"):
            return Diagnosis(diagnosis.cause, "")
        if diagnosis.cause and diagnosis.cause != "zero":
            return Diagnosis(diagnosis.cause, f"It {diagnosis.words}.")
        return _another(comparison, point, two)
    return None


def _another(comparison: Comparison, point: Point, found: np.ndarray) -> Diagnosis | None:
    """What the port gives out is something else that the reference has."""
    try:
        traces = comparison.reference.traced(point.ours, comparison.setting)
    except PairError:
        return None
    for trace in traces:
        for what, arrays in (("is given", trace.inputs), ("gives", trace.outputs)):
            for array in arrays.values():
                if array.shape == found.shape and relative_error(found, array) <= comparison.limit:
                    return Diagnosis("another output", f"It is what {trace} {what} in the reference.")
    return None


def _intervened(comparison: Comparison, point: Point, place: Localized | None, ours: Arrays) -> Diagnosis | None:
    def agrees(weights: Weights) -> bool:
        found = comparison.port.outputs(weights, comparison.setting)
        return all(
            relative_error(two, one) <= comparison.limit for one, two in zip(ours.values(), found.values(), strict=True)
        )

    shapes = [array.shape for array in comparison.port.outputs(point.theirs, comparison.setting).values()]
    if shapes != [array.shape for array in ours.values()]:
        return None
    mapped = [path for path in point.theirs if path in comparison.map.by_port]
    inside = place.port.subtree if place is not None and place.port is not None else ()
    used = [path for path in mapped if path in inside] or mapped
    features = 0 if comparison.port.wing.NAME == "torch" else -1
    diagnosis = intervene(point.theirs, used, agrees, features)
    return Diagnosis(diagnosis.cause, f"Likely cause: {diagnosis.words}.") if diagnosis else None


def entered(comparison: Comparison) -> set[str]:
    """The reference's tensors held by the modules that are given what the model is given, or whole numbers.

    These are tables and first layers; none are known of a bare pytree.
    """
    try:
        traces = comparison.reference.traced(comparison.bound.ours, Setting(comparison.setting.device))
    except PairError:
        return set()
    given = [array for trace in traces[:1] for array in trace.inputs.values()]
    return {path for trace in traces if trace.holds and _is_first(trace, given) for path in trace.holds}


def _is_first(trace: Trace, given: list[np.ndarray]) -> bool:
    if not trace.inputs:
        return False
    arrays = list(trace.inputs.values())
    return all(array.dtype.kind in "iu" for array in arrays) or any(np.array_equal(arrays[0], each) for each in given)


def modules(place: Localized | None) -> str:
    """The module to look at, in both namings; empty where none can be named."""
    if place is None:
        return ""
    pair = (place.reference, place.port)
    if None in pair:
        # The difference arises between modules: before the first that is given something else.
        pair = place.after or place.before or (None, None)
    one, other = pair
    if one is not None and other is not None:
        return f"{_named(one)} = {_named(other)}"
    # Where no call of a module tells, the lines may.
    inside = [stretch.module for stretch in place.stretches if stretch.reference.module and stretch.port.module]
    return inside[0] if inside else ""


def _named(trace: Trace) -> str:
    return str(trace)


def position(comparison: Comparison) -> dict[str, int]:
    """For the reference's tensors the index of the first call of a module that holds them; none for a bare pytree.

    Of the calls of a tied one no later index is certain: the wrong share may be that of the first.
    """
    try:
        traces = comparison.reference.traced(comparison.bound.ours, Setting(comparison.setting.device))
    except PairError:
        return {}
    found: dict[str, int] = {}
    for index, trace in enumerate(traces):
        for path in trace.holds:
            found.setdefault(path, index)
    return found
