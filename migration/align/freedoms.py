"""Freedoms that cancel: what the other side's program makes up for, tried on the likely map where the programs differ.

A rotation of halves does to one order of the features what a rotation of neighbours does to another; heads may come
before or after what is in them; a factor may be in the program of one side and in the weights of the other. None of it
shows in shapes. Each is tried on all layers at once, in tensors that stand together, by a run of the port; what makes
the outputs agree is then proved as any map is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from ...common import paths
from ...common.wing import PairError
from ...pairs.closeness import relative_error
from ...pairs.maps import Map, MapRow
from ...pairs.side import Side
from ...pairs.values import distinct
from .candidates import Candidates
from .errors import AlignmentError
from .fingerprints import Order, Shape, Shuffle
from .points import Hypothesis
from .rows import carried, map_of

# Runs of the port that orders may take, and factors, each; fewer of a model of more numbers, since a run takes longer.
FEWEST_RUNS, MOST_RUNS, NUMBERS = 48, 640, 200_000_000
# Factors that are looked at first, as powers of two.
_POWERS = np.arange(-8.0, 8.5, 0.5)
# A factor brings the outputs so much closer on the way to where they agree; one is a number if it is so near to it.
_CLOSER, _NEAR = 0.7, 1e-4
# Roots of these and their inverses are factors that a program has; of others the program is another one.
_MOST_SQUARED = 1 << 16


# The lengths that an axis consists of, and the order in which the other side has them; None of a length without them.
Shuffled = tuple[Shape, tuple[int, ...]]
Way = Callable[[int], Shuffled | None]


class _End(NamedTuple):
    """What tensors of one kind give out, or what they are given."""

    kind: str
    is_out: bool


@dataclass(frozen=True)
class Freedoms:
    """The search at one likely map.

    candidates: with the likely partners as its matches.
    """

    candidates: Candidates
    hypothesis: Hypothesis
    reference: Side
    port: Side
    limit: float

    def maps(self) -> Iterator[Map]:
        """Maps whose outputs agree at values of their own, the plainest first; none of them is proved."""
        if not self.likely.rows or self._error(self.likely.rows) == math.inf:
            return
        for ends, way in islice(self._orders(), self._most_runs):
            rows = self._shuffled(ends, way)
            if rows and self._error(rows) <= self.limit:
                yield replace(self.likely, rows=tuple(rows))
        for rows in self._factors():
            yield replace(self.likely, rows=tuple(rows))

    @cached_property
    def _most_runs(self) -> int:
        numbers = sum(native.array.size for native in self.port.tensors.values())
        return max(FEWEST_RUNS, min(MOST_RUNS, NUMBERS // max(numbers, 1)))

    @cached_property
    def likely(self) -> Map:
        return map_of(self.candidates, self.hypothesis, self.reference, self.port)

    @cached_property
    def _values(self) -> dict[str, np.ndarray]:
        return {path: distinct(path, native.array, False) for path, native in self.reference.tensors.items()}

    @cached_property
    def _outputs(self) -> list[np.ndarray]:
        return [*self.reference.outputs(self._values).values()]

    @cached_property
    def _base(self) -> dict[str, np.ndarray]:
        return {path: native.array for path, native in self.port.tensors.items()}

    def _error(self, rows: Sequence[MapRow]) -> float:
        """How far the outputs are apart once the rows carry the values."""
        theirs = {**self._base, **carried(rows, self._values, self._base)}
        try:
            found = [*self.port.outputs(theirs).values()]
        except PairError:
            return math.inf
        if [array.shape for array in found] != [array.shape for array in self._outputs]:
            return math.inf
        return max(relative_error(one, other) for one, other in zip(found, self._outputs, strict=True))

    @cached_property
    def kinds(self) -> dict[str, list[str]]:
        """The matched keys by the kind of what they stand in: the module's path, or the tensor's, without numbers."""
        found: dict[str, list[str]] = {}
        order = {path: number for number, path in enumerate(self.reference.tensors)}
        parts = [self.candidates.parts[0][key] for key in self.candidates.matches]
        for part in sorted(parts, key=lambda part: order[part.path]):
            name = ".".join(text for text in (part.module, _role(paths.leaf(part.path))) if text)
            found.setdefault(re.sub(r"\d+", "#", name), []).append(part.key)
        return found

    def _orders(self) -> Iterator[tuple[tuple[_End, ...], Way]]:
        """Sets of ends whose features may be in another order together, each with each order."""
        lengths = {end: self._length(end) for kind in self.kinds for end in (_End(kind, True), _End(kind, False))}
        sets = list(_sets([end for end, length in lengths.items() if length]))
        for ways in (turned, regrouped):
            for ends in sets:
                shortest = min(lengths[end] for end in ends)
                for way in ways(shortest):
                    if all(way(lengths[end]) for end in ends):
                        yield ends, way

    def _length(self, end: _End) -> int:
        """How many features there are at an end; 0 where its tensors have not all as many."""
        keys = self.kinds[end.kind]
        found = {self._axis(key, end.is_out)[1] for key in keys} - {0}
        is_layer = any(len(self._long(key)) > 1 for key in keys)
        return found.pop() if len(found) == 1 and is_layer else 0

    def _long(self, key: str) -> list[int]:
        return [length for length in self.candidates.parts[0][key].shape if length != 1]

    def _axis(self, key: str, is_out: bool) -> tuple[int, int]:
        """The axis of the features of a part, of those longer than 1, and its length; 0 for a part without one."""
        long = self._long(key)
        if len(long) == 1:
            return 0, long[0] if is_out else 0
        if not 2 <= len(long) <= 3:
            return 0, 0
        is_first = is_out == (self._outputs_first if len(long) == 2 else False)
        axis = 0 if is_first else len(long) - 1
        return axis, long[axis]

    @cached_property
    def _outputs_first(self) -> bool:
        """Whether the reference's matrices have what they give out on their first axis, as PyTorch's."""
        return self.reference.wing.NAME == "torch"

    def _shuffled(self, ends: Sequence[_End], way: Way) -> list[MapRow]:
        orders = {}
        for end in ends:
            for key in self.kinds[end.kind]:
                axis, length = self._axis(key, end.is_out)
                shuffle = way(length) if length else None
                if shuffle is not None:
                    known = orders.get(key, self.candidates.matches[key].order)
                    if known.shuffle is not None or known.flips:
                        return []
                    orders[key] = Order(known.axes, Shuffle(axis, *shuffle))
        made = _with_orders(self.candidates, orders)
        try:
            return [*map_of(made, self.hypothesis, self.reference, self.port).rows]
        except AlignmentError:
            # Lengths that cross those of which the other side's axes are.
            return []

    def _factors(self) -> Iterator[list[MapRow]]:
        """The rows with a factor in the tensors of one kind, or in its matrices alone."""
        before = self._error(self.likely.rows)
        runs = 0
        for is_chosen in self._scaled():
            if not any(map(is_chosen, self.likely.rows)) or runs > self._most_runs:
                continue
            runs += len(_POWERS)
            power = _best_power(partial(self._error_times, is_chosen), before)
            text = known_factor(2.0**power) if power is not None else ""
            if text:
                rows = self._times(is_chosen, text)
                if self._error(rows) <= self.limit:
                    yield rows

    def _scaled(self) -> Iterator[Callable[[MapRow], bool]]:
        for keys in self.kinds.values():
            held = {(part.path, part.piece) for part in (self.candidates.parts[0][key] for key in keys)}
            yield lambda row, held=held: (row.reference, row.reference_piece) in held
            yield lambda row, held=held: (row.reference, row.reference_piece) in held and len(row.shape) > 1

    def _error_times(self, is_chosen: Callable[[MapRow], bool], power: float) -> float:
        return self._error(self._times(is_chosen, f"* {float(2.0**power)!r}"))

    def _times(self, is_chosen: Callable[[MapRow], bool], text: str) -> list[MapRow]:
        """The rows, some with one more step: `* 0.5` or `/ 8.0`."""
        steps = {row: f"({row.transform}) {text}" if row.transform else f"x {text}" for row in self.likely.rows}
        return [replace(row, transform=steps[row]) if is_chosen(row) else row for row in self.likely.rows]


def _role(leaf: str) -> str:
    """What a tensor's last name says beside that it is a weight or a bias: `q` of `wq`, `bq` and `q_kernel`."""
    rest = re.sub(r"_?(weights?|kernel|bias|embedding|scale)_?", "", leaf.lower())
    return re.sub(r"^[wb]_?", "", rest)


