"""One row of the study catalogue as a record that runs.

A behaviour holds three plain functions, one a wing, written as a person would write them in that
framework. Each returns its *facts*: a dict from a fact's name to what was observed. Running the
record executes all three and compares fact by fact:

    same            the three raw values are equal
    relabelled      they are equal once names and layouts are put in the canonical form
    must differ     they are not, and the row says why
    absent          a wing has no such thing, and the row says why

The verdict of the row is the furthest of its facts on that scale. It is declared by the author
and *measured* by the run; a row whose two verdicts disagree fails the tests, so a framework that
changes its behaviour cannot pass unseen. Nor can it stop the others: a function that fails gives
no facts, and the outcome says so among its problems.

This module imports no framework: the rows do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np

from ..common.drawing import Figure
from .source import source, standalone

WINGS = ("torch", "linen", "nnx")

Facts = dict[str, Any]
Canonical = Callable[[str, Any], Any]


class Verdict(IntEnum):
    """How far apart the wings are; the order is the scale."""

    SAME = 0
    RELABELLED = 1
    MUST_DIFFER = 2
    ABSENT = 3

    @property
    def words(self) -> str:
        return {
            Verdict.SAME: "same",
            Verdict.RELABELLED: "same after renaming and relayout",
            Verdict.MUST_DIFFER: "must differ",
            Verdict.ABSENT: "absent",
        }[self]


@dataclass(frozen=True)
class Absent:
    """A wing has no such thing; `reason` says why, in a clause."""

    reason: str

    def __str__(self) -> str:
        return f"absent: {self.reason}"


@dataclass(frozen=True)
class Raised:
    """An exception that a behaviour raises: its type's name and the first line of its text."""

    type: str
    text: str

    def __str__(self) -> str:
        return f"{self.type}: {self.text}" if self.text else self.type


@dataclass(frozen=True)
class Missing:
    """A fact that a wing's function did not give. It is a fault of the record, never a result."""

    def __str__(self) -> str:
        return "no value"


def raised(action: Callable[[], object]) -> Raised:
    """Run `action` and return the exception it raises; it is an error if it raises none.

    Memory addresses are replaced, so that a page made from the text is the same in every run.
    """
    try:
        value = action()
    except Exception as error:
        return _described(error)
    raise AssertionError(f"expected an exception, found the value {value!r}")


def _described(error: Exception) -> Raised:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = re.sub(r"0x[0-9a-f]{4,}", "0x...", lines[0] if lines else "")
    return Raised(type(error).__name__, text if len(text) <= 300 else text[:297] + "...")


class Panel(Protocol):
    """What a row declares as a figure; study/figures has the kinds of it."""

    def drawn(self, outcome: Outcome) -> Figure: ...


@dataclass(frozen=True)
class Behaviour:
    """One row: what it says, the three functions that show it, and the verdict its author gives.

    torch, linen, nnx: functions without arguments that return the row's facts.
    canonical: for a fact whose raw values differ by name or layout only, the function
        `(wing, value) -> value` that puts each wing's value in the canonical form.
    expect: figures that must come out, by wing and fact: numbers within 1 part in 1,000, an exception
        by the name of its type.
    reason: why the wings must differ or why one has no such thing; needed for those verdicts.
    notes: what else a reader should know.
    mistakes: what a source notebook gets wrong here.
    question: of an exercise, what is asked: it is read before anything that answers it.
    figures: what is drawn of a run, where a figure tells more than words.
    """

    id: str
    title: str
    statement: str
    verdict: Verdict
    torch: Callable[[], Facts]
    linen: Callable[[], Facts]
    nnx: Callable[[], Facts]
    canonical: Mapping[str, Canonical] = field(default_factory=dict)
    expect: Mapping[str, Facts] = field(default_factory=dict)
    reason: str = ""
    notes: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()
    question: str = ""
    sources: tuple[str, ...] = ()
    figures: tuple[Panel, ...] = ()

    def function(self, wing: str) -> Callable[[], Facts]:
        return {"torch": self.torch, "linen": self.linen, "nnx": self.nnx}[wing]

    def code(self, wing: str) -> str:
        """The source of the wing's function, as its author wrote it, and what it uses of its module."""
        return source(self.function(wing))

    def script(self, wing: str) -> str:
        """The same with every import that it needs: pasted into a file, it prints the facts."""
        return standalone(self.function(wing))


