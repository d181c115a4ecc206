"""The first module whose output differs although its inputs agree and its parameters correspond, by traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ...common.wing import Trace, is_floating
from ..closeness import FACTOR
from ..maps import Map
from .causes import cause_of, coarser, random_calls
from .comparing import ClosestView, apart, rounding, wide
from .gap import Cause, Gap, Known
from .inputs import other_calls, other_mask, other_order, other_settings, other_whole_numbers
from .localized import Localized
from .pairing import Paired, closest, outputs, paired

Traces = Sequence[Trace]
Units = Mapping[str, float]
# An error that is no more than this many times what comes in is passed on, and not made.
_AMPLIFIED = 4.0
_FEW, _FAR_AMPLIFIED = 4.0, 32.0


@dataclass(frozen=True)
class _Sides:
    """All that was traced, and the pairs in it."""

    reference: Traces
    port: Traces
    weights: Mapping[str, np.ndarray]
    pairs: Sequence[Paired]

    def masks(self, pair: Paired) -> tuple[np.ndarray, ...]:
        """The arrays of zeros and ones that the reference's call is given, or one that it was made in."""
        found: list[np.ndarray] = []
        for trace in (pair.reference.trace, *(self.reference[index] for index in pair.reference.above)):
            for array in trace.inputs.values():
                is_mask = array.size and set(np.unique(array).tolist()) == {0, 1}
                if is_mask and not any(np.array_equal(array, other) for other in found):
                    found.append(array)
        return tuple(found)

    def later(self, pair: Paired) -> tuple[np.ndarray, ...]:
        """What the port's calls are given after this one, and what those that it was made in give."""
        after = [trace for trace in self.port[pair.port.index + 1 :] if trace.depth >= pair.port.trace.depth]
        around = [self.port[index] for index in pair.port.above]
        arrays = [array for trace in after for array in trace.inputs.values()]
        arrays += [array for trace in around for array in trace.outputs.values()]
        return tuple(array for array in arrays if is_floating(array))


class _Measured(NamedTuple):
    """A pair of calls: the outputs and the inputs, each with their error, and how large one rounding makes."""

    pair: Paired
    output: ClosestView | None
    input: ClosestView | None
    limit: float
    amplified: float

    @property
    def error(self) -> float:
        return self.output.error if self.output else np.inf

    @property
    def input_error(self) -> float:
        return self.input.error if self.input else np.inf

    @property
    def agrees(self) -> bool:
        return self.error <= self.limit

    @property
    def differs(self) -> bool:
        return self.output is not None and not self.agrees

    @property
    def is_guilty(self) -> bool:
        """Whether it makes the difference and does not only pass one on."""
        return not self.agrees and self.input_error <= self.limit and self.error > self.amplified * self.input_error


def localize(
    reference: Traces,
    port: Traces,
    map: Map,
    weights: Mapping[str, np.ndarray],
    *,
    limit: float,
    again: tuple[Traces, Traces] | None = None,
    units: tuple[Units, Units] = ({}, {}),
) -> Localized | None:
    """Where the port parts ways with the reference; None if nothing is to be seen of it in the traces.

    reference, port: traces of a run with `weights`, and with what the map makes of them.
    map: need not be proved. weights: the reference's, by native path.
    limit: the largest error, beside the norm, that rounding makes; arrays of coarser types get more.
    again: the traces of a second run of each side, in which randomness would show.
    units: of each side, by the path of a module, the coarsest rounding inside of it.
    """
    pairs = paired(reference, port, map, limit)
    sides = _Sides(reference, port, weights, pairs)
    many = FACTOR * max(len(map.rows), 1) ** 0.5
    found = _searched(sides, _limits(pairs, limit, many, units), _AMPLIFIED, again)
    # Few coarse arrays among fine ones leave room for less: for what is far more than what comes in.
    found = found or _searched(sides, _limits(pairs, limit, _FEW, units), _FAR_AMPLIFIED, again, are_few=True)
    found = found or _coarser(pairs, limit)
    if found is None or (found.cause is not None and found.after is not None):
        return found
    return replace(found, calls=other_calls(reference, port, map, pairs, limit))


def _coarser(pairs: Sequence[Paired], limit: float) -> Localized | None:
    """Two modules of which one computes in a coarser type, where nothing else differs."""
    found = coarser(pairs, limit)
    return _localized(_measured(found[0], limit, _AMPLIFIED), found[1]) if found else None


