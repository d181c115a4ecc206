"""The panels of a row on one sheet, for where an image must stand alone: in a notebook."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ...common.drawing import Figure, Svg, drawing, element, label

_WIDTH, _GAP = 340.0, 24.0
_HEAD, _LINE = 26.0, 16.0
# Characters to a line of a caption or a title: as many as are narrower than a panel in a wide font.
_CAPTION, _TITLE = 56, 42


@dataclass(frozen=True)
class _Cell:
    figure: Figure
    width: float
    height: float
    body: str
    title: tuple[str, ...]
    caption: tuple[str, ...]

    @property
    def whole(self) -> float:
        return _HEAD * len(self.title) + self.height + _LINE * len(self.caption) + 10


def sheet(figures: Sequence[Figure]) -> Figure:
    """Figures beside each other, each with its title above it and its caption below, as one figure."""
    cells = [_cell(figure) for figure in figures]
    across = 2 if len(cells) in (2, 4) else min(len(cells), 3)
    body, y = [], 0.0
    for start in range(0, len(cells), across):
        row = cells[start : start + across]
        for place, cell in enumerate(row):
            body.append(_placed(cell, place * (_WIDTH + _GAP) + 6, y))
        y += max(cell.whole for cell in row) + _GAP / 2
    said = " ".join(figure.caption for figure in figures)
    words = "; ".join(figure.title for figure in figures)
    return Figure(words, drawing(across * (_WIDTH + _GAP), y, words, said, *body), said)


def _cell(figure: Figure) -> _Cell:
    width, height = figure.size
    # What holds for a drawing alone is said once, by the sheet.
    inside = re.sub(r"<style>.*?</style>", "", figure.svg[figure.svg.index(">") + 1 :].removesuffix("</svg>"))
    title, caption = (text.replace("`", "") for text in (figure.title, figure.caption))
    return _Cell(
        figure, width, height, inside, *(tuple(textwrap.wrap(*each)) for each in ((title, _TITLE), (caption, _CAPTION)))
    )


def _placed(cell: _Cell, x: float, y: float) -> Svg:
    scale = min(1.0, _WIDTH / cell.width)
    titles = [label(0, _HEAD * (i + 1) - 8, words, font_weight=600, font_size=14) for i, words in enumerate(cell.title)]
    top = _HEAD * len(cell.title)
    panel = element("g", cell.body, transform=f"translate(0 {top:g}) scale({scale:.3g})")
    captions = [
        label(0, top + cell.height + _LINE * (i + 1), words, fill_opacity=0.75) for i, words in enumerate(cell.caption)
    ]
    return Svg(element("g", *titles, panel, *captions, transform=f"translate({x:g} {y:.1f})"))
