"""The catalogue as a page of Markdown and as JSON, both from the outcomes of a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from . import markdown
from .catalogue import IDS, SECTIONS
from .record import WINGS, Absent, Missing, Outcome, Raised, Verdict, as_text, show
from .source import USUAL

COMMAND = "paritree study --markdown FILE"
_LONGEST = 64  # a fact with a longer value stands below the table

_INTRODUCTION = """\
The same behaviour in PyTorch, Flax Linen and Flax NNX: how each accesses, names, initializes and ties parameters, row \
by row, and where they must differ, said aloud. Nothing here is written from memory: each function below was run, and \
the facts under a row are what it returned."""

_WRITTEN = """\
This page is written by the command `{command}`; this copy was written with {versions}, on the CPU. For one row in the \
terminal, executed now: `paritree study W6`."""

_ROW = """\
A row is one behaviour. It makes a statement and shows it by three functions without arguments, one for each wing \
(`torch`, `linen`, `nnx`), written as a person would write them in that framework. Each returns facts by name, and the \
wings are compared fact by fact. A float is printed, and compared, at four significant digits."""

_SCALE = (
    (Verdict.SAME, "the three values are equal."),
    (
        Verdict.RELABELLED,
        "they are equal once names and layouts are put in the canonical form, which is PyTorch's: Linen's "
        "`layers_0.kernel` of shape (4, 8) and NNX's `layers.0.kernel` are `0.weight` of shape (8, 4).",
    ),
    (Verdict.MUST_DIFFER, "the values are not equal, and the row says why they cannot be."),
    (Verdict.ABSENT, "a wing has no such thing, and the row says why."),
)

_FURTHEST = "Each fact has a verdict on this scale, and the verdict of the row is the furthest one:"

_CODE = """\
The functions are ordinary code. Two words in them come from the records: `raised(action)` runs `action` and returns \
the exception that it must raise, shown as "raises ..."; `Absent(reason)` stands for a value that cannot be. These \
imports are meant everywhere; any other stands above its function:"""

_SOURCES = """\
Sources S0 to S4 are the five notebooks on PyTorch's parameter management that this catalogue grew from; a row without \
a source is implied by them rather than shown. Their mistakes are told in the rows that they belong to."""


def versions() -> dict[str, str]:
    """The installed frameworks, without a build's local suffix (`+cpu`)."""
    return {name: version(name).partition("+")[0] for name in ("torch", "jax", "flax")}


def rosetta(outcomes: Sequence[Outcome]) -> str:
    """The side-by-side page: an introduction, a summary, and every row with its facts and its code."""
    rows = sorted(outcomes, key=lambda outcome: IDS.index(outcome.behaviour.id))
    blocks = [*_introduction(), *_summary(rows)]
    letter = ""
    for outcome in rows:
        if outcome.behaviour.id[0] != letter:
            letter = outcome.behaviour.id[0]
            blocks.append(f"## {SECTIONS[letter][0]}")
        blocks += _row(outcome)
    return "\n\n".join(blocks) + "\n"


def _introduction() -> list[str]:
    *others, last = (f"{name} {number}" for name, number in versions().items())
    ran = f"{', '.join(others)} and {last}"
    scale = [markdown.paragraph(f"**{verdict.words}**: {meaning}", "- ") for verdict, meaning in _SCALE]
    return [
        "# PyTorch, Flax Linen and Flax NNX, side by side",
        markdown.paragraph(_INTRODUCTION),
        markdown.paragraph(_WRITTEN.format(command=COMMAND, versions=ran)),
        "## How to read a row",
        markdown.paragraph(_ROW),
        markdown.paragraph(_FURTHEST),
        "\n".join(scale),
        markdown.paragraph(_CODE),
        markdown.fence("\n".join(USUAL)),
        markdown.paragraph(_SOURCES),
    ]


