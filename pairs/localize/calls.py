"""Calling: a module that one side calls more often than the other, not at all, or in another order."""

from __future__ import annotations

from collections.abc import Sequence

from ...common.wing import Trace
from ..maps import Map
from .gap import Cause
from .inputs import other_order
from .pairing import Call, Paired, by_rows, calls_of, groups


def other_calls(reference: Sequence[Trace], port: Sequence[Trace], map: Map, pairs: Sequence[Paired]) -> Cause | None:
    """What the two sequences of calls alone tell of a difference, for which nothing better is known."""
    ours, theirs = calls_of(reference, port, map)
    mine, yours = by_rows(ours), by_rows(theirs)
    held = {path for trace in port for path in trace.holds}
    for rows, calls in mine.items():
        counts = len(groups(calls)), len(groups(yours.get(rows, [])))
        if counts[1] and counts[0] != counts[1]:
            both = f"{_named(calls)} {counts[0]} times and the port {_named(yours[rows])} {counts[1]} times"
            return Cause("calls", f"the reference calls {both}")
        partners = [map.rows[row].port for row in rows]
        if not counts[1] and not held.intersection(partners):
            return Cause("calls", f"the reference calls {_named(calls)}, and the port no module with {partners[0]!r}")
    return next((cause for pair in pairs if (cause := other_order(pair, pairs)) is not None), None)


def _named(calls: Sequence[Call]) -> str:
    return str(calls[0].trace)
