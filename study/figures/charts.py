"""The charts of the study, each one panel as wide as a phone: numbers in, a drawing out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...common.drawing import MONO, Svg, drawing, element, label, line
from ...common.initializers import Law

WIDTH = 340.0
# Series and parts that stand beside each other, each with a dash of its own: a figure is read without its colours.
HUES = (
    "var(--figure-1, #3d85c6)",
    "var(--figure-2, #d9702b)",
    "var(--figure-3, #2f9e75)",
    "var(--figure-4, #9a63d8)",
    "var(--figure-5, #b08a1e)",
    "var(--figure-6, #c2527f)",
)
DASHES = (None, "6 3", "2 2.5", "8 3 2 3", "10 3", "4 4")
_SOFT = {"fill_opacity": 0.7, "font_size": 11}


class _Area(NamedTuple):
    """Where numbers lie in a drawing: the ends of both axes, in its units and in the numbers'."""

    left: float
    right: float
    top: float
    base: float
    low: float
    high: float
    least: float = 0.0
    most: float = 1.0

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * (value - self.low) / (self.high - self.low)

    def y(self, value: float) -> float:
        return self.base - (self.base - self.top) * (value - self.least) / (self.most - self.least)

    def axis(self) -> Iterator[str]:
        """The ground, with a mark and a number at round values."""
        yield line((self.left, self.base), (self.right, self.base), stroke_opacity=0.5)
        marks = round_values(self.low, self.high, 5)
        for value in marks:
            x = self.x(value)
            yield line((x, self.base), (x, self.base + 4), stroke_opacity=0.5)
            yield label(x, self.base + 17, _number(value, marks), text_anchor="middle", **_SOFT)


