"""Options: how a shape may be read, and what one of its axes may hold, so that the other side has the like of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, combinations, product, repeat
from math import log2, prod
from operator import mul
from typing import NamedTuple

from ...pairs.values import ShapeClass, shape_class
from .axis_groupings import Assumption, AxisGrouping, Group, Shape, Split, groupings, plain

# Parts of one axis; more are rather a coincidence of lengths.
MOST_PARTS = 64
MOST_UNEQUAL = 4
# Numbers of tensors of one class that the other side may have.
MOST_SUMS = 64
# The likeliest options of a shape.
MOST_OPTIONS = 16

# By the length of an axis the shapes that have it, and how many tensors each of them then is.
Partners = Mapping[int, Mapping[Shape, int]]


class Option(NamedTuple):
    """One way to read a shape, and what one of its axes then holds.

    assumptions: what is taken for granted, with costs. needed: without them.
    """

    grouping: AxisGrouping
    split: Split | None
    assumptions: tuple[tuple[Assumption, float], ...] = ()
    needed: frozenset[Assumption] = frozenset()

    @property
    def cost(self) -> float:
        return sum(cost for _, cost in self.assumptions)


def _option(grouping: AxisGrouping, split: Split | None, *assumptions: tuple[Assumption, float]) -> Option:
    return Option(grouping, split, assumptions, frozenset(name for name, _ in assumptions))


def options_of(
    side: int, group: Group, others: Sequence[Shape], own: Counter[Group], counts: Counter[Group]
) -> list[Option]:
    """The plain axis grouping, and those that lead to a class of a shape of the other side, or of a part of one."""
    shape = group[0]
    reached, remainders = _reached(tuple(dict.fromkeys(others)))
    found = [Option(plain(shape), None)]
    for grouping in groupings(shape):
        lengths = tuple(sorted(length for length in grouping.lengths(shape) if length != 1))
        # What is assumed of one side is not of the other.
        assumed = tuple(((side, *name), cost) for name, cost in grouping.assumptions(shape))
        if lengths in reached and not grouping.is_plain:
            found.append(_option(grouping, None, *assumed))
        for position, length in enumerate(lengths):
            if position and lengths[position - 1] == length:
                continue
            rest = lengths[:position] + lengths[position + 1 :]
            partners = remainders.get(rest, {})
            if lengths not in reached and not grouping.is_plain and any(other > length for other in partners):
                found.append(_option(grouping, None, *assumed))
            more = _more(rest, partners, _as_read(own, grouping), counts, own[group] * _copies(shape, grouping))
            for split, cost in _splits(length, more):
                found.append(_option(grouping, split, *assumed, (("held", length, *split.parts), cost)))
    found.sort(key=lambda option: option.cost)
    return found[:MOST_OPTIONS]


@lru_cache(maxsize=512)
def _reached(shapes: tuple[Shape, ...]) -> tuple[set[ShapeClass], dict[ShapeClass, dict[int, dict[Shape, int]]]]:
    """What shapes can be read as; and by all lengths but one, for each of that one how many a tensor then is.

    Of several axis groupings that lead to the same the plainest counts; a counted axis may only be the leading one.
    """
    reached: set[ShapeClass] = set()
    remainders: dict[ShapeClass, dict[int, dict[Shape, int]]] = {}
    for shape in shapes:
        for grouping in groupings(shape):
            lengths = tuple(sorted(length for length in grouping.lengths(shape) if length != 1))
            # Any two vectors can be read as so many numbers: only what is a number by itself is one to reach.
            if grouping.counted and not lengths:
                continue
            reached.add(lengths)
            copies = prod(shape) // max(prod(lengths), 1)
            for position, length in enumerate(lengths):
                rest = lengths[:position] + lengths[position + 1 :]
                found = remainders.setdefault(rest, {}).setdefault(length, {})
                if grouping.counted <= {0}:
                    found.setdefault(shape, copies)
    return reached, remainders


def _more(
    rest: ShapeClass,
    partners: Partners,
    own: Counter[ShapeClass],
    counts: Counter[Group],
    each: int,
) -> dict[int, set[int]]:
    """By the length of an axis beside `rest`, how many more of it the other side may have for each of this group.

    own: how many of each class this side has.
    """
    found = {}
    for length, shapes in partners.items():
        # Each shape of the other side may be read so or not.
        sums = {0}
        for (shape, _), count in counts.items():
            if shape in shapes and len(sums) <= MOST_SUMS:
                sums |= {each + count * shapes[shape] for each in sums}
        less = own[tuple(sorted((*rest, length)))]
        found[length] = {max(0, round((theirs - less) / each)) for theirs in sums}
    return found


def _as_read(own: Counter[Group], grouping: AxisGrouping) -> Counter[ShapeClass]:
    """How many tensors of each class a side has; stacks are taken apart if the axis grouping takes its tensor apart."""
    found: Counter[ShapeClass] = Counter()
    for (shape, _), count in own.items():
        stack = shape[:1] if grouping.counted == {0} and len(shape) > 1 else ()
        found[shape_class(shape[len(stack) :])] += count * prod(stack)
    return found


def _copies(shape: Shape, grouping: AxisGrouping) -> int:
    """How many tensors one is that is read so."""
    return prod(shape[grouping.runs[position][0]] for position in grouping.counted)


def _splits(length: int, more: Mapping[int, set[int]]) -> Iterator[tuple[Split, float]]:
    """Equal parts of a length that the other side has, and unequal ones as many as it has more of, with their cost."""
    smaller = sorted((part for part in more if part < length), reverse=True)
    for part in smaller:
        count = length // part
        if length % part == 0 and count <= MOST_PARTS:
            yield Split(length, (part,) * count, part), (2.0 if count in more[part] else 3.0) + log2(count) / 4
    several = [part for part in smaller if not more[part].isdisjoint(range(1, MOST_UNEQUAL + 1))][:8]
    for count in range(2, min(len(several), MOST_UNEQUAL) + 1):
        for chosen in combinations(several, count):
            for numbers in product(*(sorted(more[part] - {0}) for part in chosen)):
                if sum(numbers) <= MOST_UNEQUAL and sum(map(mul, chosen, numbers)) == length:
                    yield Split(length, tuple(chain(*map(repeat, chosen, numbers))), 0), 2.0
