"""A model's parameters as a tree, one line for each part of a native path, and its ties as arcs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .. import paths
from ..tables import Row, Table, shape_text
from ..ties import Tie
from .svg import MONO, Svg, drawing, element, label, line, plain_text

_LINE = 20.0
_INDENT = 16.0
_MARGIN = 12.0
# About as wide as a character of the names is drawn; a little more, since fonts differ.
_CHARACTER = 7.4
_NARROWEST = 260.0
TIE_HUE = "var(--figure-tie, #9a63d8)"
MARK_HUE = "var(--figure-mark, #d64545)"


class _Node:
    """One line: a part of a native path, with the row that ends there, if one does.

    absent: a row that has no entry of its own, since its native path is its owner's.
    """

    def __init__(self, name: str, row: Row | None = None, absent: bool = False) -> None:
        self.name, self.row, self.absent = name, row, absent
        self.children: dict[str, _Node] = {}

    def rows(self) -> Iterator[Row]:
        """The rows in it, in order."""
        if self.row:
            yield self.row
        for child in self.children.values():
            yield from child.rows()


@dataclass(frozen=True)
class _Line:
    node: _Node
    depth: int
    y: float
    folded: bool

    @property
    def x(self) -> float:
        return _MARGIN + self.depth * _INDENT

    @property
    def note(self) -> str:
        """What stands behind the name: the shape as it is stored, or how much a folded line holds."""
        row = self.node.row
        if self.node.absent:
            return "has no entry"
        if row is not None:
            return shape_text(_stored_shape(row))
        if self.folded:
            count = sum(1 for _ in self.node.rows())
            return f"{count} entries" if count > 1 else "1 entry"
        return ""

    @property
    def end(self) -> float:
        """Where its text ends."""
        return self.x + 10 + _CHARACTER * (len(self.node.name) + (len(self.note) + 1 if self.note else 0))


def tree(
    table: Table,
    title: str,
    *,
    hue: str = "currentColor",
    noted: Mapping[str, str] | None = None,
    marked: Mapping[str, str] | None = None,
    folded: bool = False,
) -> Svg:
    """The rows of a table as a tree of the names under which they are stored, in the table's order.

    A tie is an arc from its owner, a full dot, to its alias, an open one. An alias that has no name of its own, as in
    Linen, is a line in italics: the path at which the model reads its owner.

    hue: the colour of the dots.
    noted: a word for each path of which there is something to say.
    marked: the same, where something is wrong: a cross in another hue, and the word.
    folded: what holds no path with a word is one line.
    """
    wrong = marked or {}
    words = {**(noted or {}), **wrong}
    lines = list(_lines(_root(table), words if folded else None))
    places = {
        row.path: each for each in lines for row in ([each.node.row] if not each.folded else each.node.rows()) if row
    }
    ends = max((each.end for each in lines), default=0.0)
    arcs = list(_arcs(table.ties, places, ends + 14))
    reach = max((reach for reach, _ in arcs), default=ends)
    notes = [_note(places[path], word, reach + 10, path in wrong) for path, word in words.items() if path in places]
    width = max([reach + 8, _NARROWEST, *(end for end, _ in notes)]) + _MARGIN
    body = [*_rails(lines), *(_drawn(each, hue, wrong) for each in lines), *(arc for _, arc in arcs)]
    height = _LINE * max(len(lines), 1) + 2 * _MARGIN - 6
    return drawing(width, height, title, _in_words(table, words), *body, *(note for _, note in notes))


def _root(table: Table) -> _Node:
    """The rows by the parts of their native paths; what is absent lies at the root, under its canonical path."""
    root = _Node("")
    owners = {row.path: row.native_path for row in table.owners}
    for row in table:
        keys = row.native_path or paths.split(row.path)
        if row.tie and row.native_path and row.native_path == owners.get(row.tie.owner):
            root.children[f"\0{row.path}"] = _Node(row.path, row, absent=True)
            continue
        node = root
        for key in keys:
            node = node.children.setdefault(str(key), _Node(str(key)))
        node.row = row
    return root


def _lines(root: _Node, shown: Mapping[str, str] | None) -> Iterator[_Line]:
    """The nodes below the root from top to bottom. shown: the paths that are not to be folded away; None for all."""
    y = _MARGIN + 4

    def below(node: _Node, depth: int) -> Iterator[_Line]:
        nonlocal y
        for child in _in_order(node.children):
            folded = bool(child.children) and shown is not None and not any(row.path in shown for row in child.rows())
            yield _Line(child, depth, y, folded)
            y += _LINE
            if not folded:
                yield from below(child, depth + 1)

    yield from below(root, 0)


def _in_order(children: Mapping[str, _Node]) -> list[_Node]:
    """As they come; those of a list by their numbers, which a table of Linen's need not be in the order of."""
    numbers = [re.fullmatch(r"(.*?)(\d+)", name) for name in children]
    if None in numbers or len({number and number[1] for number in numbers}) > 1:
        return list(children.values())
    ranks = [int(number[2]) for number in numbers if number]
    return [node for _, node in sorted(zip(ranks, children.values(), strict=True), key=lambda pair: pair[0])]


def _stored_shape(row: Row) -> tuple[int | None, ...]:
    return row.shape if None in row.shape else row.layout.native_shape(row.sizes)


