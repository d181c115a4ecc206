"""Why an output is wrong: what its numbers are, or what makes it right again, where no module of the port tells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...common.wing import PairError
from ...pairs.closeness import relative_error
from ...pairs.comparison import Comparison, Point
from ...pairs.localize import Localized
from .diagnosis import Told, tell
from .intervention import Weights, undone

Arrays = Mapping[str, np.ndarray]


def explain(comparison: Comparison, point: Point, place: Localized | None, ours: Arrays, theirs: Arrays) -> Told:
    """A cause and a sentence of the first wrong output, both empty where none is known.

    What was measured where the programs part comes first, then what the output is, then a mistake that can be undone,
    and at last what only the order and number of calls say.
    """
    if place is not None and place.cause is not None:
        is_last = place.calls is not None and place.reference is None and place.after is None
        return Told(place.cause.name, f"After it {place.calls}." if is_last else "")
    told = _of_outputs(comparison, point, ours, theirs) or _undone(comparison, point, place, ours)
    if told is None and place is not None and place.calls is not None:
        return Told(place.calls.name, f"Likely cause: {place.calls}.")
    return told or Told("", "")


def _of_outputs(comparison: Comparison, point: Point, ours: Arrays, theirs: Arrays) -> Told | None:
    for (name, one), two in zip(ours.items(), theirs.values(), strict=True):
        if (
            one.shape == two.shape
            and relative_error(two.astype(np.float64), one.astype(np.float64)) <= comparison.limit
        ):
            continue
        turned = two.T.astype(np.float64)
        if one.shape != two.shape and relative_error(turned, one.astype(np.float64)) <= comparison.limit:
            return Told("transposed", "It is the transpose of what it should be.")
        told = tell(two, one, comparison.limit, {other: array for other, array in ours.items() if other != name})
        if told.cause in ("shape", "not finite"):
            return Told(told.cause, "")
        if told.cause and told.cause != "zero":
            return Told(told.cause, f"It {told.words}.")
        return _another(comparison, point, two)
    return None


def _another(comparison: Comparison, point: Point, found: np.ndarray) -> Told | None:
    """What the port gives out is something else that the reference has."""
    try:
        traces = comparison.reference.traced(point.ours, comparison.setting)
    except PairError:
        return None
    for trace in traces:
        for what, arrays in (("is given", trace.inputs), ("gives", trace.outputs)):
            for array in arrays.values():
                if array.shape == found.shape and relative_error(found, array) <= comparison.limit:
                    return Told("another output", f"It is what {trace} {what} in the reference.")
    return None


def _undone(comparison: Comparison, point: Point, place: Localized | None, ours: Arrays) -> Told | None:
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
    told = undone(point.theirs, [path for path in mapped if path in inside] or mapped, agrees)
    return Told(told.cause, f"Likely cause: {told.words}.") if told else None
