"""The drawings of the page, each an SVG that stands in it: colours and type are the page's.

They are numbers more than markup, and so made here and not by the template. Every text in them is escaped by `_text`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from ...common.drawing import Svg
from ...common.text import printable
from ..results import Result
from .units import both_paths, measured, number

ROLES = ("reference", "port")
# About as wide as a character of an axis is drawn.
_CHARACTER = 6.2


class _Frame(NamedTuple):
    """A drawing's size, and the part of it in which numbers lie, as shares of its width and of its height."""

    width: float
    height: float
    left: float
    right: float
    top: float
    base: float

    def x(self, share: float) -> float:
        return self.left + (self.right - self.left) * share

    def y(self, share: float) -> float:
        return self.base - (self.base - self.top) * min(max(share, 0.0), 1.0)

    def drawn(self, title: str, description: str, *body: str) -> Svg:
        """What a screen reader reads as its title and description."""
        words = f"<title>{_text(title)}</title><desc>{_text(description)}</desc>"
        return Svg(
            f'<svg class="drawn" viewBox="0 0 {self.width:g} {self.height:g}" role="img">{words}{"".join(body)}</svg>'
        )


_HISTOGRAM = _Frame(300.0, 128.0, left=6.0, right=294.0, top=8.0, base=106.0)
_CHART = _Frame(960.0, 300.0, left=64.0, right=944.0, top=18.0, base=262.0)
_BAR = _Frame(240.0, 20.0, left=0.0, right=240.0, top=2.0, base=18.0)


def _text(words: str) -> str:
    return escape(printable(words))


def _label(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(words)}</text>'


def _path(kind: str, *points: tuple[float, float], close: bool = False) -> str:
    steps = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
    return f'<path class="{kind}" d="{steps}{" Z" if close else ""}"/>'


# Histograms


def histogram(result: Result) -> Svg | None:
    """Both sides' draws and the densities of what they are taken for; None where both are constant."""
    details = result.details
    edges = _numbers(details.get("edges"))
    if edges is None or len(edges) < 2 or edges[0] >= edges[-1]:
        return None
    bars = _by_role(details, len(edges) - 1)
    curves = _by_role(details.get("curves"), len(edges))
    # A constant fills one bin. Beside it all else would lie on the ground, so it is cut off at the height of the rest.
    tall = [max(each) for each in (*bars.values(), *curves.values()) if sum(map(bool, each)) > 1]
    top = 1.05 * max(tall, default=0.0)
    if len(bars) < 2 or top <= 0:
        return None
    x = _across(edges)
    drawn = []
    for role, kind in zip(ROLES, ("reference-area", "port-line"), strict=True):
        heights = [_HISTOGRAM.y(each / top) for each in bars[role]]
        steps = [(x(edge), y) for ends, y in zip(pairwise(edges), heights, strict=True) for edge in ends]
        ground = ((x(edges[0]), _HISTOGRAM.base), (x(edges[-1]), _HISTOGRAM.base))
        drawn.append(_path(kind, ground[0], *steps, ground[1], close=role == "reference"))
    for role, curve in curves.items():
        points = zip(map(x, edges), (_HISTOGRAM.y(each / top) for each in curve), strict=True)
        drawn.append(_path(f"{role}-curve", *points))
    title = f"Initial values of {both_paths(result) or 'a parameter'}"
    return _HISTOGRAM.drawn(title, _in_words(details), *_axis(edges), *drawn)


def _numbers(values: Any) -> list[float] | None:
    """A list of finite numbers, or None: a report may have been read from a file."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return None
    fine = all(isinstance(each, int | float) and math.isfinite(each) for each in values)
    return [float(each) for each in values] if fine else None


def _by_role(values: Any, count: int) -> dict[str, list[float]]:
    """Of both sides, or of those that have so many numbers."""
    found = {role: _numbers(values.get(role)) for role in ROLES} if isinstance(values, Mapping) else {}
    return {role: each for role, each in found.items() if each is not None and len(each) == count}


def _across(edges: Sequence[float]) -> Callable[[float], float]:
    return lambda value: _HISTOGRAM.x((value - edges[0]) / (edges[-1] - edges[0]))


def _axis(edges: Sequence[float]) -> Iterator[str]:
    left, right, base, below = _HISTOGRAM.left, _HISTOGRAM.right, _HISTOGRAM.base, _HISTOGRAM.height - 6
    yield _path("axis", (left, base), (right, base))
    yield _label(left, below, f"{edges[0]:.3g}")
    yield _label(right, below, f"{edges[-1]:.3g}", "end")
    if edges[0] < 0 < edges[-1]:
        zero = _across(edges)(0.0)
        yield _path("grid", (zero, _HISTOGRAM.top), (zero, base + 3))
        if left + 50 < zero < right - 50:
            yield _label(zero, below, "0", "middle")


def _in_words(details: Mapping[str, Any]) -> str:
    parts = []
    for role in ROLES:
        scheme, std = side(details, "schemes", role), side(details, "std", role)
        words = [str(scheme)] if scheme else []
        words += [f"standard deviation {number(std)}"] if isinstance(std, int | float) else []
        parts.append(f"{role}: {', '.join(words) or 'no known distribution'}")
    return "; ".join(parts)


def side(details: Mapping[str, Any], name: str, role: str) -> Any:
    """One side's entry of a detail, or None."""
    found = details.get(name)
    return found.get(role) if isinstance(found, Mapping) else None