def _rails(lines: Sequence[_Line]) -> Iterator[str]:
    """From each line to those that lie in it: one stem down, and a branch to each."""
    for index, each in enumerate(lines):
        inside: list[_Line] = []
        for other in lines[index + 1 :]:
            if other.depth <= each.depth:
                break
            if other.depth == each.depth + 1:
                inside.append(other)
        stem = each.x + 2
        if inside:
            yield line((stem, each.y + 6), (stem, inside[-1].y), stroke_opacity=0.3)
        for other in inside:
            yield line((stem, other.y), (other.x - (0 if other.node.children else 2), other.y), stroke_opacity=0.3)


def _drawn(each: _Line, hue: str, marked: Mapping[str, str]) -> str:
    node, row = each.node, each.node.row
    baseline = each.y + 4
    is_alias = row is not None and row.tie is not None
    is_marked = row is not None and row.path in marked
    ink = MARK_HUE if is_marked else "currentColor"
    name = plain_text(node.name)
    note = ""
    if each.note:
        note = element("tspan", plain_text(each.note), dx=_CHARACTER - 1, fill_opacity=0.65, font_weight=400)
    text = element(
        "text",
        name + note,
        x=each.x + 10,
        y=baseline,
        fill=ink,
        font_family=MONO,
        font_weight=600 if row is None else None,
        font_style="italic" if node.absent else None,
    )
    if row is None:
        return text if not each.folded else _plus(each) + text
    # A parameter is a round dot and a buffer a square one; what is stored elsewhere has none inside.
    full = hue if not is_alias else "none"
    dash = "2 2" if node.absent else None
    if is_marked:
        dot = _cross(each)
    elif row.kind == "buffer":
        dot = element(
            "rect", x=each.x - 1.5, y=each.y - 3.5, width=7, height=7, stroke=hue, fill=full, stroke_dasharray=dash
        )
    else:
        dot = element("circle", cx=each.x + 2, cy=each.y, r=3.5, stroke=hue, fill=full, stroke_dasharray=dash)
    return dot + text


def _plus(each: _Line) -> str:
    x, y = each.x + 2, each.y
    return line((x - 3, y), (x + 3, y)) + line((x, y - 3), (x, y + 3))


def _arcs(ties: Sequence[Tie], places: Mapping[str, _Line], start: float) -> Iterator[tuple[float, str]]:
    """How far to the right each arc reaches, and the arc. Arcs that pass each other lie in lanes of their own."""
    spans = []
    for tie in ties:
        owner, alias = places[tie.owner], places[tie.alias]
        if owner is not alias:
            spans.append((min(owner.y, alias.y), max(owner.y, alias.y), tie, owner, alias))
    taken: list[list[tuple[float, float]]] = []
    for top, bottom, tie, owner, alias in sorted(spans, key=lambda span: (span[1] - span[0], span[0])):
        lane = next((i for i, lane in enumerate(taken) if all(bottom < a or b < top for a, b in lane)), len(taken))
        taken[lane : lane + 1] = [[*(taken[lane] if lane < len(taken) else []), (top, bottom)]]
        yield _arc(tie, owner, alias, start, start + 16 + 11 * lane)


def _arc(tie: Tie, owner: _Line, alias: _Line, start: float, reach: float) -> tuple[float, str]:
    round_off = min(9.0, abs(owner.y - alias.y) / 2)
    turn = round_off if alias.y > owner.y else -round_off
    bend = (
        f"M{start:.1f} {owner.y:.1f} H{reach - round_off:.1f} "
        f"Q{reach:.1f} {owner.y:.1f} {reach:.1f} {owner.y + turn:.1f} V{alias.y - turn:.1f} "
        f"Q{reach:.1f} {alias.y:.1f} {reach - round_off:.1f} {alias.y:.1f} H{start:.1f}"
    )
    dash = "4 3" if alias.node.absent else None
    said = element("title", plain_text(f"{tie.alias} is {tie.owner}"))
    ends = [
        line((each.end + 4, each.y), (start, each.y), stroke=TIE_HUE, stroke_opacity=0.5, stroke_dasharray="1 3")
        for each in (owner, alias)
    ]
    arc = element("path", d=bend, stroke=TIE_HUE, stroke_width=1.6, stroke_dasharray=dash)
    owned = element("circle", cx=start, cy=owner.y, r=3, fill=TIE_HUE)
    read = element("circle", cx=start, cy=alias.y, r=2.8, stroke=TIE_HUE, stroke_width=1.4)
    attributes = {"data-owner": tie.owner, "data-alias": tie.alias}
    return reach, element("g", said, *ends, arc, owned, read, **attributes)


def _note(each: _Line, word: str, x: float, is_wrong: bool) -> tuple[float, str]:
    """Where a word at the end of a line ends, and the word."""
    return x + 6.8 * len(word), label(x, each.y + 4, word, fill=MARK_HUE if is_wrong else "currentColor")


def _cross(each: _Line) -> str:
    x, y = each.x + 2, each.y
    return "".join(line((x - 4, y - 4 * way), (x + 4, y + 4 * way), stroke=MARK_HUE, stroke_width=2) for way in (1, -1))


def _in_words(table: Table, marked: Mapping[str, str]) -> str:
    parts = [table.summary, *(f"{tie.alias} is {tie.owner}" for tie in table.ties)]
    return "; ".join([*parts, *(f"{path}: {word}" for path, word in marked.items())])
