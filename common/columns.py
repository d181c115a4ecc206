"""Tables in plain text: columns where they fit a width, cells behind one another where they do not. No word is torn."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from .text import one_line

Cells = Sequence[Sequence[str]]


def terminal_width() -> int | None:
    """How wide the terminal is that is printed to; None for a pipe or a file, where nothing needs to fit."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def columns(cells: Cells) -> list[str]:
    """Lines of cells, each column as wide as its widest cell; every line has as many cells.

    What cannot be printed, or would end the line, is escaped.
    """
    escaped = [tuple(map(one_line, line)) for line in cells]
    widths = [max(len(line[i]) for line in escaped) for i in range(len(escaped[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in escaped
    ]


def fit(lines: Iterable[str], width: int | None) -> bool:
    """Whether lines are no longer than a width."""
    return width is None or all(len(line) <= width for line in lines)


def in_lines(cells: Iterable[str], width: int, indent: int = 0) -> list[str]:
    """Cells behind one another, two blanks between them, those that follow the first line's deeper by two.

    A cell that is too long for a line ends it at a blank; a word that is too long stays whole.
    """
    lines: list[str] = []
    for cell in map(one_line, filter(None, cells)):
        if lines and len(lines[-1]) + 2 + len(cell) <= width:
            lines[-1] += f"  {cell}"
            continue
        start = " " * (indent + 2 * bool(lines))
        lines += textwrap.wrap(
            cell,
            width,
            initial_indent=start,
            subsequent_indent=f"{start}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