def _with_orders(candidates: Candidates, orders: Mapping[str, Order]) -> Candidates:
    """The same candidates with other orders of axes, by the reference's key."""
    made = Candidates(candidates.parts, candidates.partitions, candidates.sides)
    for key, match in candidates.matches.items():
        made.matches[key] = replace(match, order=orders[key]) if key in orders else match
    made.taken.update(candidates.taken)
    return made


def _sets(ends: Sequence[_End]) -> Iterator[tuple[_End, ...]]:
    """Ends of kinds that stand beside each other: two that give out, one that gives to another, all but one to it."""
    beside: dict[str, list[_End]] = {}
    for end in ends:
        beside.setdefault(paths.parent(end.kind), []).append(end)
    for each in beside.values():
        outs, ins = [end for end in each if end.is_out], [end for end in each if not end.is_out]
        yield from combinations(outs, 2)
        for taker in ins:
            givers = [end for end in outs if end.kind != taker.kind]
            yield from ((giver, taker) for giver in givers)
            if len(givers) > 1:
                yield (*givers, taker)
        yield from ((end,) for end in each)


def turned(length: int) -> Iterator[Way]:
    """Halves of each head as neighbours and neighbours as halves, for every width of a head up to a length."""
    for half in range(2, length // 2 + 1):
        if length % (2 * half) == 0:
            yield from (
                partial(_inside, inner=inner, order=(0, 2, 1)) for inner in dict.fromkeys(((2, half), (half, 2)))
            )


def regrouped(length: int) -> Iterator[Way]:
    """Heads before or after what is in them, and groups of heads before or after their members, of every width."""
    for width in range(2, length):
        if length % width == 0:
            yield partial(_inside, inner=(width,), order=(1, 0))
            yield partial(_outside, outer=(width,), order=(1, 0))
    for one in range(2, length):
        for other in range(2, length // one):
            if length % (one * other) == 0:
                yield partial(_outside, outer=(one, other), order=(1, 0, 2))


def _inside(length: int, inner: Shape, order: tuple[int, ...]) -> Shuffled | None:
    """An axis as heads of what is inside of each."""
    heads, rest = divmod(length, math.prod(inner))
    return ((heads, *inner), order) if not rest and heads else None


def _outside(length: int, outer: Shape, order: tuple[int, ...]) -> Shuffled | None:
    """An axis as what is in each of so many."""
    width, rest = divmod(length, math.prod(outer))
    return ((*outer, width), order) if not rest and width > 1 else None


def _best_power(error: Callable[[float], float], before: float) -> float | None:
    """The power of two by which the outputs agree best, where it is far better than without a factor."""
    errors = [error(power) for power in _POWERS]
    best = int(np.argmin(errors))
    if not errors[best] < _CLOSER * before:
        return None
    around = _POWERS[max(best - 1, 0)], _POWERS[min(best + 1, len(_POWERS) - 1)]
    found: Any = minimize_scalar(error, bounds=around, method="bounded", options={"xatol": 1e-7})
    return float(found.x)


def known_factor(value: float) -> str:
    """`* 0.5`, `/ 8.0` for a factor that is a whole number, a root of one, or the inverse; empty for others."""
    sign, size = ("*", value) if value >= 1 else ("/", 1 / value)
    squared = round(size * size)
    if squared < 2 or squared > _MOST_SQUARED or abs(size * size / squared - 1) > _NEAR:
        return ""
    return f"{sign} {math.sqrt(squared)!r}"
