"""Steering: every module of a port run on what the reference's partner was given, in one pass of the port.

A call is first run as it is, on the inputs of its partner. If it gives what that gave, all inside of it is right,
however it is cut into modules. If not, it is run again, and now each of the calls inside is steered in the same way and
followed by what the reference's gave: so that a fault in one is no fault of another one, nor of what they are parts of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...common.trees import exchanged
from ...common.wing import CallRecorder, Traced, WatchedCall, arrays_in, is_floating
from ..closeness import FACTOR
from ..precision import ROUNDINGS
from .coarseness import SINGLE, is_single, noise_of, nudged
from .comparing import apart, rounding
from .outcomes import Outcome, Verdict
from .pairing import ModuleCall, closest
from .partners import Frame, Given, Partners, numbers

Arrays = Mapping[str, np.ndarray]
_FAULTY = ("differs", "raises", "part")
# By how much more than what is around it a part may differ before it is none of it.
_SEEN = 1e3
# Orders of axes in which a module that is called by itself may want what has three or more: as they are, channels last,
# channels first, time first.
_ORDERS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda array: array,
    lambda array: np.moveaxis(array, 1, -1),
    lambda array: np.moveaxis(array, -1, 1),
    lambda array: np.moveaxis(array, 0, 1),
)


@dataclass
class _Open(Frame):
    """A call that is being run.

    is_steered: whether the calls inside of it are, too.
    instead: what calls give without being run, by the reference's index.
    outcomes: of all calls inside. passed: what those right inside were followed by, by the reference's index.
    given: to those right inside, by path, how far it is from what the reference gives. same: calls without a partner.
    unit: the rounding of the coarsest type that shows.
    """

    is_steered: bool = False
    instead: Mapping[int, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    passed: dict[int, Any] = field(default_factory=dict)
    given: list[tuple[str, float]] = field(default_factory=list)
    same: list[tuple[Traced, Arrays]] = field(default_factory=list)
    unit: float = 0.0


@dataclass(frozen=True)
class _Run:
    """A call that was run: its output with the floating-point arrays in it, or what it raised."""

    frame: _Open
    output: Any = None
    arrays: Arrays = field(default_factory=dict)
    raised: str = ""


@dataclass(frozen=True)
class _Differing:
    """A call that differs on the reference's inputs: run as it is, and again with its parts steered."""

    call: WatchedCall
    partner: ModuleCall
    first: _Run
    again: _Run
    is_known: bool


