"""Numbers in paths: rows of a map that differ only in them, as one template.

`h.3.attn.weight` is the skeleton `h.{}.attn.weight` with the number 3. A template's numbers are those of the
reference's path and the places that the row's piece takes in it; whatever else differs from row to row (the port's
path, its places, the aliases, the order of pieces) must follow from them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ..pieces import Piece
from ..rows import MapRow

Numbers = tuple[int, ...]
# With a leading zero it is text: `07` could not be made again from 7.
_NUMBER = re.compile(r"(?<!\d)(0|[1-9]\d*)(?!\d)")


@lru_cache(maxsize=200_000)
def skeleton(path: str) -> tuple[str, Numbers]:
    """The path with `{}` for each number, and the numbers."""
    return _NUMBER.sub("{}", path), tuple(map(int, _NUMBER.findall(path)))


def filled(text: str, numbers: Sequence[int]) -> str:
    parts = text.split("{}")
    return "".join(part + str(number) for part, number in zip(parts, (*numbers, ""), strict=True))


@dataclass(frozen=True)
class Rule:
    """How one number follows from those of the reference: `slope * numbers[variable] + offset`."""

    slope: Fraction
    offset: Fraction
    variable: int = 0

    def of(self, numbers: Numbers) -> int | None:
        """None where it would be no whole number, or a negative one."""
        found = self.offset + (self.slope * numbers[self.variable] if self.slope else 0)
        return int(found) if found.denominator == 1 and found >= 0 else None


@dataclass(frozen=True)
class Line:
    """A row as a template sees it.

    kind: what must be the same in all rows of a template.
    numbers: of the reference's path, then the places of its piece.
    follows: what must follow from them, first the port's path's numbers and places, then the rest.
    orders: of `follows`, how many at the end are the order of a piece among others, which never are a path's number.
    """

    row: MapRow
    kind: tuple
    numbers: Numbers
    follows: Numbers
    orders: int


@dataclass(frozen=True)
class Template:
    """lines: its rows. held: numbers that are not to vary, by place. rules: one for each number that follows."""

    lines: tuple[Line, ...]
    held: dict[int, int]
    rules: tuple[Rule, ...]

    def follows(self, numbers: Numbers) -> Numbers | None:
        """What follows from the numbers; None where the template is not about them."""
        if any(numbers[place] != value for place, value in self.held.items()):
            return None
        found = [rule.of(numbers) for rule in self.rules]
        return None if None in found else tuple(number for number in found if number is not None)


def line(row: MapRow, orders: Numbers) -> Line:
    """orders: of each span of its two pieces, the order among those along that axis."""
    reference, numbers = skeleton(row.reference)
    port, port_numbers = skeleton(row.port)
    names = [skeleton(path) for path in (*row.reference_aliases, *row.port_aliases)]
    places, port_places = places_of(row.reference_piece), places_of(row.port_piece)
    kind = (
        *(reference, port, row.layout, row.transform, row.summed, len(row.shape), len(row.port_shape)),
        *(len(row.reference_aliases), *(text for text, _ in names)),
        *(_form(row.reference_piece), _form(row.port_piece)),
    )
    of_names = tuple(number for _, each in names for number in each)
    return Line(row, kind, numbers + places, port_numbers + port_places + of_names + orders, len(orders))


def places_of(piece: Piece) -> Numbers:
    """Where it stands along the axes that it drops, of an array that is not seen in another shape."""
    return () if piece.view else tuple(axis for axis in piece.index if isinstance(axis, int))


def _form(piece: Piece) -> tuple:
    """What two pieces have in common that differ in places and bounds only."""
    if piece.view:
        return len(piece.view), *(axis if isinstance(axis, int) else _span_form(axis) for axis in piece.index)
    return tuple("place" if isinstance(axis, int) else _span_form(axis) for axis in piece.index)


def _span_form(span: tuple[int | None, int | None, int | None]) -> tuple:
    if span[2] == -1:
        return ("backwards",)
    if (span[2] or 1) > 1:
        return "step", span[0] or 0, span[2]
    return ("span",) if span[0] is not None or span[1] is not None else ("all",)


def templates(lines: Sequence[Line]) -> list[Template]:
    """Templates for lines of one kind: one if that can be, otherwise one for each value of one of the numbers."""
    return _templates(tuple(lines), {})


def _templates(lines: tuple[Line, ...], held: dict[int, int]) -> list[Template]:
    made = _template(lines, held)
    if made is not None:
        return [made]
    varying = [
        place
        for place in range(len(lines[0].numbers))
        if place not in held and len({each.numbers[place] for each in lines}) > 1
    ]
    divided = [[_template(part, held | {place: value}) for value, part in _divided(lines, place)] for place in varying]
    for found in divided:
        if None not in found:
            return [each for each in found if each is not None]
    return [
        each for value, part in _divided(lines, varying[0]) for each in _templates(part, held | {varying[0]: value})
    ]


def _divided(lines: tuple[Line, ...], place: int) -> list[tuple[int, tuple[Line, ...]]]:
    found: dict[int, list[Line]] = {}
    for each in lines:
        found.setdefault(each.numbers[place], []).append(each)
    return [(value, tuple(part)) for value, part in found.items()]


def _template(lines: tuple[Line, ...], held: dict[int, int]) -> Template | None:
    """One template for the lines; None if something does not follow."""
    free = [place for place in range(len(lines[0].numbers)) if place not in held]
    columns = {place: [each.numbers[place] for each in lines] for place in free}
    rules: list[Rule] = []
    first_order = len(lines[0].follows) - lines[0].orders
    for number in range(len(lines[0].follows)):
        used = {rule.variable for rule in rules if rule.slope}
        values = [each.follows[number] for each in lines]
        rule = _rule(values, columns, used) if number < first_order else _order_rule(values, columns, used)
        if rule is None:
            return None
        rules.append(rule)
    # A number that never varied and that nothing follows from: there is no telling what another one would mean.
    used = {rule.variable for rule in rules if rule.slope}
    fixed = {place: column[0] for place, column in columns.items() if place not in used and len({*column}) == 1}
    return Template(lines, held | fixed, tuple(rules))


def _rule(values: list[int], columns: dict[int, list[int]], used: set[int]) -> Rule | None:
    """The simplest rule: the same number, then one moved by a constant, then any line; unused numbers first."""
    if len({*values}) == 1:
        # Never seen to vary: taken to be that number of the reference's path which is the same.
        same = [place for place, column in columns.items() if column == values]
        place = min(same, key=lambda each: (each in used, each), default=None)
        return Rule(Fraction(0), Fraction(values[0])) if place is None else Rule(Fraction(1), Fraction(0), place)
    found = [rule for place, column in columns.items() if (rule := _through(values, column, place)) is not None]
    return min(
        found,
        key=lambda rule: (rule.slope != 1, rule.offset != 0, rule.variable in used, rule.variable),
        default=None,
    )


def _order_rule(values: list[int], columns: dict[int, list[int]], used: set[int]) -> Rule | None:
    return Rule(Fraction(0), Fraction(values[0])) if len({*values}) == 1 else _rule(values, columns, used)


def _through(values: list[int], column: list[int], place: int) -> Rule | None:
    """The line through all the points, if there is one."""
    other = next((number for number, value in enumerate(column) if value != column[0]), None)
    if other is None:
        return None
    slope = Fraction(values[other] - values[0], column[other] - column[0])
    offset = values[0] - slope * column[0]
    if any(value != slope * number + offset for value, number in zip(values, column, strict=True)):
        return None
    return Rule(slope, offset, place)