# Gradient errors


def errors(results: Sequence[Result], name: str) -> Svg | None:
    """The error of each parameter on a logarithmic scale, in the order of the model, with what is allowed.

    An error of zero lies on the floor and one that is not finite at the ceiling. None where nothing was measured.
    """
    shown = [result for result in results if result.measured is not None]
    if not shown:
        return None
    values = [value for result in shown for value in (result.measured, result.allowed) if value is not None]
    powers = [math.log10(value) for value in values if 0 < value < math.inf] or [-8.0, 0.0]
    low = math.floor(min(powers)) - 1
    high = max(math.ceil(max(powers)), low + 2)
    marks, limits = [], []
    for index, result in enumerate(shown):
        left, middle, right = (_CHART.x((index + part) / len(shown)) for part in (0, 0.5, 1))
        limit = _height(result.allowed, low, high)
        limits += [(left, limit), (right, limit)]
        marks.append(_mark(result, middle, _height(result.measured, low, high)))
    worst = max(shown, key=lambda result: math.inf if math.isnan(result.measured or 0.0) else result.measured or 0.0)
    words = f"{len(shown):,} parameters; the largest error is {measured(worst)} at {both_paths(worst)}"
    body = (*_decades(low, high), *_blocks(shown), _path("allowed", *limits), *marks)
    return _CHART.drawn(f"Errors of {name}", words, *body)


def _height(value: float | None, low: int, high: int) -> float:
    """Where a number lies between two powers of ten."""
    if value is None or value <= 0:
        return _CHART.base
    return _CHART.y((math.log10(value) - low) / (high - low)) if math.isfinite(value) else _CHART.top


def _decades(low: int, high: int) -> Iterator[str]:
    yield _path("axis", (_CHART.left, _CHART.base), (_CHART.right, _CHART.base))
    yield _label(_CHART.left - 8, _CHART.base + 4, "0", "end")
    for power in range(low + 1, high + 1, max(1, math.ceil((high - low) / 8))):
        y = _height(10.0**power, low, high)
        yield _path("grid", (_CHART.left, y), (_CHART.right, y))
        yield _label(_CHART.left - 8, y + 4, f"1e{power}", "end")


def _blocks(results: Sequence[Result]) -> Iterator[str]:
    """A mark where another block of the model begins, with its name where there is room for it."""
    names = [_block(result.path or result.port_path) for result in results]
    free = 0.0
    for name, members in groupby(range(len(names)), names.__getitem__):
        x = _CHART.x(next(members) / len(names))
        if x > _CHART.left:
            yield _path("grid", (x, _CHART.top), (x, _CHART.base + 4))
        end = x + _CHARACTER * (len(name) + 1)
        if x >= free and end <= _CHART.right + 12:
            yield f'<g class="block">{_label(x + 2, _CHART.base + 20, name)}</g>'
            free = end


def _block(path: str) -> str:
    """`h.3` for `h.3.attn.weight`: up to the first number, or the first part of a path without one."""
    parts = path.split(".")
    number = next((index for index, part in enumerate(parts[:-1]) if part.isdigit()), 0)
    return ".".join(parts[: number + 1])


def _mark(result: Result, x: float, y: float) -> str:
    words = f"{both_paths(result)}: {measured(result)}, allowed {number(result.allowed)}, {result.status}"
    title = f"<title>{_text(words)}</title>"
    if result.status == "fail":
        arms = f"M{x - 4:.1f} {y - 4:.1f} l8 8 M{x - 4:.1f} {y + 4:.1f} l8 -8"
        return f'<path class="cross" d="{arms}">{title}</path>'
    if result.status == "known":
        return f'<path class="diamond" d="M{x:.1f} {y - 5:.1f} l5 5 l-5 5 l-5 -5 Z">{title}</path>'
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3">{title}</circle>'


# Shares


def shares(sites: Mapping[str, float], path: str) -> Svg | None:
    """One bar, a section for each site; the sections together are the whole width. None where their sum is no width."""
    whole = sum(sites.values())
    if not whole > 0 or not math.isfinite(whole):
        return None
    body, x = [], 0.0
    for index, (name, share) in enumerate(sites.items()):
        length = _BAR.width * share / whole
        fill = max(0.9 - 0.3 * (index % 3), 0.3)
        title = f"<title>{_text(f'site {name}: {share:.0%}')}</title>"
        box = f'x="{x:.1f}" y="2" width="{length:.1f}" height="16" rx="2"'
        body.append(f'<rect class="share" {box} fill-opacity="{fill:.2g}">{title}</rect>')
        x += length
    words = ", ".join(f"{name} {share:.0%}" for name, share in sites.items())
    return _BAR.drawn(f"Shares of the sites of {path}", words, *body)
