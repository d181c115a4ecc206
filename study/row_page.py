"""Rows as one page of HTML that stands alone: what each says, its facts, figures and code. It loads nothing.

It is for one's own eyes: `paritree study W6 --open` writes it into a temporary folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.markup import MOST_ROWS, Html, environment
from . import figures
from .pages import versions
from .record import WINGS, Outcome


def page(outcomes: Sequence[Outcome]) -> str:
    """The page of these outcomes, in their order, as UTF-8 text."""
    rows = [_row(outcome) for outcome in outcomes]
    template = environment(Path(__file__).parent).get_template("row.html")
    return template.render(rows=rows, most=MOST_ROWS, versions=versions())


def _row(outcome: Outcome) -> dict[str, Any]:
    row = outcome.behaviour
    return {
        "id": row.id,
        "title": row.title,
        "statement": row.statement,
        "mark": outcome.mark,
        "reason": row.reason,
        "problems": outcome.problems(),
        "facts": outcome.sheet,
        "figures": figures.of(outcome),
        "code": [(wing, coloured(row.code(wing))) for wing in WINGS],
        "notes": row.notes,
        "mistakes": row.mistakes,
        "sources": row.sources,
    }


def coloured(code: str) -> Html:
    """Python with the words of the language marked; escaped."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return Html(highlight(code, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip())
