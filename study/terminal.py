"""The catalogue on a terminal: three columns where they fit, one under another where they do not.

Everything is text with styles, never markup, so a `[0]` in a fact stays a `[0]`; and a pipe gets the
same text without the styles. A line of code that is too long is folded, its rest indented below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from .catalogue import SECTIONS, Listed
from .record import WINGS, Outcome, Verdict, as_text

CODE_COLUMN = 50  # code in a narrower column is no longer read, only folded
_GUTTER = 3
WIDE = len(WINGS) * CODE_COLUMN + (len(WINGS) - 1) * _GUTTER
_TABLE = 96  # from here on the facts have a column for each wing
_STYLES = {
    Verdict.SAME: "green",
    Verdict.RELABELLED: "cyan",
    Verdict.MUST_DIFFER: "yellow",
    Verdict.ABSENT: "magenta",
}


class _Output(Console):
    """Standard output; a pipe that its reader has closed is left to the caller, and no reason to exit here."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def show(*renderables: RenderableType) -> None:
    """Print on the terminal, or into whatever the output is piped to."""
    output = _Output(highlight=False)
    for renderable in renderables:
        output.print(renderable)


def page(outcome: Outcome) -> RenderableType:
    """One row: what it says, its facts and its code, laid out for the width at which it is printed."""
    return _Page(outcome)


def overview(outcomes: Sequence[Outcome]) -> RenderableType:
    """Ids, titles and verdicts, section by section."""
    lines = [(outcome.behaviour.id, (outcome.behaviour.title, _verdict(outcome.verdict))) for outcome in outcomes]
    return _listing(("row", "title", "verdict"), lines)


def titles(rows: Sequence[Listed]) -> RenderableType:
    """Ids, titles and verdicts as the records say, without a run."""
    lines = [(row.id, (row.title, _verdict(row.verdict))) for row in rows]
    hint = Text(f"To run one and see its code: paritree study {rows[0].id}. To run all: paritree study --run.")
    return Group(_listing(("row", "title", "verdict"), lines), hint)


def _listing(header: Sequence[str], lines: Sequence[tuple[str, Sequence[str | Text]]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column(header[0], no_wrap=True)
    for name in header[1:]:
        table.add_column(name, overflow="fold")
    section = ""
    for identifier, cells in lines:
        if identifier[0] != section:
            section = identifier[0]
            table.add_row("", Text(SECTIONS[section][0], style="bold underline"))
        table.add_row(identifier, *(_text(cell) for cell in cells))
    return table


def _text(value: str | Text) -> Text:
    """Prose, its code spans in bold."""
    if isinstance(value, Text):
        return value
    text = Text(value, overflow="fold")
    text.highlight_regex(r"`[^`]+`", "bold")
    return text


def _verdict(verdict: Verdict) -> Text:
    return Text(verdict.words, style=_STYLES[verdict])


@dataclass(frozen=True)
class _Page:
    outcome: Outcome

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        row, width = self.outcome.behaviour, options.max_width
        yield Rule(Text(row.id, style="bold"), characters="─")
        yield Text.assemble((row.title.replace("`", ""), "bold"), overflow="fold")
        yield Text()
        yield _text(row.statement)
        yield Text()
        reason = _text(f". {row.reason}" if row.reason else ".")
        yield Text("Verdict: ").append_text(_verdict(self.outcome.verdict)).append_text(reason)
        yield Text()
        for problem in self.outcome.problems():
            yield Text(f"Not confirmed by this run: {problem}\n", style="bold red", overflow="fold")
        yield _facts_table(self.outcome) if width >= _TABLE else _facts_list(self.outcome)
        yield Text()
        yield from _columns(self.outcome, width) if width >= WIDE else _stacked(self.outcome)
        if row.notes:
            yield _bullets(row.notes)
            yield Text()
        if row.mistakes:
            yield Text("In the source notebooks:")
            yield _bullets(row.mistakes)
            yield Text()
        if row.sources:
            yield Text(f"Sources: {', '.join(row.sources)}.\n")


def _facts_table(outcome: Outcome) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, expand=True)
    for name in ("fact", *WINGS):
        table.add_column(name, overflow="fold", ratio=2)
    table.add_column("verdict", overflow="fold", ratio=1)
    for name, verdict in outcome.verdicts.items():
        values = [Text(as_text(outcome.facts[wing][name]), overflow="fold") for wing in WINGS]
        table.add_row(Text(name), *values, _verdict(verdict))
    return table


def _facts_list(outcome: Outcome) -> Table:
    """The facts one under another: each value beside its wing, below the name of the fact."""
    lines = Table.grid()
    for name, verdict in outcome.verdicts.items():
        lines.add_row(Text(f"{name}: ", style="bold").append_text(_verdict(verdict)))
        values = Table.grid(padding=(0, 2, 0, 0))
        values.add_column(no_wrap=True)
        values.add_column(overflow="fold")
        for wing in WINGS:
            values.add_row(f"  {wing}", Text(as_text(outcome.facts[wing][name]), overflow="fold"))
        lines.add_row(values)
    return lines


def _columns(outcome: Outcome, width: int) -> Iterator[RenderableType]:
    """The three functions beside each other."""
    column = (width - _GUTTER * (len(WINGS) - 1)) // len(WINGS)
    table = Table.grid(padding=(0, _GUTTER, 0, 0), pad_edge=False)
    for _ in WINGS:
        table.add_column(width=column)
    table.add_row(*(Rule(Text(wing, style="bold"), align="left") for wing in WINGS))
    table.add_row(*(_Code(outcome.behaviour.code(wing)) for wing in WINGS))
    yield table
    yield Text()


def _stacked(outcome: Outcome) -> Iterator[RenderableType]:
    """The three functions one under another."""
    for wing in WINGS:
        yield Rule(Text(wing, style="bold"), align="left")
        yield _Code(outcome.behaviour.code(wing))
        yield Text()


@dataclass(frozen=True)
class _Code:
    """Python in the terminal's own colours, folded to the width it is given."""

    source: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        syntax = Syntax("", "python", theme="ansi_dark", background_color="default")
        for line in syntax.highlight(self.source).split("\n"):
            yield from _folded(line, options.max_width, console)


def _folded(line: Text, width: int, console: Console) -> list[Text]:
    """A line as it is or, if it is too long, in pieces: the first in its place, the others indented by 4 more."""
    if line.cell_len <= width:
        return [line]
    deep = width // 2  # however deep the line stands, half of the width is left to it
    indent = len(line.plain) - len(line.plain.lstrip())
    first, rest = min(indent, deep), min(indent + 4, deep)
    pieces = line[indent:].wrap(console, width - rest)
    return [Text(" " * (rest if place else first)).append_text(piece) for place, piece in enumerate(pieces)]


def _bullets(notes: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for note in notes:
        table.add_row("-", _text(note))
    return table
