"""Tables of names on a terminal: columns where they fit, and rows under one another where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import Box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

Rows = list[tuple[str, ...]]
_GAP = 2  # the padding of a column, and the space that divides it from the next
# A rule below the header, and nothing between the columns.
_UNDERLINED = Box("    \n    \n -- \n    \n    \n    \n    \n    \n")


def grid(pairs: Sequence[tuple[str, str]]) -> Table:
    """Labels and values under each other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in pairs:
        if value and value != "none":
            grid.add_row(Text(f"  {label}"), Text(value))
    return grid


@dataclass(frozen=True)
class Listing:
    """A table whose cells break between words only; where that is too wide, its rows under one another."""

    header: Sequence[str]
    rows: Rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        # A class is looked up and copied, so a name stays in one piece.
        cells = list(zip(self.header, *self.rows, strict=True))
        needed = [max(len(word) for cell in column for word in cell.split() or [""]) for column in cells]
        room = options.max_width - _GAP * (len(needed) - 1)
        if sum(needed) <= room:
            yield self._table(_widths(needed, [max(map(len, column)) for column in cells], room))
        else:
            yield from self._stacked()

    def _table(self, widths: Sequence[int]) -> Table:
        listing = Table(box=_UNDERLINED, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for name, width in zip(self.header, widths, strict=True):
            listing.add_column(name, width=width)
        for row in self.rows:
            listing.add_row(*map(Text, row))
        return listing

    def _stacked(self) -> Iterator[RenderableType]:
        for first, *rest in self.rows:
            yield Text(first or next(filter(None, rest)), style="bold", overflow="fold")
            yield grid(list(zip(self.header[1:], rest, strict=True)))


def _widths(needed: Sequence[int], whole: Sequence[int], room: int) -> list[int]:
    """The widths of columns that fit: the widest give way first, none to less than it needs."""
    widths = list(whole)
    while sum(widths) > room:
        widest = max((n for n in range(len(widths)) if widths[n] > needed[n]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths
