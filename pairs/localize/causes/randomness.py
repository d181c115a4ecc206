"""Randomness: a side that gives something else when it is run again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....common.wing import Trace
from ..comparing import wide
from ..gap import Cause, Gap
from ..pairing import Paired


def random_calls(pair: Paired, again: tuple[Sequence[Trace], Sequence[Trace]] | None) -> Cause | None:
    """One of two modules gives something else in the second run."""
    if again is None:
        return None
    for role, call, second in zip(("reference", "port"), pair, again, strict=True):
        same = [each for each in second if (each.path, each.call) == (call.trace.path, call.trace.call)]
        if same and not _equal(call.trace, same[0]):
            return Cause("randomness", f"the {role} gives something else each time it is run: dropout, or other noise")
    return None


def _equal(one: Trace, other: Trace) -> bool:
    return all(
        name in other.outputs and np.array_equal(wide(array), wide(other.outputs[name]), equal_nan=True)
        for name, array in one.outputs.items()
    )


def dropout(gap: Gap) -> Cause | None:
    """One side has zeros where the other has numbers, and elsewhere the other's numbers, all larger by one factor."""
    for role, plain, dropped in (("port", gap.reference, gap.port), ("reference", gap.port, gap.reference)):
        lost = (dropped == 0) & (plain != 0)
        kept = ~lost & (plain != 0)
        share = np.count_nonzero(lost) / max(np.count_nonzero(plain), 1)
        if not 0 < share < 1:
            continue
        factors = dropped[kept] / plain[kept]
        factor = float(np.median(factors))
        # Of a rate p there remain 1 - p, and these are divided by it.
        rate = 1 - 1 / factor if factor > 1 else 0.0
        spread = np.sqrt(rate * (1 - rate) / plain.size) * 6
        if rate and np.allclose(factors, factor, rtol=64 * gap.limit, atol=0) and abs(share - rate) <= spread:
            return Cause("dropout", f"dropout with a rate of {rate:.2g} is active in the {role}")
    return None