def _searched(
    sides: _Sides,
    limits: list[float],
    amplified: float,
    again: tuple[Traces, Traces] | None,
    are_few: bool = False,
) -> Localized | None:
    pairs = sides.pairs
    # Where the whole agrees, an output of another shape is one of another form.
    whole = _measured(pairs[-1], limits[-1], amplified) if pairs and not pairs[-1].reference.above else None
    is_open = not are_few and not (whole and whole.agrees)
    measured = []
    for pair, coarse in zip(pairs, limits, strict=True):
        found = _measured(pair, coarse, amplified)
        measured.append(found)
        is_leaf = found.agrees or not any(other.inside(pair) for other in pairs)
        given = other_whole_numbers(pair, sides.reference, sides.port) if found.differs and is_leaf else None
        if given:
            return _localized(found, given)
        # Of a container whose outputs are not to be compared nothing is known.
        if found.is_guilty and (found.differs or (is_leaf and is_open)) and not (are_few and _is_coarse(found)):
            return _explained(found, measured, sides, again)
    return _unowned(measured, sides, again) if is_open else None


def _is_coarse(found: _Measured) -> bool:
    """Whether what two modules give is itself of a type whose rounding may make the error."""
    own = max(rounding(call.trace.outputs) for call in found.pair)
    return found.error <= FACTOR * own * max(len(found.pair.reference.rows), 1) ** 0.5


def _limits(pairs: Sequence[Paired], limit: float, times: float, units: tuple[Units, Units]) -> list[float]:
    """For each pair how large an error rounding makes: so many units of the coarsest type so far."""
    coarsest, found = 0.0, []
    for pair in pairs:
        for trace, inside in zip((pair.reference.trace, pair.port.trace), units, strict=True):
            coarsest = max(coarsest, rounding(trace.outputs), rounding(trace.inputs), inside.get(trace.path, 0.0))
        found.append(max(limit, times * coarsest))
    return found


def _measured(pair: Paired, limit: float, amplified: float) -> _Measured:
    ours, theirs = pair.reference.trace, pair.port.trace
    return _Measured(pair, outputs(ours, theirs, limit), _inputs(ours, theirs, limit), limit, amplified)


def _inputs(reference: Trace, port: Trace, limit: float) -> ClosestView | None:
    """The worst of the inputs that both have; what looks like a mask is written in many ways, and does not count."""
    names = _contents(reference.inputs)
    found = [closest(array, _contents(port.inputs), limit) for array in names.values()]
    known = [each for each in found if each is not None]
    return max(known, key=lambda each: each.error) if known and found[0] is not None else None


