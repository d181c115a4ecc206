"""Where the two programs of a pair part ways: the first module that differs, in both namings."""

from __future__ import annotations

import numpy as np

from ...common.wing import PairError, Trace
from ...pairs.comparison import Comparison
from ...pairs.localize import Localized
from ...pairs.precision import Setting


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
    return f"{_named(one)} = {_named(other)}" if one is not None and other is not None else ""


def _named(trace: Trace) -> str:
    return str(trace)


def position(comparison: Comparison) -> dict[str, int]:
    """For the reference's tensors the place of the first call of a module that holds them; none for a bare pytree.

    Of the calls of a tied one no later place is certain: the wrong share may be that of the first.
    """
    try:
        traces = comparison.reference.traced(comparison.bound.ours, Setting(comparison.setting.device))
    except PairError:
        return {}
    found: dict[str, int] = {}
    for place, trace in enumerate(traces):
        for path in trace.holds:
            found.setdefault(path, place)
    return found
