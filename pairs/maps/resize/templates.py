"""Path templates: rows of a map that differ only in the numbers of their paths, as one.

`h.3.attn.weight` is the skeleton `h.{}.attn.weight` with the number 3. A template's numbers are those of the
reference's path and the indices that the row's piece has in it; whatever else differs from row to row (the port's
path, its indices, the aliases, the order of pieces) must follow from them.
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
class LinearRule:
    """How one number follows from those of the reference: `slope * numbers[variable] + offset`."""

    slope: Fraction
    offset: Fraction
    variable: int = 0

    def of(self, numbers: Numbers) -> int | None:
        """None where it would be no whole number, or a negative one."""
        found = self.offset + (self.slope * numbers[self.variable] if self.slope else 0)
        return int(found) if found.denominator == 1 and found >= 0 else None


@dataclass(frozen=True)
class TemplateRow:
    """A row as a template sees it.

    kind: what must be the same in all rows of a template.
    numbers: of the reference's path, then the indices of its piece.
    follows: what must follow from them, first the port's path's numbers and indices, then the rest.
    orders: of `follows`, how many at the end are the order of a piece among others, which never are a path's number.
    """

    row: MapRow
    kind: tuple
    numbers: Numbers
    follows: Numbers
    orders: int


@dataclass(frozen=True)
class PathTemplate:
    """held: by position, the numbers that are not to vary. rules: one for each number that follows."""

    rows: tuple[TemplateRow, ...]
    held: dict[int, int]
    rules: tuple[LinearRule, ...]

    @property
    def row(self) -> MapRow:
        """The first of its rows."""
        return self.rows[0].row

    def follows(self, numbers: Numbers) -> Numbers | None:
        """What follows from the numbers; None where the template is not about them."""
        if any(numbers[position] != value for position, value in self.held.items()):
            return None
        found = [rule.of(numbers) for rule in self.rules]
        return None if None in found else tuple(number for number in found if number is not None)


def template_row(row: MapRow, orders: Numbers) -> TemplateRow:
    """orders: of each span of its two pieces, the order among those along that axis."""
    reference, numbers = skeleton(row.reference)
    port, port_numbers = skeleton(row.port)
    named = row.reference_aliases, row.port_aliases, row.reference_factors, row.port_factors
    names = [skeleton(path) for paths in named for path in paths]
    indices, port_indices = indices_of(row.reference_piece), indices_of(row.port_piece)
    kind = (
        *(reference, port, row.layout, row.transform, row.summed, row.copied, len(row.shape), len(row.port_shape)),
        *(*map(len, named), *(text for text, _ in names)),
        *(_form(row.reference_piece), _form(row.port_piece)),
    )
    of_names = tuple(number for _, each in names for number in each)
    return TemplateRow(row, kind, numbers + indices, port_numbers + port_indices + of_names + orders, len(orders))


def indices_of(piece: Piece) -> Numbers:
    """Those along the axes that it drops, of an array that is not seen in another shape."""
    return () if piece.view else tuple(axis for axis in piece.index if isinstance(axis, int))


def _form(piece: Piece) -> tuple:
    """What two pieces have in common that differ in indices and bounds only."""
    if piece.view:
        return len(piece.view), *(axis if isinstance(axis, int) else _span_form(axis) for axis in piece.index)
    return tuple("index" if isinstance(axis, int) else _span_form(axis) for axis in piece.index)


def _span_form(span: tuple[int | None, int | None, int | None]) -> tuple:
    if span[2] == -1:
        return ("backwards",)
    if (span[2] or 1) > 1:
        return "step", span[0] or 0, span[2]
    return ("span",) if span[0] is not None or span[1] is not None else ("all",)


def templates(rows: Sequence[TemplateRow]) -> list[PathTemplate]:
    """Templates for rows of one kind: one if that can be, otherwise one for each value of one of the numbers."""
    return _templates(tuple(rows), {})


def _templates(rows: tuple[TemplateRow, ...], held: dict[int, int]) -> list[PathTemplate]:
    made = _template(rows, held)
    if made is not None:
        return [made]
    varying = [
        position
        for position in range(len(rows[0].numbers))
        if position not in held and len({each.numbers[position] for each in rows}) > 1
    ]
    divided = [
        [_template(part, held | {position: value}) for value, part in _divided(rows, position)] for position in varying
    ]
    for found in divided:
        if None not in found:
            return [each for each in found if each is not None]
    return [each for value, part in _divided(rows, varying[0]) for each in _templates(part, held | {varying[0]: value})]


def _divided(rows: tuple[TemplateRow, ...], position: int) -> list[tuple[int, tuple[TemplateRow, ...]]]:
    found: dict[int, list[TemplateRow]] = {}
    for each in rows:
        found.setdefault(each.numbers[position], []).append(each)
    return [(value, tuple(part)) for value, part in found.items()]


def _template(rows: tuple[TemplateRow, ...], held: dict[int, int]) -> PathTemplate | None:
    """One template for the rows; None if something does not follow."""
    free = [position for position in range(len(rows[0].numbers)) if position not in held]
    columns = {position: [each.numbers[position] for each in rows] for position in free}
    rules: list[LinearRule] = []
    first_order = len(rows[0].follows) - rows[0].orders
    for number in range(len(rows[0].follows)):
        used = {rule.variable for rule in rules if rule.slope}
        values = [each.follows[number] for each in rows]
        rule = _rule(values, columns, used) if number < first_order else _order_rule(values, columns, used)
        if rule is None:
            return None
        rules.append(rule)
    # A number that never varied and that nothing follows from: there is no telling what another one would mean.
    used = {rule.variable for rule in rules if rule.slope}
    fixed = {
        position: column[0] for position, column in columns.items() if position not in used and len({*column}) == 1
    }
    return PathTemplate(rows, held | fixed, tuple(rules))


def _rule(values: list[int], columns: dict[int, list[int]], used: set[int]) -> LinearRule | None:
    """The simplest rule: the same number, then one moved by a constant, then any line; unused numbers first."""
    if len({*values}) == 1:
        # Never seen to vary: taken to be that number of the reference's path which is the same.
        same = [position for position, column in columns.items() if column == values]
        position = min(same, key=lambda each: (each in used, each), default=None)
        return _constant(values[0]) if position is None else LinearRule(Fraction(1), Fraction(0), position)
    found = [rule for position, column in columns.items() if (rule := _through(values, column, position)) is not None]
    return min(
        found,
        key=lambda rule: (rule.slope != 1, rule.offset != 0, rule.variable in used, rule.variable),
        default=None,
    )


def _order_rule(values: list[int], columns: dict[int, list[int]], used: set[int]) -> LinearRule | None:
    return _constant(values[0]) if len({*values}) == 1 else _rule(values, columns, used)


def _constant(value: int) -> LinearRule:
    return LinearRule(Fraction(0), Fraction(value))


def _through(values: list[int], column: list[int], position: int) -> LinearRule | None:
    """The line through all the points, if there is one."""
    other = next((number for number, value in enumerate(column) if value != column[0]), None)
    if other is None:
        return None
    slope = Fraction(values[other] - values[0], column[other] - column[0])
    offset = values[0] - slope * column[0]
    if any(value != slope * number + offset for value, number in zip(values, column, strict=True)):
        return None
    return LinearRule(slope, offset, position)
