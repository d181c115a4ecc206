"""Structures worth a try, where the two sides do not have the same numbers of tensors of one shape class.

Shapes alone propose: an axis grouping or a split must lead to a class that the other side can show too, and both sides
must then hold as many numbers of each class. Whether a structure is right, the outputs at its symmetric point tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice, permutations, product
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from ...pairs.values import ShapeClass, shape_class
from .axis_groupings import Assumption, AxisGrouping, Group, Split, Structure, plain
from .options import Option, options_of

# What is tried, the likeliest first: structures, and orders of what lies unequally along one axis.
MOST_STRUCTURES, MOST_ORDERS = 8, 12
# Sets of assumptions that are kept of each size, their greatest size, steps to the best choice, and classes.
MOST_SETS, MOST_ASSUMED, MOST_MOVES, MOST_CLASSES = 8, 5, 4, 256


# Tensors of one side that are read alike: those of one shape, and where that is too coarse of one kind of name too.
Counts = tuple[Counter[Group], Counter[Group]]
# A group and its side; and for every uneven one an option.
Key = tuple[int, Group]
Options = Mapping[Key, Option]
Readings = tuple[tuple[Key, AxisGrouping], ...]


def structures(reference: Sequence[Group], port: Sequence[Group]) -> list[Structure]:
    """For the parameters of both sides, the likeliest structure first; empty where all is even."""
    counts = Counter(reference), Counter(port)
    uneven = _uneven(counts)
    options = {
        (side, group): options_of(side, group, [other for other, _ in uneven[1 - side]], counts[side], counts[1 - side])
        for side in (0, 1)
        for group in uneven[side]
    }
    if not options:
        return []
    return [structure for choice in _choices(options, counts) for structure in _structures(choice)]


def reordered(structure: Structure, lengths: Collection[int]) -> Iterator[Structure]:
    """The structure with one more length that holds several things, of a length that there is too, in any order."""
    for length in sorted(lengths):
        for count in (4, 3, 2):
            part = length // count
            if length % count == 0 and part in lengths and length not in structure.periods:
                splits = (*structure.splits, Split(length, (part,) * count, part))
                yield replace(structure, splits=splits, periods=_periods(splits))


def _uneven(counts: Counts) -> tuple[list[Group], list[Group]]:
    """Of both sides the groups of those classes of which the sides have unequal numbers."""
    classes: list[Counter[ShapeClass]] = [Counter(), Counter()]
    for side in (0, 1):
        for (shape, _), count in counts[side].items():
            classes[side][shape_class(shape)] += count
    differ = {of for of in {*classes[0], *classes[1]} if classes[0][of] != classes[1][of]}
    found = [[group for group in counts[side] if shape_class(group[0]) in differ] for side in (0, 1)]
    return found[0], found[1]


def finer(structure: Structure) -> Iterator[Structure]:
    """The structure with the things that one axis holds taking turns in it, in ever shorter runs."""
    for split in structure.splits:
        part = split.parts[0]
        if not split.within:
            continue
        for within in sorted((d for d in range(1, part) if part % d == 0), reverse=True):
            splits = tuple(each._replace(within=within) if each is split else each for each in structure.splits)
            yield replace(structure, splits=splits, periods=_periods(splits), cost=structure.cost + 1)


def fewer(structure: Structure) -> Iterator[Structure]:
    """The structure with some of its splits alone, all of them first."""
    for size in range(min(len(structure.splits), MOST_ASSUMED), -1, -1):
        for splits in combinations(structure.splits, size):
            yield replace(structure, splits=splits, periods=_periods(splits))


class _Choice(NamedTuple):
    """An option for every uneven group, and what the axes hold that are split."""

    imbalance: float
    cost: float
    options: Options
    splits: tuple[Split, ...]

    @property
    def readings(self) -> Readings:
        return tuple((key, option.grouping) for key, option in self.options.items())


def _choices(options: Mapping[Key, Sequence[Option]], counts: Counts) -> list[_Choice]:
    """Choices by how many numbers they leave without a class on the other side, and then by their cost.

    An assumption serves many tensors, so what is searched is sets of them, one option's more at a time, the best on.
    """
    costs = {name: cost for each in options.values() for option in each for name, cost in option.assumptions}
    splits = {option.assumptions[-1][0]: option.split for each in options.values() for option in each if option.split}
    held: dict[tuple[Split, ...], _Held] = {}

    def judged(known: frozenset[Assumption]) -> _Choice:
        of = tuple(splits[name] for name in splits if name in known)
        while True:
            if of not in held:
                held[of] = _Held(of, counts, options)
            made = _judged(known, held[of], costs)
            if made.splits == of:
                return made
            # A split of a length that there is not has periods all the same, under which more seems balanced.
            of = made.splits

    def order(known: frozenset[Assumption]) -> tuple[float, float]:
        return found[known].imbalance, sum(cost for name, cost in costs.items() if name in known)

    steps = dict.fromkeys(option.needed for each in options.values() for option in each)
    found = {frozenset[Assumption](): judged(frozenset())}
    best = list(found)
    for _ in range(MOST_ASSUMED):
        # In an order that is the same in every process, which that of a set is not.
        more = dict.fromkeys(known | needed for known in best for needed in steps if not needed <= known)
        new = [known for known in more if known not in found]
        found.update((known, judged(known)) for known in new)
        ordered = sorted(new, key=order)
        # What is balanced by coincidence is not all that leads further.
        balanced = [known for known in ordered if not found[known].imbalance][: MOST_SETS // 2]
        best = balanced + [known for known in ordered if found[known].imbalance][: MOST_SETS - len(balanced)]
    ranked = sorted(found.values(), key=lambda choice: choice[:2])
    least = ranked[0].imbalance + 0.02 * sum(prod(shape) * count for (shape, _), count in counts[0].items())
    unlike: dict[Readings, list[_Choice]] = {}
    kept: list[_Choice] = []
    for choice in ranked:
        if choice.imbalance > least or len(kept) >= MOST_STRUCTURES:
            break
        for each in (choice, *_exchanged(choice, counts)):
            # Splits that make up for nothing are noise: whatever is balanced without them was chosen before.
            alike = unlike.setdefault(each.readings, [])
            if not any(set(other.splits) <= set(each.splits) for other in alike if other.imbalance <= each.imbalance):
                alike.append(each)
                kept.append(each)
    return kept[:MOST_STRUCTURES]


def _exchanged(choice: _Choice, counts: Counts) -> Iterator[_Choice]:
    """The same with the options of two kinds of names exchanged that are of one shape, and as many."""
    for one, other in combinations(choice.options, 2):
        side, group = one
        first, second = choice.options[one], choice.options[other]
        alike = (side, group[0], counts[side][group]) == (other[0], other[1][0], counts[other[0]][other[1]])
        if alike and first != second:
            yield choice._replace(options={**choice.options, one: second, other: first})


def _judged(known: frozenset[Assumption], held: _Held, costs: Mapping[Assumption, float]) -> _Choice:
    """The best choice that assumes no more than what is known; it costs what it makes use of."""
    possible = {
        key: [number for number, option in enumerate(each) if option.needed <= known]
        for key, each in held.options.items()
    }
    chosen = {
        key: max(each, key=lambda number: len(held.options[key][number].assumptions)) for key, each in possible.items()
    }
    balance = held.rest + sum(held.rows[key][number] for key, number in chosen.items())
    for _ in range(MOST_MOVES):
        before = dict(chosen)
        for key, each in possible.items():
            if len(each) > 1:
                without = balance - held.rows[key][chosen[key]]
                # The first of the best ones, which is the cheapest.
                chosen[key] = each[int(np.abs(without + held.rows[key][each]).sum(1).argmin())]
                balance = without + held.rows[key][chosen[key]]
        if chosen == before:
            break
    made = {key: held.options[key][number] for key, number in chosen.items()}
    splits = held.used(made)
    names = {name for option in made.values() for name in option.needed if name[0] != "held"}
    names |= {("held", split.length, *split.parts) for split in splits}
    read = sum(bool(option.assumptions) for option in made.values())
    cost = sum(cost for name, cost in costs.items() if name in names) + 0.1 * read
    return _Choice(float(np.abs(balance).sum()), cost, made, splits)


class _Held:
    """How many numbers of each class the sides hold under some splits, the port's counted against the reference's.

    rows: for each group with options what it holds under each of them, one number for each class, at most MOST_CLASSES.
    rest: what all others hold.
    """

    def __init__(self, splits: tuple[Split, ...], counts: Counts, options: Mapping[Key, Sequence[Option]]) -> None:
        self.splits, self.options = splits, options
        self._periods = _periods(splits)
        self._unequal = {split.length: split.parts for split in splits if not split.within}
        self._counts = counts
        self._positions: dict[ShapeClass, int] = {}
        self._others = [(side, group) for side in (0, 1) for group in counts[side] if (side, group) not in options]
        self.rows = {
            key: np.stack([self._of(key, option.grouping) for option in each]) for key, each in options.items()
        }
        self.rest = sum((self._of(key, plain(key[1][0])) for key in self._others), np.zeros(MOST_CLASSES))

    def _of(self, key: Key, grouping: AxisGrouping) -> np.ndarray:
        shape = key[1][0]
        lengths = grouping.lengths(shape)
        count = self._counts[key[0]][key[1]] * (-1 if key[0] else 1) * (prod(shape) // max(prod(lengths), 1))
        found = np.zeros(MOST_CLASSES)
        for parts in product(*(self._unequal.get(length, (length,)) for length in lengths)):
            of = shape_class(parts, self._periods)
            found[self._positions.setdefault(of, len(self._positions)) % MOST_CLASSES] += count * prod(parts)
        return found

    def used(self, choice: Options) -> tuple[Split, ...]:
        """The splits of lengths that there are under a choice."""
        lengths = {length for (_, (shape, _)), option in choice.items() for length in option.grouping.lengths(shape)}
        lengths.update(length for _, (shape, _) in self._others for length in shape)
        return tuple(split for split in self.splits if split.length in lengths)


def _structures(choice: _Choice) -> Iterator[Structure]:
    """The structure of a choice, once for every order of what lies unequally along one axis."""
    groupings: tuple[dict[Group, AxisGrouping], dict[Group, AxisGrouping]] = ({}, {})
    for (side, group), option in choice.options.items():
        if not option.grouping.is_plain:
            groupings[side][group] = option.grouping
    splits = choice.splits
    ways = [[split.parts] if split.within else sorted(set(permutations(split.parts)), reverse=True) for split in splits]
    for orders in islice(product(*ways), MOST_ORDERS):
        placed = tuple(split._replace(parts=order) for split, order in zip(splits, orders, strict=True))
        yield Structure(groupings, placed, _periods(placed), choice.cost)


def _periods(splits: Sequence[Split]) -> dict[int, int]:
    """The period of each length that is split equally, and of its parts, which must repeat as it does."""
    equal = [(split.length, split.parts[0], split.within) for split in splits if split.within]
    periods = {length: length for whole, part, _ in equal for length in (whole, part)}
    before: dict[int, int] = {}
    while before != periods:
        before = dict(periods)
        for whole, part, within in equal:
            periods[whole] = periods[part] = gcd(within, periods[whole], periods[part])
    return {length: period for length, period in periods.items() if period != length}
