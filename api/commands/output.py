"""What commands show while they work and when they are done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is being done; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("loading") as status:
        # What is being done names a device in brackets, which rich would take for a style.
        yield lambda what: status.update(escape(what))


def coloured(text: str) -> str:
    """Results in colour; click drops it where the output is no terminal."""
    marks = {"pass": "green", "fail": "red", "skip": "yellow", "known": "yellow"}
    lines = []
    for line in text.splitlines():
        head, _, last = line.rpartition("  ")
        lines.append(f"{head}  {click.style(last, fg=marks[last])}" if last in marks else line)
    return "\n".join(lines)
