"""The contract of modules: each module of the port gives what the reference's partner gave, on the same inputs.

So all faults of a port are told at once, each in the innermost module that has it, also where the whole does not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...common.wing import Trace, order_of_ends
from ...pairs.comparison import Comparison
from ...pairs.localize import ModuleOutcomes, Outcome, module_outcomes
from ..results import Finding

# Of several calls of one module the first of these that occurs tells.
_ORDER = ("differs", "raises", "unknown", "part", "cut", "agrees")


def modules(comparison: Comparison) -> Iterator[Finding]:
    """A finding for each module of the reference, in the order in which their calls end.

    A module fails if it differs by itself: given the reference's inputs, and instead of its parts' outputs those of the
    reference's parts. What differs in its parts alone, and what cannot be told, is skipped with the reason.
    """
    for side in (comparison.reference, comparison.port):
        if side.wing.NAME == "pytree":
            yield _skipped(f"the {side.role} is a pytree with a call, which has no modules")
            return
    if not comparison.map.rows:
        yield _skipped("there is no map to carry values with")
        return
    found = module_outcomes(comparison)
    if not found.traces:
        yield _skipped("no call of a module of the reference is to be seen; a record without activations has none")
        return
    if found.stopped and not found.outcomes:
        yield _skipped(f"the port raises before one of its modules is called: {found.stopped}")
        return
    of: dict[str, list[Outcome]] = {}
    for outcome in found.outcomes:
        of.setdefault(outcome.reference.trace.path, []).append(outcome)
    # The last call of a module: the whole comes after all of its parts.
    ends = [found.traces[index] for index in order_of_ends(found.traces)]
    for path, trace in {trace.path: trace for trace in ends}.items():
        yield _finding(of[path], found.precision) if path in of else _alone(trace, found)


def _finding(outcomes: Sequence[Outcome], precision: str) -> Finding:
    one = min(outcomes, key=lambda each: (_ORDER.index(each.verdict), -each.error))
    trace = one.reference.trace
    ok = {"agrees": True, "differs": False, "raises": False}.get(one.verdict)
    measured = one.error if np.isfinite(one.error) else None
    coarse = ", since it computes in float32" if one.is_coarse else ""
    policy = f"rounding in {precision}{coarse}"
    both = f"{trace} = {one.port_text}" if trace.path or one.port else f"the model itself ({trace.name} = {one.name})"
    module = "" if ok else f"{trace.path!r} = {one.port!r}"
    return Finding(
        trace.path,
        ok,
        measured,
        one.allowed,
        f"{both}: {_words(one)}",
        one.port,
        policy,
        "" if ok is not False else "raises" if one.verdict == "raises" else "module",
        module,
    )


def _words(one: Outcome) -> str:
    size = f"by {one.error:.2g} of its norm" if np.isfinite(one.error) else "in its shape, or is not finite"
    differs = f"on the reference's inputs its output differs {size}"
    if one.verdict == "agrees":
        return "it agrees"
    if one.verdict == "raises":
        return f"on the reference's inputs it raises {one.words}"
    if one.verdict == "unknown":
        return one.words
    if one.verdict == "cut":
        around = f"{one.words!r}" if one.words else "the whole model"
        return f"{differs}, but {around}, which it is a part of, agrees: the two are cut into modules otherwise"
    if one.verdict == "part":
        return f"{f'it raises {one.words}' if one.words else differs}; its {_parts(one)} already"
    return differs + _besides(one)


def _parts(one: Outcome) -> str:
    several = len(one.parts) > 1
    return f"part{'s' if several else ''} {', '.join(map(repr, one.parts))} differ{'' if several else 's'}"


def _besides(one: Outcome) -> str:
    """What else is known of a module that differs by itself."""
    if one.parts and one.own is not None:
        own = f"by {one.own:.2g}" if np.isfinite(one.own) else "in its shape"
        return f"; its {_parts(one)} already, and what it makes of their right outputs differs too, {own}"
    if one.given:
        part, size = one.given
        return f"; its parts agree, but it gives {part!r} other inputs than the reference does, by {size:.2g}"
    return "; its parts agree, what it makes of their outputs does not" if one.own is not None else ""


def _alone(trace: Trace, found: ModuleOutcomes) -> Finding:
    """A module of the reference that no call of the port was held against."""
    call = next(each for each in found.partners.calls if each.trace is trace)
    around = [each for each in found.outcomes if each.reference.index in call.above and each.verdict == "agrees"]
    if trace.subtree and not call.rows:
        words = "no row of the map is about what it holds"
    elif around:
        words = f"the port has no module for it alone; {around[0].port_text}, which it is a part of, agrees"
    else:
        words = "the port has none, or does not come to call it"
    return Finding(trace.path, None, None, None, f"{trace}: {words}")


def _skipped(reason: str) -> Finding:
    return Finding("", None, None, None, reason)
