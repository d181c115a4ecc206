"""Causes that stand in what two modules are given or set to: whole numbers, masks, settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...common.tables import counted
from ...common.wing import Setting, Trace, is_floating
from ..maps import Map
from .gap import Cause
from .pairing import ModuleCall, Paired, by_rows, calls_of, closest, groups

# One setting under the names that the frameworks' own layers have for it.
_NAMES = {
    "epsilon": "eps",
    "layer_norm_eps": "eps",
    "variance_epsilon": "eps",
    "rate": "p",
    "strides": "stride",
    "kernel_dilation": "dilation",
    "feature_group_count": "groups",
}
_COMPARED = {*_NAMES.values(), "negative_slope", "num_groups", "num_heads", "approximate", "alpha"}


def other_whole_numbers(pair: Paired, reference: Sequence[Trace], port: Sequence[Trace]) -> Cause | None:
    """The port's module is given other whole numbers: another default, or positions counted in another way."""
    ours, theirs = (_whole_numbers(call.trace) for call in pair)
    if not ours or not theirs:
        return None
    # A module's first argument is what it looks up.
    one, other = (next(iter(each.values())) for each in (ours, theirs))
    same = _broadcast(one, other)
    if same is None or np.array_equal(same[0], same[1]):
        return None
    name = _outer_name(one, pair.reference.above, reference) or _outer_name(other, pair.port.above, port)
    given = f"other values of {name!r}" if name else "other whole numbers"
    return Cause("default input", f"the port is given {given}: {_numbers(*same)}")


def _numbers(one: np.ndarray, other: np.ndarray) -> str:
    difference = other.astype(np.int64) - one.astype(np.int64)
    if len(np.unique(one)) > 1 and len(np.unique(difference)) == 1:
        step = int(difference.flat[0])
        return f"each is {abs(step)} {'more' if step > 0 else 'less'} than in the reference"
    first = np.flatnonzero(difference)[0]
    where = f"{np.count_nonzero(difference)} of {difference.size} differ"
    return f"{int(other.flat[first])} where the reference has {int(one.flat[first])}, {where}"


def _outer_name(array: np.ndarray, above: Sequence[int], traces: Sequence[Trace]) -> str:
    """The name under which the outermost module around that has these numbers is given them."""
    for index in above:
        for name, outer in _whole_numbers(traces[index]).items():
            same = _broadcast(array, outer)
            if same is not None and array.size == outer.size and np.array_equal(same[0], same[1]):
                return name
    return ""


def _whole_numbers(trace: Trace) -> dict[str, np.ndarray]:
    return {name: array for name, array in trace.inputs.items() if array.dtype.kind in "iu" and array.size}


def _broadcast(one: np.ndarray, other: np.ndarray) -> list[np.ndarray] | None:
    """Two arrays in one shape, or None where none is the other's but for axes that repeat."""
    if one.size == other.size:
        return [one.ravel(), other.ravel()]
    try:
        return [np.array(each) for each in np.broadcast_arrays(one, other)]
    except ValueError:
        return None


def other_mask(pair: Paired) -> Cause | None:
    """Both are given a mask of one size, and these hide other places; one may be the other's opposite."""
    ours, theirs = (_masks(call.trace) for call in pair)
    for name, one in ours.items():
        same = [other for other in theirs.values() if other.size == one.size]
        if same and not any(np.array_equal(one, other) or np.array_equal(one, ~other) for other in same):
            differ = min(np.count_nonzero(one != other) for other in same)
            return Cause("mask", f"the port is given another mask than {name!r}, {differ} of {one.size} entries differ")
    return None


def _masks(trace: Trace) -> dict[str, np.ndarray]:
    """The inputs of exactly two values, as truth values, whatever these two are."""
    found = {}
    for name, array in trace.inputs.items():
        values = np.unique(array)
        if len(values) == 2:
            found[name] = (array == values[1]).ravel()
    return found


def other_settings(pair: Paired) -> Cause | None:
    """A setting of one name has another value. What nothing measured contradicts, but nothing confirms either."""
    ours, theirs = (_settings(call.trace.settings) for call in pair)
    differ = [
        f"{name} is {_text(ours[name])} in the reference and {_text(theirs[name])} in the port"
        for name in ours
        if name in theirs and not _same(ours[name], theirs[name])
    ]
    return Cause("setting", ", and ".join(differ)) if differ else None


def _settings(settings: Any) -> dict[str, Setting]:
    named = {_NAMES.get(name, name): value for name, value in settings.items()}
    return {name: value for name, value in named.items() if name in _COMPARED}


def _same(one: Setting, other: Setting) -> bool:
    if isinstance(one, str) != isinstance(other, str) or isinstance(one, bool) != isinstance(other, bool):
        # `approximate` is a name in one framework and a truth value in the other.
        return True
    if isinstance(one, tuple) or isinstance(other, tuple):
        first, second = (each if isinstance(each, tuple) else (each,) for each in (one, other))
        return set(first) == set(second) if 1 in (len(first), len(second)) else first == second
    return one == other


