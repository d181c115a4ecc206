"""The drawings of the page, each an SVG that stands in it: colours and type are the page's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ..results import Result
from .units import both_paths, measured, number, printable

_WIDTH, _HEIGHT = 300.0, 128.0
_LEFT, _RIGHT, _TOP, _BASE = 6.0, 294.0, 8.0, 106.0
_CHART_WIDTH, _CHART_HEIGHT = 960.0, 300.0
_CHART_LEFT, _CHART_RIGHT, _CHART_TOP, _CHART_BASE = 64.0, 944.0, 18.0, 262.0
# About as wide as a character of an axis is drawn.
_CHARACTER = 6.2

Points = list[tuple[float, float]]


def svg(width: float, height: float, title: str, description: str, *body: str) -> str:
    """A drawing that a screen reader reads as its title and description."""
    words = f"<title>{text(title)}</title><desc>{text(description)}</desc>"
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img">{words}{"".join(body)}</svg>'


def text(words: str) -> str:
    """Any text as it may stand in the page, in an attribute too."""
    return escape(printable(words), quote=True)


def _label(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(words)}</text>'


def _path(points: Points, kind: str, close: bool = False) -> str:
    steps = " ".join(f"{'L' if place else 'M'}{x:.1f} {y:.1f}" for place, (x, y) in enumerate(points))
    return f'<path class="{kind}" d="{steps}{" Z" if close else ""}"/>' if points else ""


# Histograms


def histogram(result: Result) -> str:
    """Both sides' draws and the densities of what they are taken for; nothing where both are constant."""
    edges = _numbers(result.details.get("edges"))
    heights = {role: _numbers(result.details.get(role)) for role in ("reference", "port")}
    if edges is None or len(edges) < 2 or edges[0] >= edges[-1]:
        return ""
    bars = {role: each for role, each in heights.items() if each is not None and len(each) == len(edges) - 1}
    if len(bars) < 2:
        return ""
    curves = _curves(result.details.get("curves"), len(edges))
    # A constant fills one bin. Beside it all else would lie on the ground, so it is cut off at the height of the rest.
    tall = [max(each) for each in (*bars.values(), *curves.values()) if sum(map(bool, each)) > 1]
    top = 1.05 * max(tall, default=0.0)
    if top <= 0:
        return ""
    outline = {role: _outline(edges, each, top) for role, each in bars.items()}
    drawn = [_path(outline["reference"], "reference-area", close=True), _path(outline["port"], "port-line")]
    for role, curve in curves.items():
        drawn.append(_path([(_x(edges, x), _y(y, top)) for x, y in zip(edges, curve, strict=True)], f"{role}-curve"))
    title = f"Initial values of {both_paths(result) or 'a parameter'}"
    return svg(_WIDTH, _HEIGHT, title, _in_words(result.details), *_axis(edges), *drawn)


def _numbers(values: Any) -> list[float] | None:
    """A list of finite numbers, or None: a report may have been read from a file."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return None
    fine = all(isinstance(each, int | float) and math.isfinite(each) for each in values)
    return [float(each) for each in values] if fine else None


def _curves(curves: Any, count: int) -> dict[str, list[float]]:
    if not isinstance(curves, Mapping):
        return {}
    found = {role: _numbers(curves.get(role)) for role in ("reference", "port")}
    return {role: each for role, each in found.items() if each is not None and len(each) == count}


def _x(edges: Sequence[float], value: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * (value - edges[0]) / (edges[-1] - edges[0])


def _y(value: float, top: float) -> float:
    return _BASE - (_BASE - _TOP) * min(max(value, 0.0), top) / top


def _outline(edges: Sequence[float], heights: Sequence[float], top: float) -> Points:
    points = [(_x(edges, edges[0]), _BASE)]
    for place, height in enumerate(heights):
        points += [(_x(edges, edges[place]), _y(height, top)), (_x(edges, edges[place + 1]), _y(height, top))]
    return [*points, (_x(edges, edges[-1]), _BASE)]


def _axis(edges: Sequence[float]) -> Iterator[str]:
    yield _path([(_LEFT, _BASE), (_RIGHT, _BASE)], "axis")
    yield _label(_LEFT, _HEIGHT - 6, f"{edges[0]:.3g}")
    yield _label(_RIGHT, _HEIGHT - 6, f"{edges[-1]:.3g}", "end")
    if edges[0] < 0 < edges[-1]:
        zero = _x(edges, 0.0)
        yield _path([(zero, _TOP), (zero, _BASE + 3)], "grid")
        if _LEFT + 50 < zero < _RIGHT - 50:
            yield _label(zero, _HEIGHT - 6, "0", "middle")


def _in_words(details: Mapping[str, Any]) -> str:
    parts = []
    for role in ("reference", "port"):
        scheme = side(details, "schemes", role)
        std = side(details, "std", role)
        words = [str(scheme)] if scheme else []
        words += [f"standard deviation {number(std)}"] if isinstance(std, int | float) else []
        parts.append(f"{role}: {', '.join(words) or 'no known distribution'}")
    return "; ".join(parts)


def side(details: Mapping[str, Any], name: str, role: str) -> Any:
    """One side's entry of a detail, or None."""
    found = details.get(name)
    return found.get(role) if isinstance(found, Mapping) else None


