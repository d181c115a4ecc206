"""What one test measured, and what came of it once all tests of a run were seen together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

# (false-alarm rate, miss rate) -> the smallest defect that is then caught, in words.
Smallest = Callable[[float, float], str]

Status = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True)
class Evidence:
    """One test of one parameter, before it is judged.

    `p_value` is the chance that a correct initializer gives a result at least this far off; None if the test does
    not apply, with the reason as `finding`. For a *constraint*, which a correct initializer never breaks, it is
    0 or 1. `n` counts the values that the test used, `finding` says what was measured, as a clause.
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
class Verdict:
    """An Evidence with its status; `allowed` is the p-value below which it fails, `smallest` what it would catch."""

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
        if found.constraint and self.passed:
            return f"{found.path}: {found.test} kept"
        if found.constraint:
            return f"{found.path}: {found.finding} ({found.test}: no exception is allowed)"
        limits = f"p = {tidy(found.p_value)}, allowed {tidy(self.allowed or 0.0)}; would have caught {self.smallest}"
        return f"{found.path}: {found.finding} ({found.test} {limits})"


def constraint(path: str, test: str, n: int, violation: str | None) -> Evidence:
    """The evidence of a constraint over `n` values: kept if `violation` is None."""
    broken = violation is not None
    return Evidence(path, test, n, float(broken), 0.0 if broken else 1.0, violation or "kept", constraint=True)


def inapplicable(path: str, test: str, reason: str) -> Evidence:
    """A test that cannot be made here, as a row with its reason."""
    return Evidence(path, test, 0, 0.0, None, reason)


def tidy(probability: float) -> str:
    """A probability in one or two digits; far below 1e-300 there is no float."""
    return f"{probability:.1g}" if probability > 0 else "0 (below 1e-300)"