def _text(value: Setting) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def other_order(pair: Paired, pairs: Sequence[Paired]) -> Cause | None:
    """The port has called something before this pair that the reference calls after it, in the same module."""
    for other in pairs:
        is_beside = other.reference.above == pair.reference.above and other.port.above == pair.port.above
        is_exchanged = other.reference.index > pair.reference.index and other.port.index < pair.port.index
        if is_beside and is_exchanged and not _is_parallel(pair, other):
            is_norm = any("norm" in call.trace.name.lower() for call in (pair.reference, other.reference))
            text = f"the reference calls {pair.reference.trace} before {other.reference.trace}, the port after it"
            return Cause("norm placed elsewhere" if is_norm else "order", text)
    return None


def _is_parallel(one: Paired, other: Paired) -> bool:
    """Whether the reference gives both calls the same, so that their order does not matter."""
    first, second = ([*pair.reference.trace.inputs.values()] for pair in (one, other))
    return bool(first) and len(first) == len(second) and all(map(np.array_equal, first, second))


def other_calls(
    reference: Sequence[Trace], port: Sequence[Trace], map: Map, pairs: Sequence[Paired], limit: float
) -> Cause | None:
    """What the two sequences of calls tell of a difference, for which nothing better is known.

    That one side calls a module more often is no fault by itself: the other may do the same by plain code, as a tied
    head is `attend` or a product with the table. So it is said only of a call whose result the other side has nowhere,
    and in whose place, where it has the module too, it goes on with what the call is given.
    """
    ours, theirs = calls_of(reference, port, map)
    mine, yours = by_rows(ours), by_rows(theirs)
    held = {path for trace in port for path in trace.holds}
    done = {pair.reference.index for pair in pairs}, {pair.port.index for pair in pairs}
    for rows, calls in mine.items():
        both = calls, yours.get(rows, [])
        counts = [len(groups(each)) for each in both]
        more = int(counts[0] < counts[1])
        partners = [map.rows[row].port for row in rows]
        if counts[0] == counts[1] or (not counts[1] and held.intersection(partners)):
            continue
        extra = [call for call in both[more] if call.index not in done[more]]
        lacking = [call for call in extra if _is_lacking(call, (port, reference)[more], limit)]
        if lacking and not counts[1]:
            return Cause("calls", f"the reference calls {_named(calls)}, and the port no module with {partners[0]!r}")
        if any(_is_passed_over(call, both[more], (port, reference)[more], limit) for call in lacking):
            return Cause("calls", _counts(*both))
    return next((cause for pair in pairs if (cause := other_order(pair, pairs)) is not None), None)


def _is_lacking(call: ModuleCall, others: Sequence[Trace], limit: float) -> bool:
    """Whether nothing that the modules of the other side take or give is what a call makes of numbers."""
    inputs, made = list(call.trace.inputs.values()), list(call.trace.outputs.values())
    if not inputs or not made or not is_floating(inputs[0]):
        return False
    known = [array for trace in others for arrays in (trace.inputs, trace.outputs) for array in arrays.values()]
    return not _is_among(made[0], known, limit)


def _is_passed_over(call: ModuleCall, calls: Sequence[ModuleCall], others: Sequence[Trace], limit: float) -> bool:
    """Whether the other side gives out, or hands to a module, what a call is given that is like another of `calls`.

    A table is looked up in with whole numbers and multiplied with others: that is not alike.
    """
    if _form(call) not in [_form(other) for other in calls if other is not call]:
        return False
    handed = [array for trace in others for array in list(trace.inputs.values())[:1]]
    whole = [array for trace in others[:1] for array in trace.outputs.values()]
    return _is_among(next(iter(call.trace.inputs.values())), [*handed, *whole], limit)


def _form(call: ModuleCall) -> tuple[object, ...]:
    """The kinds and shapes of what a call takes first and gives first."""
    first = [next(iter(arrays.values()), None) for arrays in (call.trace.inputs, call.trace.outputs)]
    return tuple(None if array is None else (array.dtype.kind, array.shape) for array in first)


def _is_among(array: np.ndarray, arrays: Sequence[np.ndarray], limit: float) -> bool:
    found = closest(array, {str(number): each for number, each in enumerate(arrays)}, limit)
    return found is not None and found.error <= limit


def _counts(calls: Sequence[ModuleCall], partners: Sequence[ModuleCall]) -> str:
    mine, yours = (counted(len(groups(each)), "time") for each in (calls, partners))
    return f"the reference calls {_named(calls)} {mine} and the port {_named(partners)} {yours}"


def _named(calls: Sequence[ModuleCall]) -> str:
    return str(calls[0].trace)
