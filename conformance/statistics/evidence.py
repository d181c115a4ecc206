"""What one test measured, and what came of it once all tests of a run were seen together, by Holm's procedure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .power import ALPHA, BETA

# (false-alarm rate, miss rate) -> the smallest defect that is then caught, in words.
Smallest = Callable[[float, float], str]

Status = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True)
class Evidence:
    """One test of one parameter, before it is judged.

    path: the parameter's. test: the test's name: `chi-square`, `rows mean`.
    n: how many values the test used.
    p_value: the chance that a correct initializer gives a result at least this far off, at most; None if the test does
        not apply, with the reason as `finding`. Of a constraint it is 0 or 1.
    finding: what was measured, as a clause.
    constraint: whether a correct initializer never breaks it.
    smallest: what the test would have caught, in words, for a false-alarm rate and a miss rate.
    """

    path: str
    test: str
    n: int
    statistic: float
    p_value: float | None
    finding: str
    constraint: bool = False
    smallest: Smallest | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Judgement:
    """An Evidence with its status.

    allowed: the p-value at or below which it fails; None of a constraint, and of a test that does not apply.
    smallest: what it would catch, in words.
    """

    evidence: Evidence
    status: Status
    allowed: float | None
    smallest: str

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the parameter: also true where the test does not apply."""
        return self.status != "fail"

    @property
    def message(self) -> str:
        """One line: the path, what was measured, what is allowed and what would have been caught."""
        found = self.evidence
        if found.p_value is None:
            return f"{found.path}: {found.test} not applicable: {found.finding}"
        if self.allowed is None:
            broken = f"{found.finding} ({found.test}: must always hold)"
            return f"{found.path}: {found.test} kept" if self.passed else f"{found.path}: {broken}"
        limits = f"p = {_tidy(found.p_value)}, allowed {_tidy(self.allowed)}; would have caught {self.smallest}"
        return f"{found.path}: {found.finding} ({found.test} {limits})"


def constraint(path: str, test: str, n: int, violation: str | None) -> Evidence:
    """The evidence of a constraint over `n` values: kept if `violation` is None."""
    broken = violation is not None
    return Evidence(path, test, n, float(broken), 0.0 if broken else 1.0, violation or "kept", constraint=True)


def inapplicable(path: str, test: str, reason: str) -> Evidence:
    """A test that cannot be made here, as a row with its reason."""
    return Evidence(path, test, 0, 0.0, None, reason)


def judge(evidence: Sequence[Evidence], alpha: float = ALPHA, beta: float = BETA) -> tuple[Judgement, ...]:
    """A verdict for each, in the order given: the whole run alarms falsely with a probability of at most `alpha`.

    Constraints are never broken by a correct initializer, so they take no part in the correction. `beta` is the
    miss rate at which the smallest effects are stated.
    """
    tests = [index for index, item in enumerate(evidence) if item.p_value is not None and not item.constraint]
    levels = dict(zip(tests, thresholds([evidence[index].p_value or 0.0 for index in tests], alpha), strict=True))
    return tuple(_verdict(item, levels.get(index), beta) for index, item in enumerate(evidence))


def thresholds(p_values: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """For each p-value the level at or below which it fails, so that all false alarms together stay below `alpha`.

    The k-th smallest of m is held against alpha / (m - k + 1), and the first that passes lets all larger ones pass
    (Holm 1979, "A simple sequentially rejective multiple test procedure"): these get its level, which they exceed. No
    independence is assumed.
    """
    found = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    levels = alpha / np.arange(len(order), 0, -1)
    passed = found[order] > levels
    if passed.any():
        first = int(np.argmax(passed))
        levels[first:] = levels[first]
    return levels[np.argsort(order)].tolist()


def _verdict(item: Evidence, level: float | None, beta: float) -> Judgement:
    if item.p_value is None:
        return Judgement(item, "not applicable", None, "")
    if level is None:
        return Judgement(item, "pass" if item.p_value > 0 else "fail", None, "any violation")
    smallest = item.smallest(level, beta) if item.smallest else ""
    return Judgement(item, "pass" if item.p_value > level else "fail", level, smallest)


def _tidy(probability: float) -> str:
    """A probability in one or two digits; far below 1e-300 there is no float."""
    return f"{probability:.1g}" if probability > 0 else "0 (below 1e-300)"
