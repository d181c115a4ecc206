"""The package's docstrings are plain text with code in backticks: this makes reStructuredText of them for Sphinx.

A paragraph stays one, an indented block is code, and lines of the form `name: what it is`, with their continuation
indented, become a list; so does what stands under `Raises:` and `Returns:`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

_SPAN = re.compile(r"`([^`]+)`")
# What reStructuredText would read as markup outside of a code span.
_MARKS = re.compile(r"[\\*|]|(?<=\w)_(?!\w)")
_NAMED = re.compile(r"((?:\*{0,2}[a-z_]\w*|[A-Z]\w*(?:Error|Warning|Failure))(?:, (?:\*{0,2}\w+))*): (.*)")
_HEADED = re.compile(r"(Raises|Returns|Yields):$")
_CODE = re.compile(r"\s*(?:import |from |\w+ = |\w+\.\w+\(|>>> )")


def process(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Sphinx's event `autodoc-process-docstring`: the lines are changed in place."""
    lines[:] = [*as_rst("\n".join(lines)), ""]


def as_rst(text: str) -> Iterator[str]:
    """The lines of reStructuredText for a docstring."""
    for block in re.split(r"\n\s*\n", textwrap.dedent(text).strip("\n")):
        lines = block.split("\n")
        yield ""
        if heading := _HEADED.match(lines[0]):
            yield from (f"**{heading[1]}**", "", *_listed(textwrap.dedent("\n".join(lines[1:])).split("\n")))
        elif lines[0].startswith(("    ", ">>> ")):
            yield from _code(lines)
        elif _NAMED.match(lines[0]) or lines[0].startswith("- "):
            yield from _listed(lines)
        else:
            yield from _paragraph(lines)


def _paragraph(lines: Sequence[str]) -> Iterator[str]:
    """Prose, and code where a part of the block is indented below it."""
    prose = []
    for number, line in enumerate(lines):
        if line.startswith("    "):
            yield from (escaped(" ".join(prose)), "", *_code(lines[number:]))
            return
        prose.append(line.strip())
    yield escaped(" ".join(prose))


def _code(lines: Sequence[str]) -> Iterator[str]:
    language = "python" if any(map(_CODE.match, lines)) else "text"
    yield from (f".. code-block:: {language}", "")
    yield from (f"   {line}" for line in textwrap.dedent("\n".join(lines)).split("\n"))
    yield ""


def _listed(lines: Sequence[str]) -> Iterator[str]:
    """An item for each line at the margin; what is indented below it belongs to it."""
    items: list[str] = []
    for line in lines:
        if line.startswith("  ") and items:
            items[-1] += f" {line.strip()}"
        else:
            items.append(line.strip().removeprefix("- "))
    for item in items:
        named = _NAMED.match(item)
        yield f"* **{escaped(named[1])}**: {escaped(named[2])}" if named else f"* {escaped(item)}"
    yield ""


def escaped(text: str) -> str:
    """Prose with its code spans, every other sign made harmless."""
    parts, end = [], 0
    for span in _SPAN.finditer(text):
        # A letter right behind a code span would keep it open.
        behind = "\\ " if text[span.end() : span.end() + 1].isalnum() else ""
        parts += [_plain(text[end : span.start()]), f"``{span[1]}``{behind}"]
        end = span.end()
    return "".join(parts) + _plain(text[end:])


def _plain(text: str) -> str:
    return _MARKS.sub(r"\\\g<0>", text).replace("`", "\\`")
