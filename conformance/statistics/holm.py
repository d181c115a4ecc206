"""Many tests, one rate of false alarms: Holm's step-down procedure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .evidence import Evidence, Verdict
from .power import ALPHA, BETA


def thresholds(p_values: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """For each p-value the level at or below which it fails, so that all false alarms together stay below `alpha`.

    The k-th smallest of m is held against alpha / (m - k + 1), and the first that passes lets all larger ones pass
    (Holm 1979): these get its level, which they exceed. No independence is assumed.
    """
    order = np.argsort(np.asarray(p_values, dtype=np.float64), kind="stable")
    levels = [0.0] * len(order)
    level, stopped = 0.0, False
    for rank, index in enumerate(order):
        if not stopped:
            level = alpha / (len(order) - rank)
            stopped = p_values[index] > level
        levels[index] = level
    return levels


def judge(evidence: Sequence[Evidence], alpha: float = ALPHA, beta: float = BETA) -> tuple[Verdict, ...]:
    """A verdict for each, in the order given: the whole run alarms falsely with a probability of at most `alpha`.

    Constraints are never broken by a correct initializer, so they take no part in the correction. `beta` is the
    miss rate at which the smallest effects are stated.
    """
    tests = [index for index, item in enumerate(evidence) if item.p_value is not None and not item.constraint]
    levels = dict(zip(tests, thresholds([evidence[index].p_value or 0.0 for index in tests], alpha), strict=True))
    return tuple(_verdict(item, levels.get(index), beta) for index, item in enumerate(evidence))


def _verdict(item: Evidence, level: float | None, beta: float) -> Verdict:
    if item.p_value is None:
        return Verdict(item, "not applicable", None, "")
    if level is None:
        return Verdict(item, "pass" if item.p_value > 0 else "fail", None, "any violation")
    smallest = item.smallest(level, beta) if item.smallest else ""
    return Verdict(item, "pass" if item.p_value > level else "fail", level, smallest)
