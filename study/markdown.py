"""Plain Markdown from plain text: what must be escaped, where a line may break, and how a table is laid out.

A code span is never broken over two lines, and no line of prose begins with a sign that Markdown would
read as a list, a heading or a quotation.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

WIDTH = 100
_COLUMN = 40  # a column is padded to its widest cell, but no further than this
_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
# A mark that could open something, or end the bold type around it; others are harmless, and prose stays readable.
_MARKS = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])"  # a backslash before a sign that it would swallow
    r"|\*(?=\S)|(?<=\S)\*|(?<!\w)_(?=\S)|~(?=~)"  # emphasis
    r"|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\](?=\()"  # a tag, an entity, a link
)
_STARTS = re.compile(r" (?=[-+*#>=|~]|\d+[.)](?:\s|$))")
_HELD = "\x00"  # a space at which no line may break


def escaped(text: str) -> str:
    """Prose in one line, its code spans as they are, every other sign of Markdown's made harmless."""
    text = " ".join(text.split())
    parts, end = [], 0
    for span in _SPAN.finditer(text):
        parts += [_MARKS.sub(r"\\\g<0>", text[end : span.start()]), span.group()]
        end = span.end()
    return "".join(parts) + _MARKS.sub(r"\\\g<0>", text[end:]).replace("`", "\\`")


def paragraph(text: str, bullet: str = "") -> str:
    """Markdown text wrapped at 100 columns, hanging under its bullet if it has one."""
    held = _STARTS.sub(_HELD, _SPAN.sub(lambda span: span.group().replace(" ", _HELD), text))
    return "\n".join(_hanging(held, bullet)).replace(_HELD, " ")


def _hanging(text: str, start: str) -> list[str]:
    """Lines of at most 100 columns; the first one begins with `start`, the others are indented as far."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def code(text: str) -> str:
    """Text as a code span, whatever backticks it holds, in one line."""
    text = " ".join(text.split())
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{room}{text}{room}{ticks}"


def fence(text: str, language: str = "python") -> str:
    """Text as a fenced block."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns stand under each other as far as their cells allow. Cells are Markdown."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widest = [max(len(row[i]) for row in cells) for i in range(len(header))]
    widths = [min(_COLUMN, width) for width in widest]
    if widest[-1] > _COLUMN:
        widths[-1] = len(header[-1])  # nothing stands to the right of it
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "| " + " | ".join("-" * max(3, width) for width in widths) + " |")
    return "\n".join(lines)


def columns(values: Sequence[tuple[str, str]]) -> str:
    """Labels and long values under each other, as a fenced block of plain text, wrapped under their labels."""
    width = max(len(label) for label, _ in values)
    lines = [line for label, value in values for line in _hanging(value, f"{label:<{width}}  ")]
    return fence("\n".join(lines), "text")