# Gradient errors


def errors(results: Sequence[Result], name: str) -> str:
    """The error of each parameter on a logarithmic scale, in the order of the model, with what is allowed.

    An error of zero lies on the floor and one that is not finite at the ceiling.
    """
    shown = [result for result in results if result.measured is not None]
    finite = [
        value
        for result in shown
        for value in (result.measured, result.allowed)
        if value is not None and math.isfinite(value) and value > 0
    ]
    if not shown:
        return ""
    low = math.floor(math.log10(min(finite, default=1e-8))) - 1
    high = max(math.ceil(math.log10(max(finite, default=1.0))), low + 2)
    scale = _Scale(low, high, len(shown))
    limits = [(x, scale.y(result.allowed)) for place, result in enumerate(shown) for x in scale.span(place)]
    worst = max(shown, key=lambda result: math.inf if math.isnan(result.measured or 0.0) else result.measured or 0.0)
    words = f"{len(shown):,} parameters; the largest error is {measured(worst)} at {both_paths(worst)}"
    body = [*_decades(scale), *_blocks(shown, scale), _path(limits, "allowed")]
    body += [_mark(result, scale.x(place), scale.y(result.measured)) for place, result in enumerate(shown)]
    return svg(_CHART_WIDTH, _CHART_HEIGHT, f"Errors of {name}", words, *body)


class _Scale:
    """Where a number and a place in the order lie."""

    def __init__(self, low: int, high: int, count: int) -> None:
        self.low, self.high, self.step = low, high, (_CHART_RIGHT - _CHART_LEFT) / count

    def x(self, place: float) -> float:
        return _CHART_LEFT + (place + 0.5) * self.step

    def span(self, place: int) -> tuple[float, float]:
        return self.x(place - 0.5), self.x(place + 0.5)

    def y(self, value: float | None) -> float:
        if value is None or value <= 0:
            return _CHART_BASE
        if not math.isfinite(value):
            return _CHART_TOP
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return _CHART_BASE - (_CHART_BASE - _CHART_TOP) * min(max(share, 0.0), 1.0)


def _decades(scale: _Scale) -> Iterator[str]:
    yield _path([(_CHART_LEFT, _CHART_BASE), (_CHART_RIGHT, _CHART_BASE)], "axis")
    yield _label(_CHART_LEFT - 8, _CHART_BASE + 4, "0", "end")
    every = max(1, math.ceil((scale.high - scale.low) / 8))
    for power in range(scale.low + 1, scale.high + 1, every):
        y = scale.y(10.0**power)
        yield _path([(_CHART_LEFT, y), (_CHART_RIGHT, y)], "grid")
        yield _label(_CHART_LEFT - 8, y + 4, f"1e{power}", "end")


def _blocks(results: Sequence[Result], scale: _Scale) -> Iterator[str]:
    """A mark where another block of the model begins, with its name where there is room for it."""
    starts: list[tuple[int, str]] = []
    for place, result in enumerate(results):
        name = _block(result.path or result.port_path)
        if not starts or starts[-1][1] != name:
            starts.append((place, name))
    free = 0.0
    for place, name in starts:
        x = scale.x(place - 0.5)
        if place:
            yield _path([(x, _CHART_TOP), (x, _CHART_BASE + 4)], "grid")
        end = x + _CHARACTER * (len(name) + 1)
        if x >= free and end <= _CHART_RIGHT + 12:
            yield _label(x + 2, _CHART_BASE + 20, name)
            free = end


def _block(path: str) -> str:
    """`h.3` for `h.3.attn.weight`: up to the first number, or the first part of a path without one."""
    parts = path.split(".")
    for place, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: place + 1])
    return parts[0]


def _mark(result: Result, x: float, y: float) -> str:
    words = f"{both_paths(result)}: {measured(result)}, allowed {number(result.allowed)}, {result.status}"
    title = f"<title>{text(words)}</title>"
    if result.status == "fail":
        arms = f"M{x - 4:.1f} {y - 4:.1f} l8 8 M{x - 4:.1f} {y + 4:.1f} l8 -8"
        return f'<path class="cross" d="{arms}">{title}</path>'
    if result.status == "known":
        return f'<path class="diamond" d="M{x:.1f} {y - 5:.1f} l5 5 l-5 5 l-5 -5 Z">{title}</path>'
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3">{title}</circle>'


# Shares


def shares(sites: Mapping[str, float], path: str) -> str:
    """One bar, a section for each site; the sections together are the whole width."""
    whole = sum(sites.values())
    if not sites or not whole > 0 or not math.isfinite(whole):
        return ""
    words = ", ".join(f"{name} {share:.0%}" for name, share in sites.items())
    body, x, width = [], 0.0, 240.0
    for place, (name, share) in enumerate(sites.items()):
        length = width * share / whole
        fill = max(0.9 - 0.3 * (place % 3), 0.3)
        title = f"<title>{text(f'site {name}: {share:.0%}')}</title>"
        box = f'x="{x:.1f}" y="2" width="{length:.1f}" height="16" rx="2"'
        body.append(f'<rect class="share" {box} fill-opacity="{fill:.2g}">{title}</rect>')
        x += length
    return svg(width, 20, f"Shares of the sites of {path}", words, *body)
