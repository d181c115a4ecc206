"""One row of the catalogue as MyST Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from .. import figures, markdown
from ..catalogue import IDS
from ..record import NAMES, WINGS, Behaviour, Outcome
from . import results

_SPANS = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
# The notebooks are called S0 to S4 and two rows S1 and S2: of these only what stands in brackets is a row.
_ROWS = re.compile(r"\b(?:[AEILNTW]\d{1,2}|(?<=\()S[12](?=\)))\b")


def row(outcome: Outcome, level: int) -> list[str]:
    """The blocks of a row below a heading of that level. An exercise hides what answers it until it is asked for."""
    record = outcome.behaviour
    anchor = f"({record.id.lower()})="
    if record.question:
        heading = f"{'#' * level} Exercise {record.id[1:]}"
        answer = ["::::::{dropdown} Reveal what it prints, and why", *_findings(outcome), "::::::"]
        asked = [_paragraph(record.question), "What does the code print in each framework? Predict, then reveal."]
        return [anchor, heading, *asked, _tabs(record), *answer]
    heading = f"{'#' * level} {record.id} · {markdown.escaped(record.title)}"
    return [anchor, heading, _verdict(outcome), _paragraph(record.statement), _tabs(record), *_findings(outcome)]


def prose(text: str) -> str:
    """Plain text with code spans as Markdown, in which the ids of rows are links."""
    parts, end = [], 0
    safe = markdown.escaped(text)
    for span in _SPANS.finditer(safe):
        parts += [_linked(safe[end : span.start()]), span.group()]
        end = span.end()
    return "".join(parts) + _linked(safe[end:])


def _linked(text: str) -> str:
    return _ROWS.sub(lambda found: f"[{found[0]}](#{found[0].lower()})" if found[0] in IDS else found[0], text)


def _paragraph(text: str, bullet: str = "") -> str:
    return markdown.paragraph(prose(text), bullet)


def html(text: str) -> str:
    """HTML as a block of its own, whatever stands in it."""
    return markdown.fence(text, "{raw} html")


def _verdict(outcome: Outcome) -> str:
    return html(f'<p class="verdict-of-row">{results.mark(outcome.verdict)}</p>')


def _tabs(record: Behaviour) -> str:
    """The three functions in tabs that follow those of all other rows."""
    tabs = [
        f"::::{{tab-item}} {NAMES[wing]}\n:sync: {wing}\n\n{markdown.fence(record.script(wing))}\n::::"
        for wing in WINGS
    ]
    return "\n".join((":::::{tab-set}", ":sync-group: framework", "", *tabs, ":::::"))


def _findings(outcome: Outcome) -> Iterator[str]:
    """What was found: results, verdict with its reason, figures, and what else to know."""
    record = outcome.behaviour
    if record.question:
        yield f"**{markdown.escaped(record.title)}.**"
        yield _verdict(outcome)
        yield _paragraph(record.statement)
    problems = outcome.problems()
    if problems:
        yield _box("error", "This run does not confirm the record", problems)
    yield html(results.table(outcome))
    if drawn := figures.of(outcome):
        yield html(_drawings(drawn))
    if record.reason:
        yield _paragraph(f"Why: {record.reason}")
    if record.mistakes:
        yield _box("warning", "In the source notebooks", record.mistakes)
    yield from ([_bullets(record.notes)] if record.notes else [])
    if record.sources:
        yield f"*Shown in: {', '.join(record.sources)}.*"


def _drawings(drawn: Sequence[figures.Figure]) -> str:
    """The figures of a row, beside each other where there is room."""
    parts = (
        f"<figure><p>{_inline(each.title)}</p>\n{each.svg}\n<figcaption>{_inline(each.caption)}</figcaption></figure>"
        for each in drawn
    )
    return '<div class="figures">\n' + "\n".join(parts) + "\n</div>"


def _inline(text: str) -> str:
    """Prose with code in backticks, as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _box(kind: str, title: str, texts: Sequence[str]) -> str:
    text = _bullets(texts) if len(texts) > 1 else _paragraph(texts[0])
    return f":::{{admonition}} {title}\n:class: {kind}\n\n{text}\n:::"


def _bullets(texts: Sequence[str]) -> str:
    return "\n".join(_paragraph(text, "- ") for text in texts)