@dataclass(frozen=True)
class Outcome:
    """What a run of a behaviour gave: the facts by wing, and the verdict of each fact.

    failures: the exception of each wing's function that raised one, by wing. Such a wing has no facts.
    """

    behaviour: Behaviour
    facts: Mapping[str, Facts]
    verdicts: Mapping[str, Verdict]
    failures: Mapping[str, Raised] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """As measured: the furthest verdict of the facts."""
        return max(self.verdicts.values(), default=Verdict.SAME)

    def problems(self) -> list[str]:
        """What is wrong with the record: whatever it says that the run does not confirm."""
        row = self.behaviour
        found = [f"{row.id}: the {wing} function failed: {error}" for wing, error in self.failures.items()]
        if not self.verdicts:
            return [*found, f"{row.id}: the functions returned no facts"]
        found += self._missing()
        if self.verdict != row.verdict:
            detail = ", ".join(f"{name}: {verdict.words}" for name, verdict in self.verdicts.items())
            found.append(
                f"{row.id}: the verdict is '{row.verdict.words}', the run gave '{self.verdict.words}' ({detail})"
            )
        if row.verdict >= Verdict.MUST_DIFFER and not row.reason:
            found.append(f"{row.id}: the verdict '{row.verdict.words}' needs a reason")
        for name in row.canonical:
            if name not in self.verdicts:
                found.append(f"{row.id}: a canonical form is given for {name!r}, which is no fact")
        return found + self._figures()

    def _missing(self) -> list[str]:
        row, found = self.behaviour, []
        for wing in WINGS:
            names = [name for name, value in self.facts[wing].items() if isinstance(value, Missing)]
            if names and wing not in self.failures:
                found.append(
                    f"{row.id}: the {wing} function returned no {names}; say Absent(reason) where there is none"
                )
        return found

    def _figures(self) -> list[str]:
        row, found = self.behaviour, []
        for wing, figures in row.expect.items():
            for name, figure in figures.items():
                value = self.facts[wing].get(name, Missing())
                if not _close(value, figure):
                    found.append(f"{row.id}: {wing} gave {name} = {show(value)}, expected {show(figure)}")
        return found


def run(behaviour: Behaviour) -> Outcome:
    """Execute the three functions and compare their facts."""
    facts: dict[str, Facts] = {}
    failures = {}
    for wing in WINGS:
        try:
            facts[wing] = behaviour.function(wing)()
        except Exception as error:
            facts[wing], failures[wing] = {}, _described(error)
    names = list(dict.fromkeys(name for wing in WINGS for name in facts[wing]))
    facts = {wing: {name: facts[wing].get(name, Missing()) for name in names} for wing in WINGS}
    verdicts = {name: _verdict(behaviour.canonical.get(name), {w: facts[w][name] for w in WINGS}) for name in names}
    return Outcome(behaviour, facts, verdicts, failures)


def _verdict(canonical: Canonical | None, values: Mapping[str, Any]) -> Verdict:
    if any(isinstance(value, Missing) for value in values.values()):
        return Verdict.MUST_DIFFER
    if any(isinstance(value, Absent) for value in values.values()):
        return Verdict.ABSENT
    if _all_equal(values):
        return Verdict.SAME
    if canonical and _all_equal({wing: canonical(wing, value) for wing, value in values.items()}):
        return Verdict.RELABELLED
    return Verdict.MUST_DIFFER


def _all_equal(values: Mapping[str, Any]) -> bool:
    first, *rest = (show(value) for value in values.values())
    return all(value == first for value in rest)


def _close(value: Any, figure: Any) -> bool:
    if isinstance(value, Raised) and isinstance(figure, str):
        return value.type == figure
    if isinstance(figure, (bool, str)) or figure is None:
        return value == figure
    if isinstance(figure, (int, float)):
        return isinstance(value, (int, float, np.number)) and bool(np.isclose(value, figure, rtol=1e-3, atol=0))
    return show(value) == show(figure)


def show(value: Any) -> str:
    """A value as the pages print it: short, and the same on every machine.

    Floats are rounded to four significant digits and sequences and arrays shown as lists, which
    is also the precision at which facts are compared.
    """
    if isinstance(value, (Absent, Missing, Raised, str)):
        return str(value)
    if isinstance(value, (bool, np.bool_)) or value is None:
        return str(value)
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, np.ndarray):
        return show(value.tolist())
    if isinstance(value, tuple):
        return "(" + ", ".join(show(item) for item in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, (list, frozenset, set)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return "[" + ", ".join(show(item) for item in items) + "]"
    raise TypeError(f"a fact must be plain data, found {type(value).__name__}: {value!r}")