def _summary(rows: Sequence[Outcome]) -> list[str]:
    counts = Counter(outcome.verdict for outcome in rows)
    counted = ", ".join(f"{counts[verdict]} {verdict.words}" for verdict in Verdict if counts[verdict])
    lines = [
        (f"[{row.id}](#{row.id.lower()})", outcome.verdict.words, markdown.escaped(row.title))
        for outcome in rows
        for row in [outcome.behaviour]
    ]
    return ["## The rows", f"{len(rows)} in all: {counted}.", markdown.table(("row", "verdict", "title"), lines)]


def _row(outcome: Outcome) -> list[str]:
    row = outcome.behaviour
    blocks = [f"### {row.id}", markdown.paragraph(f"**{markdown.escaped(row.title)}**")]
    blocks.append(markdown.paragraph(markdown.escaped(row.statement)))
    blocks.append(markdown.paragraph(f"Verdict: **{outcome.verdict.words}**. {markdown.escaped(row.reason)}"))
    problems = [markdown.paragraph(markdown.escaped(problem), "- ") for problem in outcome.problems()]
    if problems:
        blocks += ["**This run does not confirm the record:**", "\n".join(problems)]
    blocks += facts(outcome)
    for wing in WINGS:
        blocks += [f"**{wing}**", markdown.fence(row.code(wing))]
    for heading, texts in (("Notes:", row.notes), ("In the source notebooks:", row.mistakes)):
        if texts:
            blocks += [heading, "\n".join(markdown.paragraph(markdown.escaped(text), "- ") for text in texts)]
    if row.sources:
        blocks.append(f"Sources: {', '.join(row.sources)}.")
    return blocks


def facts(outcome: Outcome) -> list[str]:
    """The blocks of the facts: a table, and below it those with a long value, wrapped, where they can be read."""
    short, long = [], []
    for name, verdict in outcome.verdicts.items():
        values = [outcome.facts[wing][name] for wing in WINGS]
        if max(len(as_text(value)) for value in values) > _LONGEST:
            long.append(f"{markdown.escaped(name)} ({verdict.words}):")
            long.append(markdown.columns([(wing, as_text(value)) for wing, value in zip(WINGS, values, strict=True)]))
        else:
            short.append((markdown.escaped(name), *map(_cell, values), verdict.words))
    return [*([markdown.table(("fact", *WINGS, "verdict"), short)] if short else []), *long]


def _cell(value: Any) -> str:
    if isinstance(value, Raised):
        return f"raises {markdown.code(show(value))}"
    if isinstance(value, (Absent, Missing)):
        return markdown.escaped(show(value))
    return markdown.code(as_text(value))


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The rows as plain data.

    Beside what every page says of a row, `wings` holds for each wing the source and the output: its
    facts by name. What is not a plain value is a small object: `{"absent": reason}`,
    `{"raised": type, "text": text}`, and `{"missing": true}` for a fact that a failed function did
    not give. An infinite or undefined float is its text. The verdict is the one that was measured;
    `problems` lists what the run does not confirm.
    """
    return [_as_object(outcome) for outcome in outcomes]


def _as_object(outcome: Outcome) -> dict[str, Any]:
    row = outcome.behaviour
    return {
        "id": row.id,
        "section": SECTIONS[row.id[0]][0],
        "title": row.title,
        "question": row.question,
        "statement": row.statement,
        "verdict": outcome.verdict.words,
        "reason": row.reason,
        "facts": {name: verdict.words for name, verdict in outcome.verdicts.items()},
        "wings": {wing: {"code": row.code(wing), "output": plain(outcome.facts[wing])} for wing in WINGS},
        "notes": list(row.notes),
        "mistakes": list(row.mistakes),
        "sources": list(row.sources),
        "problems": outcome.problems(),
    }


def plain(value: Any) -> Any:
    """A fact as JSON can hold it."""
    if isinstance(value, Absent):
        return {"absent": value.reason}
    if isinstance(value, Missing):
        return {"missing": True}
    if isinstance(value, Raised):
        return {"raised": value.type, "text": value.text}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
