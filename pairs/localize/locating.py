"""Locating: the first module whose output differs although its inputs agree and its parameters correspond."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.wing import PairError, Tape, Trace, Value, is_floating
from ..closeness import FACTOR
from ..comparison import Comparison, Point
from ..maps import Map
from ..precision import Setting
from ..values import cotangents
from .causes import cause_of, coarser, random_calls
from .comparing import ClosestView, apart, rounding, wide
from .gap import Cause, Gap, Known
from .inputs import other_calls, other_mask, other_order, other_settings, other_whole_numbers
from .lines import Marked, Stretch, backward_stretches, noise_on, stretches_of, units_of_modules
from .pairing import Paired, closest, outputs, paired

Traces = Sequence[Trace]
Units = Mapping[str, float]
# An error that is no more than this many times what comes in is passed on, and not made.
_AMPLIFIED = 4.0
_FEW, _FAR_AMPLIFIED = 4.0, 32.0


@dataclass(frozen=True)
class Localized:
    """Where two programs part ways.

    reference, port: the innermost calls that correspond, get the same and give something else; None where there are
        none, and the difference is made between modules.
    error, input_error: of the output and of the inputs, beside the norm of the reference's.
    before: inside of them (or before all that differs) the last calls that agree. after: the first whose inputs do not.
    stretches: the lines of both programs between which it arises, one for each difference.
    module_cause: what the modules' inputs and outputs tell; `cause` may be told by the lines alone.
    """

    reference: Trace | None
    port: Trace | None
    error: float
    input_error: float
    before: tuple[Trace, Trace] | None = None
    after: tuple[Trace, Trace] | None = None
    cause: Cause | None = None
    calls: Cause | None = None
    stretches: tuple[Stretch, ...] = ()
    module_cause: Cause | None = None

    @property
    def tells(self) -> bool:
        """Whether it says more than that the whole model differs, of which a flat port shows nothing else."""
        is_whole = self.reference is not None and not self.reference.path
        return not is_whole or any((self.before, self.after, self.cause, self.calls, self.stretches))

    def __str__(self) -> str:
        parts = [self._module(), self._between(), self._lines(), f"Likely cause: {self.cause}." if self.cause else ""]
        return " ".join(part for part in parts if part)

    @property
    def excerpts(self) -> str:
        """The lines of both programs that the stretches are about, each on a line of its own."""
        told = dict.fromkeys(text for stretch in self.stretches[:2] for text in stretch.excerpts())
        return "".join(f"\n    {text}" for text in told)

    def _lines(self) -> str:
        is_backward = any(stretch.is_backward for stretch in self.stretches)
        what = "gradients" if is_backward else "programs"
        if len(self.stretches) < 2:
            return f"The {what} are {self.stretches[0]}." if self.stretches else ""
        told = [
            f"({number}) {stretch}" + (f": {stretch.cause}" if stretch.cause else "")
            for number, stretch in enumerate(self.stretches, 1)
        ]
        return f"The {what} differ in {len(told)} places: {'; '.join(told)}."

    def _module(self) -> str:
        if self.reference is None or self.port is None or (self.stretches and not self.reference.path):
            return ""
        size = f"by {self.error:.1e} of its output" if np.isfinite(self.error) else "altogether"
        if self.cause and self.cause.name == "shape":
            size = "in its output's shape"
        fed = f"; its inputs agree to {self.input_error:.1e}" if np.isfinite(self.input_error) else ""
        fed = "; its inputs are equal" if self.input_error == 0 else fed
        return f"The first module to differ is {_both(self.reference, self.port)}, {size}{fed}."

    def _between(self) -> str:
        where = "Inside it" if self.reference is not None else "No module differs by itself:"
        if self.before and self.after:
            return (
                f"{where} the difference arises between {_both(*self.before)}, which agrees, and {_both(*self.after)}."
            )
        if self.after:
            return f"{where} the difference arises before {_both(*self.after)}."
        if self.before:
            return f"{where} the difference arises after {_both(*self.before)}, which agrees."
        return ""


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
    setting = Setting(comparison.setting.device, "float64")
    try:
        tapes = [
            _loosened(side.taped(weights, setting, with_rules=True), mapped)
            for side, weights, mapped in (
                (comparison.reference, point.ours, comparison.map.by_reference),
                (comparison.port, point.theirs, comparison.map.by_port),
            )
        ]
    except (PairError, NotExpressibleError):
        # Code that cannot be traced has no tape, and a record has none.
        return None
    given = cotangents([value.array.shape for value in _outputs_of(tapes[0])])
    if [value.array.shape for value in _outputs_of(tapes[1])] != [each.shape for each in given]:
        return None
    depth = len(comparison.map.rows)
    ours, theirs = (Marked(tape, depth, noise_on(tape)) for tape in tapes)
    named = [dict(zip(tape.outputs, given, strict=True)) for tape in tapes]
    found = backward_stretches(ours, theirs, (named[0], named[1]))
    if not found:
        return None
    return Localized(None, None, math.nan, math.nan, cause=found[0].cause, stretches=tuple(found))


def _outputs_of(tape: Tape) -> list[Value]:
    return [tape.values[place] for place in tape.outputs.values()]


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
    try:
        ours = _loosened(comparison.reference.taped(point.ours, setting), comparison.map.by_reference)
        theirs = _loosened(comparison.port.taped(point.theirs, setting), comparison.map.by_port)
    except (PairError, NotExpressibleError):
        # Code that cannot be traced has no tape, and a record has none; the modules' calls may still tell.
        return ({}, {}), ()
    units = units_of_modules(ours, setting.eps), units_of_modules(theirs, setting.eps)
    names = list(ours.outputs) if set(ours.outputs) == set(theirs.outputs) else list(theirs.outputs)
    shapes = [[tape.values[place].array.shape for place in tape.outputs.values()] for tape in (ours, theirs)]
    if sorted(shapes[0]) != sorted(shapes[1]):
        return units, ()
    partners = dict(zip(ours.outputs, names, strict=True))
    depth, is_guess = len(comparison.map.rows), not comparison.map.verified
    return units, tuple(stretches_of(ours, theirs, partners, setting.eps, depth, is_guess=is_guess))


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
    made = [
        Known(f"the output of {_short(each.pair)}", wide(next(iter(each.pair.reference.trace.outputs.values()))))
        for each in reversed(agreeing)
    ]
    if found.input_error <= found.limit:
        trace = found.pair.reference.trace
        where = "its input" if not agreeing else f"the input of {_short(found.pair)}"
        made += [Known(where, wide(array)) for array in _contents(trace.inputs).values() if is_floating(array)]
    return tuple(made)


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


def _both(reference: Trace, port: Trace) -> str:
    names = [
        f"{role} {trace}" if trace.path else f"the {role} itself ({trace.name})"
        for role, trace in (("reference", reference), ("port", port))
    ]
    return " = ".join(names)