class Steered(CallRecorder):
    """Steers a pass of the port. What came of it is in `outcomes`.

    eps: of the type that it is run in.
    noise: how large the rounding of some of the reference's calls is; None where nobody has looked.
    paths: the port's modules by the rows that they hold, to be called by themselves where the pass does not reach them.
    doubtful: calls of the reference of which it matters how large it is. stopped: what ended the pass.
    """

    def __init__(
        self,
        convert: Callable[[Any], np.ndarray | None],
        restored: Callable[[np.ndarray, Any], Any],
        *,
        partners: Partners,
        eps: float,
        noise: Mapping[int, float] | None,
        paths: Mapping[frozenset[int], Sequence[str]],
    ) -> None:
        super().__init__(convert, restored)
        self._partners, self._eps, self._noise, self._paths = partners, eps, noise, paths
        self._frames = [_Open(None, is_steered=True)]
        self._expected: ModuleCall | None = None
        self.doubtful: set[int] = set()
        self.stopped = ""

    @property
    def outcomes(self) -> list[Outcome]:
        return self._frames[0].outcomes

    @contextmanager
    def passing(self) -> Iterator[None]:
        try:
            yield
        # A port that is not finished may raise anything around its modules; it is told.
        except Exception as error:
            self.stopped = _said(error)

    def around(self, call: WatchedCall) -> Any:
        module, frame = call.module, self._frames[-1]
        inputs = self._arrays(call.inputs)
        expected, self._expected = self._expected, None
        partner = expected or (None if self.missed else self._partners.of(module, inputs, frame))
        frame.times[module.path] += 1
        if partner is None:
            output = call.run()
            frame.same.append((module, self._floating(output)))
            return output
        frame.used.add(partner.index)
        if partner.index in frame.instead:
            self._note_given(call, self._partners.given(partner.trace, inputs), frame)
            return frame.instead[partner.index]
        if not frame.is_steered:
            return self._watched(call, partner, frame)
        return self._steered(call, partner, inputs, frame)

    # Calls that are run

    def _entered(self, call: WatchedCall, frame: _Open) -> _Run:
        self._frames.append(frame)
        try:
            output = call.run()
        finally:
            self._frames.pop()
        arrays = self._floating(output)
        frame.unit = max(frame.unit, rounding(arrays))
        return _Run(frame, output, arrays)

    def _attempt(self, call: WatchedCall, frame: _Open) -> _Run:
        try:
            return self._entered(call, frame)
        # A module that is not finished may raise anything; it is told.
        except Exception as error:
            return _Run(frame, raised=_said(error))

    def _watched(self, call: WatchedCall, partner: ModuleCall, frame: _Open) -> Any:
        """The output of a call inside of one that is run as it is."""
        made = self._entered(call, _Open(partner))
        frame.unit = max(frame.unit, made.frame.unit)
        frame.outcomes += made.frame.outcomes
        if made.arrays:
            told = self._told(call, partner, made)
            if told.error > told.allowed:
                told = self._among_the_same(call, told, made) or replace(told, verdict="cut")
            frame.outcomes.append(told)
        return made.output

    def _steered(self, call: WatchedCall, partner: ModuleCall, inputs: Arrays, frame: _Open) -> Any:
        """What a call is followed by: its own output if it gives what its partner gave, else that."""
        given = self._partners.given(partner.trace, inputs)
        self._note_given(call, given, frame)
        call = call.on(self._new(call, {name: each.array for name, each in given.items() if each.error > 0}))
        first = self._attempt(call, _Open(partner))
        if not first.raised and not first.arrays:
            frame.used.discard(partner.index)
            return first.output
        told = self._told(call, partner, first)
        if told.error > told.allowed:
            told = (
                self._among_the_same(call, told, first) or self._with_whole_numbers(call, told, inputs, frame) or told
            )
        if told.error <= told.allowed:
            frame.outcomes += [_cut(each, call.module) for each in first.frame.outcomes]
            frame.outcomes.append(told)
            return first.output
        is_raised = bool(first.raised)
        again = self._attempt(call, _Open(partner, is_steered=True)) if first.frame.used or is_raised else first
        passed, is_whole = self._passed(again, partner)
        is_known = all(each.is_sure for each in given.values()) and (bool(given) or not numbers(partner.trace.inputs))
        told, inside = self._judged(_Differing(call, partner, first, again, is_known), told)
        frame.outcomes += [*inside, told]
        if len(self._frames) == 1 and is_raised:
            frame.outcomes += self._unreached(partner, {each.reference.index for each in frame.outcomes})
        if told.verdict == "agrees":
            return first.output
        if is_whole:
            frame.passed[partner.index] = passed
        return passed

    def _note_given(self, call: WatchedCall, given: Mapping[str, Given], frame: _Open) -> None:
        frame.given.append((call.module.path, max((each.error for each in given.values()), default=0.0)))

    def _new(self, call: WatchedCall, arrays: Arrays) -> dict[int, Any]:
        """Arrays for some of a call's inputs, by the `id` of what they replace."""
        return {id(own): self._restored(arrays[name], own) for name, own in arrays_in(call.inputs) if name in arrays}

    def _passed(self, made: _Run, partner: ModuleCall) -> tuple[Any, bool]:
        """What the reference's call gave, as the port's gives it, and whether all of it could be had."""
        ours = partner.trace.outputs
        if made.raised:
            return self._structure({name: self._restored(array, None) for name, array in ours.items()}), True
        new, is_whole = {}, True
        for _, own in arrays_in(made.output):
            array = self._convert(own)
            if array is None or not is_floating(array):
                continue
            found = self._partners.closest(array, ours)
            is_whole = is_whole and found is not None
            if found is not None:
                new[id(own)] = self._restored(found.array, own)
        return exchanged(made.output, new), is_whole

    @staticmethod
    def _structure(arrays: Mapping[str, Any]) -> Any:
        """One array, a tuple or a dict, as the names of the arrays tell."""
        if set(arrays) == {""}:
            return arrays[""]
        return tuple(arrays.values()) if all(name.isdigit() for name in arrays) else dict(arrays)

    # What is measured

    def _floating(self, value: Any) -> dict[str, np.ndarray]:
        return {name: array for name, array in self._arrays(value).items() if is_floating(array)}

    def _error(self, partner: ModuleCall, made: _Run) -> float:
        if made.raised:
            return np.inf
        found = closest(next(iter(partner.trace.outputs.values())), made.arrays, self._partners.limit)
        # The same numbers in an order that no order of the axes gives are not the same.
        return apart(found.aligned, found.exact) if found else np.inf

    def _told(self, call: WatchedCall, partner: ModuleCall, made: _Run, verdict: Verdict = "agrees") -> Outcome:
        """The outcome of a run. Allowed is how large an error rounding makes in the coarsest type that shows."""
        unit = max(self._eps, made.frame.unit, self._partners.unit(partner))
        allowed = FACTOR * unit * max(len(partner.rows), 1) ** 0.5
        return Outcome(
            partner, call.module.path, call.module.name, verdict, self._error(partner, made), allowed, words=made.raised
        )

    def _among_the_same(self, call: WatchedCall, told: Outcome, made: _Run) -> Outcome | None:
        """Of calls inside of each other that hold the same the two that give the same, whichever they are."""
        if made.raised:
            return None
        found = [self._told(call, each, made) for each in self._partners.chain(told.reference)]
        for module, arrays in made.frame.same:
            found.append(self._told(replace(call, module=module), told.reference, replace(made, arrays=arrays)))
        return next((each for each in found if each.error <= each.allowed), None)

    def _with_whole_numbers(self, call: WatchedCall, told: Outcome, inputs: Arrays, frame: _Open) -> Outcome | None:
        """The outcome on the reference's whole numbers, if it agrees on these: the port gives it others."""
        ours, theirs = (_whole(arrays) for arrays in (told.reference.trace.inputs, inputs))
        if len(ours) != 1 or len(theirs) != 1:
            return None
        ((name, own),), (array,) = theirs.items(), ours.values()
        if own.size != array.size or np.array_equal(own.ravel(), array.ravel()):
            return None
        on = call.on(self._new(call, {name: array.reshape(own.shape)}))
        found = self._told(call, told.reference, self._attempt(on, _Open(told.reference)))
        if found.error > found.allowed:
            return None
        frame.given[-1] = (call.module.path, float(np.mean(own.ravel() != array.ravel())))
        return found

    # What it means

    def _judged(self, one: _Differing, told: Outcome) -> tuple[Outcome, list[Outcome]]:
        """The outcome of a call that differs, and those of the calls inside, with those that are cut otherwise."""
        inside, own = one.again.frame.outcomes, self._error(one.partner, one.again)
        if one.again is one.first:
            inside = []
        innocent = self._innocent(one, inside, told.allowed)
        if innocent:
            inside = [
                _cut(replace(each, verdict="cut"), one.call.module) if each.reference.index in innocent else each
                for each in inside
            ]
            own = self._error_with(one, {each.reference.index for each in inside if each.verdict in _FAULTY})
        faults = tuple(dict.fromkeys(each.port for each in inside if each.is_fault))
        others = [each for each in one.again.frame.given if each[1] > max(told.allowed, self._single(one.partner))]
        told = replace(
            told,
            parts=faults,
            given=others[0] if others and not innocent and one.again is not one.first else None,
            own=own if one.again is not one.first and not one.again.raised else None,
        )
        return self._with_verdict(one, told, inside), inside

    def _with_verdict(self, one: _Differing, told: Outcome, inside: Sequence[Outcome]) -> Outcome:
        single = self._single(one.partner)
        # What both hold without a row has values of its own on either side. What one alone holds is a difference.
        held = one.partner.trace.subtree, one.call.module.subtree
        alone = [min(each & {*paths}, default="") for each, paths in zip(self._partners.alone, held, strict=True)]
        if told.parts:
            # Where a part's output could not be put in its place, what is made of it tells nothing.
            faulty = {each.reference.index for each in inside if each.is_fault} & one.again.frame.used
            is_own = told.own is not None and told.own > max(told.allowed, single)
            is_own = is_own and faulty <= {*one.again.frame.passed} and not all(alone)
            return replace(told, verdict="differs" if is_own else "part")
        if one.first.raised:
            return replace(told, verdict="raises")
        if not one.is_known:
            return replace(
                told, verdict="unknown", words="what it is given cannot be held against the reference's inputs"
            )
        if told.error <= single and self._is_coarse(one, told.error, inside):
            return replace(told, verdict="agrees", allowed=max(single, told.allowed), is_coarse=True)
        if all(alone):
            words = f"it differs, and no row of the map is about {alone[0]!r} and {alone[1]!r}, which the two hold"
            return replace(told, verdict="unknown", words=words)
        if told.own is not None and told.own <= told.allowed and told.given is None:
            words = "it differs, and neither a part of it does nor what it makes of their outputs"
            return replace(told, verdict="unknown", words=words)
        return replace(told, verdict="differs")

    def _single(self, partner: ModuleCall) -> float:
        return FACTOR * SINGLE * max(len(partner.rows), 1) ** 0.5

    def _innocent(self, one: _Differing, inside: Sequence[Outcome], allowed: float) -> frozenset[int]:
        """The calls right inside that differ, where nothing does once all others are followed by the reference's."""
        direct = [each for each in inside if each.reference.index in one.again.frame.used and each.verdict in _FAULTY]
        wrong = {each.reference.index for each in direct}
        found = set()
        for each in direct:
            if each.verdict == "differs":
                error = self._error_with(one, wrong - {each.reference.index})
                # Beside what rounding to float32 makes of the whole a fault that is much larger would be seen.
                is_lost = _SEEN * error < each.error and error <= self._single(one.partner)
                if error <= allowed or (is_lost and self._is_coarse(one, error, [])):
                    found.add(each.reference.index)
        return frozenset(found)

    def _error_with(self, one: _Differing, wrong: set[int]) -> float:
        """The error of a call, run as it is, but for wrong parts, which are followed by what the reference's gave.

        Infinite if one of them is given other inputs than the reference gives: then what is before it shows no more.
        """
        frame = _Open(
            one.partner, instead={index: each for index, each in one.again.frame.passed.items() if index in wrong}
        )
        made = self._attempt(one.call, frame)
        limit = self._single(one.partner)
        return self._error(one.partner, made) if all(size <= limit for _, size in frame.given) else np.inf

    def _is_coarse(self, one: _Differing, error: float, inside: Sequence[Outcome]) -> bool:
        """Whether an error is one of rounding to float32, which one of the two does."""
        ours = one.partner.trace.outputs
        if self._eps >= SINGLE:
            return False
        if any(each.is_coarse for each in inside) or is_single(ours) or is_single(one.first.arrays):
            return True
        if one.partner.rows & self._partners.rounded:
            return True

        def at(size: float, draw: int) -> Arrays:
            new = nudged(one.call.inputs, size, draw, self._convert, self._restored)
            return self._attempt(one.call.on(new), _Open(one.partner)).arrays

        known = (self._noise or {}).get(one.partner.index, 0.0)
        if error <= ROUNDINGS * max(known, noise_of(one.first.arrays, at)):
            return True
        if self._noise is None:
            self.doubtful.add(one.partner.index)
        return False

    # What the pass does not reach

    def _unreached(self, partner: ModuleCall, done: set[int]) -> list[Outcome]:
        """The modules inside of a call that has raised before it came to them, each called by itself."""
        found: list[Outcome] = []
        for call in self._partners.inside(partner):
            if call.index in done or not call.rows:
                continue
            for path in self._paths.get(call.rows, ()):
                module = self.find(path)
                if module is not None and path:
                    found += self._alone(call, module)
                    done |= {each.reference.index for each in found}
                    break
        return found

    def _alone(self, call: ModuleCall, module: Callable[..., Any]) -> list[Outcome]:
        """The outcomes of a module that is called by itself, in the first order of axes in which it agrees.

        If it raises in each, it may want other arguments than the reference's arrays in their order.
        """
        inputs = numbers(call.trace.inputs) or _whole(call.trace.inputs)
        orders = _ORDERS if any(array.ndim > 2 for array in inputs.values()) else _ORDERS[:1]
        best: list[Outcome] = []
        for order in orders:
            arrays = [order(array) if array.ndim > 2 else array for array in inputs.values()]
            found = self._called(call, module, arrays)
            if found and (not best or found[-1].error < best[-1].error):
                best = found
            if best and best[-1].verdict == "agrees":
                return best
        if best and np.isfinite(best[-1].error):
            return best
        words = "the port's pass ends before it, and it cannot be called with the reference's inputs alone"
        return [replace(each, verdict="unknown", words=words) for each in best[-1:]]

    def _called(self, call: ModuleCall, module: Callable[..., Any], arrays: Sequence[np.ndarray]) -> list[Outcome]:
        """The outcomes of the calls inside of a module that is called by itself, and last its own."""
        frame = _Open(None, is_steered=True)
        self._frames.append(frame)
        self._expected = call
        try:
            module(*[self._restored(array, None) for array in arrays])
        except Exception as error:
            # What is raised around the module itself, as by a hook; it is told if no order of the axes will do.
            return [Outcome(call, "", "", "raises", np.inf, 0.0, words=_said(error))]
        finally:
            self._frames.pop()
            self._expected = None
        return frame.outcomes


def _cut(outcome: Outcome, around: Traced) -> Outcome:
    return replace(outcome, words=around.path) if outcome.verdict == "cut" else outcome


def _whole(arrays: Arrays) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if array.dtype.kind in "iu" and array.size}


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[:1]]).rstrip(".")