def _contents(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The floating-point inputs that are no masks, or where there are none the whole numbers."""
    floats = {name: array for name, array in inputs.items() if is_floating(array) and not _is_mask(array)}
    return floats or {name: array for name, array in inputs.items() if array.dtype.kind in "iu" and array.size}


def _is_mask(array: np.ndarray) -> bool:
    return not np.isfinite(array).all() or len(np.unique(array)) <= 2


def _explained(
    found: _Measured,
    measured: Sequence[_Measured],
    sides: _Sides,
    again: tuple[Traces, Traces] | None,
) -> Localized:
    """What is guilty, with what of its inside still agrees, and the cause if one can be told."""
    inside = [each for each in measured if each.pair.inside(found.pair)]
    after = next((each for each in inside if each.differs), None)
    before = _last_agreeing(inside, after)
    if found.output is None and not inside:
        return _localized(found, _other_shape(found.pair))
    cause = random_calls(found.pair, again) or _cause(found, after, inside, sides)
    if inside and not found.pair.reference.above:
        # Of the model itself it says nothing to say that it differs.
        return _between(found, before, after, cause)
    return _localized(found, cause, before, after)


def _unowned(measured: Sequence[_Measured], sides: _Sides, again: tuple[Traces, Traces] | None) -> Localized | None:
    """A difference for which no module can be named: between the last calls that agree and the first that do not."""
    after = next((each for each in measured if each.differs), None)
    if after is None:
        return None
    before = _last_agreeing(measured, after)
    return _between(after, before, after, random_calls(after.pair, again) or _cause(after, after, measured, sides))


def _between(found: _Measured, before: _Measured | None, after: _Measured | None, cause: Cause | None) -> Localized:
    ends = [_traces(each) if each else None for each in (before, after)]
    return Localized(None, None, found.error, found.input_error, ends[0], ends[1], cause)


def _cause(
    found: _Measured,
    after: _Measured | None,
    inside: Sequence[_Measured],
    sides: _Sides,
) -> Cause | None:
    """The cause of what first differs: what `after` is given, or else what is guilty gives."""
    # `after` may differ with inputs that agree as far as they can be compared: then by what is guilty.
    is_input = after is not None and after.input is not None and after.input_error > after.limit
    seen = after.input if after and is_input else found.output
    if seen is None:
        return None
    known = _known(found, [each for each in inside if each.agrees and each is not after])
    gap = Gap(
        known,
        seen.exact,
        seen.aligned,
        found.limit,
        None if inside else found.pair,
        sides.weights,
        sides.masks(found.pair),
        after.pair if after and is_input else None,
        sides.later(after.pair) if after and is_input else (),
        seen.axes,
    )
    cause = cause_of(gap) or other_mask(found.pair)
    if cause or not inside:
        return cause or _flattened(found) or other_settings(found.pair) or _moved(found, gap)
    return other_order(after.pair, sides.pairs) if after else None


def _flattened(found: _Measured) -> Cause | None:
    """The inputs have the same numbers, and no order of their axes makes them the same array."""
    if found.input is None or apart(found.input.aligned, found.input.exact) <= found.limit:
        return None
    text = "the port's input has the reference's numbers in another order, as of another one of the axes before"
    return Cause("axis order", f"{text} that were made one, or backwards along one")


def _moved(found: _Measured, gap: Gap) -> Cause | None:
    """The input agrees only in another order of axes, of a layer that does not have them in the order of its kind."""
    if found.input is None or not found.input.order or any(array.ndim > 2 for _, array in gap.held()):
        return None
    # A layer that works on channels alone may have them last, as all of its program.
    if found.output is not None and found.output.order == found.input.order and gap.reference.ndim > 3:
        return None
    names = "abcdefgh"[: len(found.input.order)]
    order = f"{' '.join(names)} -> {' '.join(names[axis] for axis in found.input.order)}"
    return Cause("axis order", f"the port's input is the reference's only once its axes are moved, {order!r}")


def _known(found: _Measured, agreeing: Sequence[_Measured]) -> tuple[Known, ...]:
    """What both sides have when the difference arises, the latest first."""
    limit = found.limit
    made = [
        Known(
            f"the output of {_short(each.pair)}", wide(ours), partial(_axes, ours, each.pair.port.trace.outputs, limit)
        )
        for each in reversed(agreeing)
        for ours in [next(iter(each.pair.reference.trace.outputs.values()))]
    ]
    if found.input_error <= found.limit:
        trace = found.pair.reference.trace
        where = "its input" if not agreeing else f"the input of {_short(found.pair)}"
        arrays = filter(is_floating, _contents(trace.inputs).values())
        theirs = _contents(found.pair.port.trace.inputs)
        made += [Known(where, wide(array), partial(_axes, array, theirs, limit)) for array in arrays]
    return tuple(made)


def _axes(array: np.ndarray, among: Mapping[str, np.ndarray], limit: float) -> tuple[int, ...]:
    """For each axis of an array that of the port's array that it is; nothing where that has others, or is not found."""
    found = closest(array, among, limit)
    return found.axes if found is not None and found.error <= limit else ()


def _last_agreeing(measured: Sequence[_Measured], after: _Measured | None) -> _Measured | None:
    earlier = measured[: list(measured).index(after)] if after else measured
    agreeing = [each for each in earlier if each.agrees]
    return agreeing[-1] if agreeing else None


def _other_shape(pair: Paired) -> Cause:
    shapes = [next(iter(call.trace.outputs.values())).shape for call in pair]
    return Cause("shape", f"its output has shape {shapes[0]} in the reference and {shapes[1]} in the port")


def _localized(
    found: _Measured, cause: Cause | None, before: _Measured | None = None, after: _Measured | None = None
) -> Localized:
    reference, port = _traces(found)
    ends = [_traces(each) if each else None for each in (before, after)]
    return Localized(reference, port, found.error, found.input_error, ends[0], ends[1], cause)


def _traces(found: _Measured) -> tuple[Trace, Trace]:
    return found.pair.reference.trace, found.pair.port.trace


def _short(pair: Paired) -> str:
    return str(pair.reference.trace)
