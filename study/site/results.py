"""What the three frameworks returned, side by side: a table of HTML, which Markdown's tables are too poor for.

A value that is the same in all three stands once, across the columns. On a narrow screen the cells stand under one
another, each below the name of its framework (`data-wing`). Everything is escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ..pages import as_text
from ..record import NAMES, WINGS, Absent, Missing, Outcome, Raised, Verdict, show

_SIGNS = {Verdict.SAME: "=", Verdict.RELABELLED: "≈", Verdict.MUST_DIFFER: "≠", Verdict.ABSENT: "∅"}
_CLASSES = {verdict: verdict.name.lower().replace("_", "-") for verdict in Verdict}
_LONGEST = 32  # a longer dict or list stands item by item


def mark(verdict: Verdict) -> str:
    """The verdict as a mark, as HTML: a sign, a colour and its words."""
    return f'<span class="verdict {_CLASSES[verdict]}"><span>{_SIGNS[verdict]}</span> {verdict.words}</span>'


def table(outcome: Outcome) -> str:
    """The facts of a row as a table."""
    heads = "".join(f'<th scope="col">{NAMES[wing]}</th>' for wing in WINGS)
    rows = "\n".join(_row(outcome, name, verdict) for name, verdict in outcome.verdicts.items())
    return (
        '<table class="results">\n'
        f'<thead><tr><th scope="col">result</th>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>'
    )


def _row(outcome: Outcome, name: str, verdict: Verdict) -> str:
    head = f'<th scope="row"><span class="fact">{escape(name)}</span> {mark(verdict)}</th>'
    values = [outcome.facts[wing][name] for wing in WINGS]
    if verdict is Verdict.SAME:
        return f'<tr>{head}<td colspan="{len(WINGS)}" data-wing="all three">{_value(values[0])}</td></tr>'
    cells = (f'<td data-wing="{NAMES[wing]}">{_value(value)}</td>' for wing, value in zip(WINGS, values, strict=True))
    return f"<tr>{head}{''.join(cells)}</tr>"


def _value(value: Any) -> str:
    if isinstance(value, Raised):
        text = f" <span>{escape(value.text)}</span>" if value.text else ""
        return f'<span class="raises">raises <code>{escape(value.type)}</code>{text}</span>'
    if isinstance(value, (Absent, Missing)):
        return f'<span class="none">{escape(show(value))}</span>'
    return f"<code>{_broken(value)}</code>"


def _broken(value: Any) -> str:
    """A value as text; a long dict or list with a line for each of its items."""
    text = as_text(value)
    if len(text) <= _LONGEST or not value:
        return escape(text)
    if isinstance(value, Mapping):
        return _lines([f"{key}: {show(item)}" for key, item in value.items()], "{}")
    if isinstance(value, (list, tuple)) and any(len(show(item)) > _LONGEST // 4 for item in value):
        return _lines([show(item) for item in value], "()" if isinstance(value, tuple) else "[]")
    return escape(text)


def _lines(items: list[str], brackets: str) -> str:
    text = ",\n".join(items)
    return "".join(f"<span>{escape(line)}</span>" for line in f"{brackets[0]}{text}{brackets[1]}".split("\n"))
