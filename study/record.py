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

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..common.columns import columns, fit, in_lines, terminal_width
from ..common.drawing import Figure
from ..common.markup import Fold, Hue, Listing, Mark, Part, Prose, Sheet, of_object
from .facts import NAMES as NAMES
from .facts import WINGS as WINGS
from .facts import Absent as Absent
from .facts import Missing as Missing
from .facts import Raised as Raised
from .facts import Verdict as Verdict
from .facts import as_text as as_text
from .facts import described
from .facts import raised as raised
from .facts import show as show
from .source import source, standalone

Facts = dict[str, Any]
Canonical = Callable[[str, Any], Any]
_MARKS: dict[Verdict, tuple[Hue, str]] = {
    Verdict.SAME: ("pass", "="),
    Verdict.RELABELLED: ("pass", "≅"),
    Verdict.MUST_DIFFER: ("known", "≠"),
    Verdict.ABSENT: ("skip", "○"),
}
# Of prose in a terminal.
_WIDTH = 100


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

    def __str__(self) -> str:
        """What it says, and what its author found, in a few lines."""
        return "\n".join(_said(self, self.verdict))

    def _repr_html_(self) -> str:
        """The same in a notebook, with the code of the three functions."""
        return of_object(f"{self.id}. {self.title}", _parts(self), _mark(self.verdict))


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

    def __str__(self) -> str:
        """What it says and what the run gave, as wide as the terminal; `paritree.study.terminal` shows the code too."""
        cells = [("fact", *WINGS, "verdict"), *self.cells()]
        lines, width = columns(cells), terminal_width()
        if width is not None and not fit(lines, width):
            lines = [line for row in cells[1:] for line in _stacked(row, width)]
        problems = [f"Not confirmed by this run: {problem}" for problem in self.problems()]
        return "\n".join((*_said(self.behaviour, self.verdict), *problems, "", *lines))

    def _repr_html_(self) -> str:
        """The same in a notebook, with the code of the three functions."""
        row = self.behaviour
        said, *others = _parts(row)
        problems = [Prose(f"Not confirmed by this run: {problem}") for problem in self.problems()]
        return of_object(f"{row.id}. {row.title}", [said, *problems, self.sheet, *others], self.mark)

    @property
    def mark(self) -> Mark:
        """The verdict with its sign."""
        return _mark(self.verdict)

    @property
    def sheet(self) -> Sheet:
        """The facts as a table of a page."""
        rows = [(*row[:-1], _mark(verdict)) for row, verdict in zip(self.cells(), self.verdicts.values(), strict=True)]
        return Sheet(("fact", *WINGS, "verdict"), rows, WINGS)

    def cells(self) -> list[tuple[str, ...]]:
        """A row for each fact: its name, the value of each wing as text, and the verdict in words."""
        return [
            (name, *(as_text(self.facts[wing][name]) for wing in WINGS), verdict.words)
            for name, verdict in self.verdicts.items()
        ]

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


def _said(row: Behaviour, verdict: Verdict) -> list[str]:
    """Title, statement and verdict, in lines."""
    paragraphs = (row.statement, f"Verdict: {verdict.words}. {row.reason}")
    wrapped = (textwrap.wrap(each, _WIDTH, break_long_words=False, break_on_hyphens=False) for each in paragraphs)
    return [f"{row.id}  {row.title}", *(line for lines in wrapped for line in lines)]


def _stacked(cells: Sequence[str], width: int) -> list[str]:
    """A fact and its verdict, and below them each wing's value."""
    name, *values, verdict = cells
    lines = in_lines((f"{name}: {verdict}",), width)
    for wing, value in zip(WINGS, values, strict=True):
        lines += in_lines((f"{wing:<5}  {value}",), width, 2)
    return lines


def _mark(verdict: Verdict) -> Mark:
    return Mark(verdict.words, *_MARKS[verdict])


def _parts(row: Behaviour) -> list[Part]:
    """What a row shows besides its facts: what it says, the code of each wing, and its notes."""
    code = Fold("Code", [Listing(row.code(wing), wing) for wing in WINGS])
    notes = [Fold("Notes", [Prose(note) for note in row.notes])] if row.notes else []
    return [Prose(f"{row.statement} {row.reason}".rstrip()), code, *notes]


def run(behaviour: Behaviour) -> Outcome:
    """Execute the three functions and compare their facts."""
    facts: dict[str, Facts] = {}
    failures = {}
    for wing in WINGS:
        try:
            facts[wing] = behaviour.function(wing)()
        except Exception as error:
            facts[wing], failures[wing] = {}, described(error)
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