def round_values(low: float, high: float, count: int) -> list[float]:
    """About `count` values between two, at steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * part for part in (1, 2, 5, 10) if power * part >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _number(value: float, beside: Sequence[float] = ()) -> str:
    """With as many decimals as tell the values apart that it stands beside."""
    step = min((abs(b - a) for a, b in pairwise(beside)), default=0.0)
    if not step:
        return f"{value:.4g}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value + 0.0:.{digits}f}" if abs(value) > step / 2 else "0"


def histogram(
    values: np.ndarray[Any, Any], law: Law, title: str, hue: str, span: tuple[float, float] | None = None
) -> Svg:
    """Draws as bars, the density of their law as a line, and each of its point masses as a stem with a share.

    span: the ends of the axis; those of what is drawn unless given.
    """
    drawn = np.asarray(values, np.float64).ravel()
    low, high = span or _span(drawn, law)
    area = _Area(14, WIDTH - 14, 30, 156, low, high)
    masses = [value for value, _ in law.point_masses]
    spread = drawn[~np.isin(drawn, masses)]
    body: list[str] = []
    if law.continuous is not None:
        counts, edges = np.histogram(spread, bins=np.linspace(low, high, 37))
        heights = counts / len(drawn) / np.diff(edges)
        grid = np.union1d(np.linspace(low, high, 217), law.continuous.ppf(np.linspace(0.001, 0.999, 61)))
        density = law.spread * np.exp(law.continuous.logpdf(grid))
        # Where all lies in a bin or two, a density is much higher than the bins: it is cut off, and the bins are seen.
        area = area._replace(most=1.12 * max(heights.max(), min(density.max(), 2 * heights.max())))
        body += _bars(area, edges, heights, hue)
        points = zip(map(area.x, grid), map(area.y, np.minimum(density, area.most)), strict=True)
        body.append(line(*points, stroke_width=1.6))
    for value, mass in law.point_masses:
        body += _stem(area, value, mass, float(np.mean(drawn == value)), hue, alone=law.continuous is None)
    said = f"{len(drawn):,} draws, mean {drawn.mean():.3g}, standard deviation {drawn.std():.3g}"
    return drawing(WIDTH, 184, title, said, *body, *area.axis())


def _span(drawn: np.ndarray[Any, Any], law: Law) -> tuple[float, float]:
    """Around all that was drawn and all that could be, as far as that has an end."""
    ends = [float(drawn.min()), float(drawn.max()), *(end for end in law.support if math.isfinite(end))]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _bars(area: _Area, edges: np.ndarray[Any, Any], heights: np.ndarray[Any, Any], hue: str) -> Iterator[str]:
    for (left, right), height in zip(pairwise(edges), heights, strict=True):
        if height:
            x, y = area.x(left), area.y(height)
            width = area.x(right) - x - 0.6
            yield element("rect", x=x + 0.3, y=y, width=width, height=area.base - y, fill=hue, fill_opacity=0.55)


def _stem(area: _Area, value: float, mass: float, share: float, hue: str, alone: bool) -> Iterator[str]:
    """A stem as high as the mass is of the whole height, a dot as high as the share of the draws."""
    height = area.base - area.top
    x, top, dot = area.x(value), area.base - height * mass, area.base - height * share
    yield line((x, area.base), (x, top), stroke_width=1.6)
    yield element("circle", cx=x, cy=dot, r=5, fill=hue, stroke="currentColor")
    words = f"all are {value:.4g}" if alone and share == 1 else f"{share:.1%} are {value:.4g}"
    yield label(x, dot - 11, words, font_size=11, text_anchor="middle")


def shares(bars: Sequence[tuple[str, Sequence[tuple[str, float]]]], title: str) -> Svg:
    """A bar for each line, in parts that stand end to end, each with its words where there is room for them."""
    longest = max(sum(value for _, value in parts) for _, parts in bars)
    area = _Area(14, WIDTH - 14, 0, 0, 0.0, longest)
    body, y = [], 12.0
    for name, parts in bars:
        body.append(label(area.left, y + 12, name))
        start = 0.0
        for index, (words, value) in enumerate(parts):
            x, width = area.x(start), area.x(start + value) - area.x(start)
            said = element("title", f"{words}" if words else f"{value:.4g}")
            hue = HUES[index % len(HUES)]
            box = {"x": x + 0.5, "y": y + 19, "width": max(width - 1, 0.5), "height": 24, "rx": 3}
            body.append(element("rect", said, fill=hue, fill_opacity=0.35, stroke=hue, **box))
            if 6.4 * len(words) < width - 6:
                body.append(label(x + width / 2, y + 35, words, text_anchor="middle", font_size=11))
            start += value
        y += 58
    said = "; ".join(f"{name}: {', '.join(words for words, _ in parts)}" for name, parts in bars)
    return drawing(WIDTH, y, title, said, *body)


def curves(
    series: Mapping[str, Sequence[float]],
    title: str,
    *,
    across: str,
    names: Sequence[str],
    least: float | None,
    most: float,
    marks: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Svg:
    """Lines over the steps 0, 1, ..., each with its name in a legend below.

    across: what the steps are. names: of all series that are to be told apart, here or in another panel.
    least, most: the ends of the scale, which is logarithmic; it is linear from 0 where least is None.
    marks: points of other measurements of the same, as rings.
    """
    count = max(len(values) for values in series.values())
    area = _Area(46, WIDTH - 12, 14, 190, 0.0, count - 1, 0.0, 1.05 * most)
    if least is not None:
        area = area._replace(least=math.floor(math.log10(least)), most=math.log10(most) + 0.1)
    body = [*area.axis(), *_heights(area, least is not None)]

    def place(step: float, value: float) -> tuple[float, float]:
        return area.x(step), area.y(value if least is None else math.log10(max(value, least)))

    body.append(label((area.left + area.right) / 2, area.base + 33, across, text_anchor="middle", **_SOFT))
    y = area.base + 54
    for position, (name, values) in enumerate(series.items()):
        index = names.index(name)
        look = {"stroke": HUES[index % len(HUES)], "stroke_dasharray": DASHES[index % len(DASHES)], "stroke_width": 1.8}
        body.append(line(*(place(step, value) for step, value in enumerate(values)), stroke_linejoin="round", **look))
        for point in (marks or {}).get(name, ()):
            x, height = place(*point)
            body.append(element("circle", cx=x, cy=height, r=3.4, stroke="currentColor"))
        x, row = area.left + 146 * (position % 2), y + 18 * (position // 2)
        body.append(line((x, row - 4), (x + 24, row - 4), **look))
        body.append(label(x + 30, row, name, font_family=MONO, font_size=11))
    said = "; ".join(f"{name} from {values[0]:.3g} to {values[-1]:.3g}" for name, values in series.items())
    return drawing(WIDTH, y + 18 * ((len(series) - 1) // 2) + 12, title, said, *body)


def _heights(area: _Area, is_logarithmic: bool) -> Iterator[str]:
    """A faint line and a number at round values of the scale, or at its powers of ten."""
    powers = [float(power) for power in range(math.ceil(area.least), math.floor(area.most) + 1)]
    values = powers if is_logarithmic else round_values(area.least, area.most, 4)
    for value in values:
        y, words = area.y(value), f"{10.0**value:g}" if is_logarithmic else _number(value, values)
        yield line((area.left, y), (area.right, y), stroke_opacity=0.15)
        yield label(area.left - 6, y + 4, words, text_anchor="end", **_SOFT)


def slopes(before: Sequence[str], after: Sequence[str], title: str, heads: tuple[str, str], hue: str) -> Svg:
    """Two lists beside each other, and a line between the two places of each entry: what moves stands out."""
    left, right, y = 130.0, WIDTH - 130, 44.0
    places = {name: index for index, name in enumerate(after)}
    body = [
        label(left, 20, heads[0], text_anchor="end", **_SOFT),
        label(right, 20, heads[1], **_SOFT),
    ]
    for index, name in enumerate(before):
        here, there = y + 20 * index, y + 20 * places[name]
        moved = here != there
        look = {"stroke": hue, "stroke_width": 2} if moved else {"stroke_opacity": 0.35}
        body.append(line((left + 8, here - 4), (right - 8, there - 4), **look))
        weight = 600 if moved else None
        body.append(label(left, here, name, text_anchor="end", font_family=MONO, font_weight=weight))
        body.append(label(right, there, name, font_family=MONO, font_weight=weight))
    said = f"{heads[0]}: {', '.join(before)}; {heads[1]}: {', '.join(after)}"
    return drawing(WIDTH, y + 20 * len(before) - 8, title, said, *body)


def cells(columns: Mapping[str, Mapping[str, np.ndarray[Any, Any]]], title: str) -> Svg:
    """Arrays by column and row, equal ones in one hue and with one letter, each with its first number."""
    known: list[np.ndarray[Any, Any]] = []
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    left, wide = 34.0, (WIDTH - 34 - 10) / len(columns)
    body = [label(left - 12, 54 + 44 * i, name, text_anchor="end", font_family=MONO) for i, name in enumerate(rows)]
    said = []
    for place, (head, column) in enumerate(columns.items()):
        x = left + wide * place
        body.append(label(x + wide / 2 - 3, 18, head, text_anchor="middle", font_size=11))
        for name, array in column.items():
            index = next((i for i, other in enumerate(known) if np.array_equal(other, array)), len(known))
            known[index:] = known[index:] or [array]
            hue, y = HUES[index % len(HUES)], 30 + 44 * rows.index(name)
            box = {"x": x, "y": y, "width": wide - 6, "height": 38, "rx": 4}
            body.append(element("rect", fill=hue, fill_opacity=0.3, stroke=hue, **box))
            letter = chr(ord("A") + index)
            first = f"{float(array.flat[0]):+.3f}"
            body.append(label(x + wide / 2 - 3, y + 16, letter, text_anchor="middle", font_weight=600))
            body.append(
                label(x + wide / 2 - 3, y + 31, f"{first} ...", text_anchor="middle", font_family=MONO, font_size=10)
            )
            said.append(f"{name} in {head}: {letter}")
    return drawing(WIDTH, 30 + 44 * len(rows) + 4, title, "; ".join(said), *body)
