"""Readings: how the axes of a tensor may be understood, and the parts that it then has.

Two programs may store one thing in other shapes. Axes may be one, `(E, H, D)` for `(E, H*D)`, also around others, as in
an einsum's kernel `(H, E, D)`; an axis may count what the other side has apart, the layers of a scanned block or its
experts; and one axis may hold several things in a row or interleaved, as a fused projection does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, count, islice, product
from math import prod
from typing import NamedTuple

import numpy as np

from ...common import paths
from ...pairs.maps import WHOLE, Piece, Span

Shape = tuple[int, ...]
EVERY: Span = (None, None, None)
# Axes are only sought to be one around others where there are no more than these; of five there are many ways.
MOST_APART = 4
REVERSED: Span = (None, None, -1)
# What an axis grouping takes for granted, in a word and lengths.
Assumption = tuple[str | int, ...]


@dataclass(frozen=True)
class AxisGrouping:
    """Runs of axes, each seen as one axis, in the order of their first axes; between those of a run others may lie.

    counted: the runs (of one axis each, by position) whose every entry is a tensor of its own.
    """

    runs: tuple[tuple[int, ...], ...]
    counted: frozenset[int] = frozenset()

    def assumptions(self, shape: Shape) -> tuple[tuple[Assumption, float], ...]:
        """What it takes for granted, and how far-fetched that is: that axes are one, or that one counts."""
        found: list[tuple[Assumption, float]] = []
        for position, run in enumerate(self.runs):
            if position in self.counted:
                is_leading = position < len(self.counted)
                word, cost = ("counted", 2.0) if is_leading else ("counted inside", 3.0)
                found.append(((word, shape[run[0]]), cost))
            elif len(run) > 1:
                # Two axes that are one are common, three are not.
                cost = (1.0, 4.0, 8.0)[min(len(run), 4) - 2]
                found.append((("one", *(shape[axis] for axis in run)), cost))
        if not self._in_order:
            found.append((("apart",), 1.0))
        return tuple(found)

    @property
    def _in_order(self) -> bool:
        """Whether only what is counted lies between the axes of a run."""
        axes = [*chain(*self.kept)]
        return axes == sorted(axes)

    @property
    def is_plain(self) -> bool:
        return not self.counted and all(len(run) == 1 for run in self.runs)

    def lengths(self, shape: Shape) -> Shape:
        """The lengths of the runs that are not counted."""
        return tuple(prod(shape[axis] for axis in run) for run in self.kept)

    @property
    def kept(self) -> list[tuple[int, ...]]:
        return [run for position, run in enumerate(self.runs) if position not in self.counted]


def plain(shape: Shape) -> AxisGrouping:
    """Every axis by itself."""
    return AxisGrouping(tuple((axis,) for axis in range(len(shape))))


def groupings(shape: Shape) -> list[AxisGrouping]:
    """All axis groupings of a shape, the plain one first; up to two axes are counted, one of them the leading one."""
    long = [axis for axis, length in enumerate(shape) if length != 1]
    found = []
    for counted in ((), *((axis,) for axis in long), *((0, axis) for axis in long if 0 in long and axis)):
        rest = tuple(axis for axis in range(len(shape)) if axis not in counted)
        for kept in (*_runs(rest), *_runs_apart(rest)):
            runs = tuple(sorted((*kept, *((axis,) for axis in counted))))
            found.append(AxisGrouping(runs, frozenset(runs.index((axis,)) for axis in counted)))
    return sorted(found, key=lambda grouping: sum(cost for _, cost in grouping.assumptions(shape)))


# Runs of axes.
Runs = tuple[tuple[int, ...], ...]


def _runs(axes: tuple[int, ...]) -> Iterator[Runs]:
    """Every way to cut a row of axes."""
    for cuts in product((True, False), repeat=max(len(axes) - 1, 0)):
        runs = [axes[:1]] if axes else []
        for axis, cut in zip(axes[1:], cuts, strict=True):
            if cut:
                runs.append((axis,))
            else:
                runs[-1] = (*runs[-1], axis)
        yield tuple(runs)


def _runs_apart(axes: tuple[int, ...]) -> Iterator[Runs]:
    """Every way to have one run of axes around others."""
    for size in range(2, len(axes) if len(axes) <= MOST_APART else 0):
        for run in combinations(axes, size):
            if axes.index(run[-1]) - axes.index(run[0]) >= size:
                rest = tuple(axis for axis in axes if axis not in run)
                yield from (tuple(sorted((run, *others))) for others in _runs(rest))


class Split(NamedTuple):
    """One axis of `length` that holds several things.

    parts: their lengths; in their order along the axis where they are unequal.
    within: of equal parts, the length in which they take turns; that of a part where they lie one after the other.
    """

    length: int
    parts: tuple[int, ...]
    within: int


# For each axis the lengths of the axes that make it up.
Factors = tuple[tuple[int, ...], ...]


class Part(NamedTuple):
    """What of a tensor may have a partner on the other side.

    key: the tensor's path and the piece, which says it in one word.
    factors: for each axis of the part the lengths of the tensor's axes that make it up.
    axes: in the same way which axes of the piece these are.
    module: the module it stands in; parts of one number in tensors of one module stand together.
    """

    key: str
    path: str
    piece: Piece
    factors: Factors
    axes: Runs
    module: str

    @property
    def shape(self) -> Shape:
        return tuple(prod(lengths) for lengths in self.factors)

    def of(self, array: np.ndarray) -> np.ndarray:
        """The part of the tensor, in the part's shape."""
        return self._seen(array).reshape(self.shape)

    def fill(self, array: np.ndarray, value: np.ndarray) -> None:
        """Put what `of` gives back into the tensor, a contiguous one."""
        seen = self._seen(array)
        seen[...] = value.reshape(seen.shape)

    def _seen(self, array: np.ndarray) -> np.ndarray:
        """A view of the part, with the axes that make up one of its own side by side."""
        return self.piece.of(array).transpose([*chain(*self.axes)])


# The sets of parts that a tensor may consist of.
Partition = tuple[Part, ...]


class Tensor(NamedTuple):
    """A tensor by its path, the module that it stands in and its shape."""

    path: str
    module: str
    shape: Shape


def partitions(tensor: Tensor, grouping: AxisGrouping, splits: Sequence[Split]) -> list[Partition]:
    """The tensor as a whole (or by what is counted), and then in the parts that each split gives one of its axes."""
    shape = tensor.shape
    counted = [grouping.runs[position][0] for position in sorted(grouping.counted)]
    positions = [
        dict(zip(counted, positions, strict=True)) for positions in product(*(range(shape[axis]) for axis in counted))
    ]
    ways: list[list[Cuts]] = []
    for run in grouping.kept:
        length = prod(shape[axis] for axis in run)
        made = [cuts for split in splits if split.length == length for cuts in _cuts(split, shape[run[0]], len(run))]
        ways.append([[None], *made])
    # Fewer parts first.
    choices = sorted(product(*ways), key=lambda cuts: prod(len(each) for each in cuts))
    return [
        tuple(_part(tensor, grouping, position, cut) for position in positions for cut in product(*cuts))
        for cuts in choices
    ]


class _Cut(NamedTuple):
    """One of the parts of an axis: a span of it, or a position in a view of it as `turns`."""

    tag: str = ""
    span: Span = EVERY
    turns: Shape = ()
    position: int = 0


_UNCUT = _Cut()


# The cuts of one axis that give its parts; None where it is not cut.
Cuts = Sequence[_Cut | None]


def _cuts(split: Split, leading: int, rank: int) -> list[Cuts]:
    """The ways in which a run of axes may be cut. Of several axes only the leading one is."""
    count, part = len(split.parts), split.parts[0]
    below = split.length // leading
    if any(length % below for length in split.parts):
        return []
    ends = np.cumsum([0, *split.parts]) // below
    found: list[Cuts] = [
        [_Cut(f"{number}", (int(ends[number]), int(ends[number + 1]), None)) for number in range(count)]
    ]
    if 0 < split.within < part and rank == 1:
        if split.within == 1:
            found.append([_Cut(f"{number}", (number, None, count)) for number in range(count)])
        else:
            turns = (part // split.within, count, split.within)
            found.append([_Cut(f"{number}", turns=turns, position=number) for number in range(count)])
    return found


def _part(tensor: Tensor, grouping: AxisGrouping, counted: Mapping[int, int], cuts: Cuts) -> Part:
    """The part at one position of each counted axis, and of one cut of each other run's leading axis."""
    path, module, shape = tensor
    by_axis = {run[0]: cut for run, cut in zip(grouping.kept, cuts, strict=True) if cut is not None}
    index: list[int | Span] = []
    view: list[int] = []
    factors: dict[int, tuple[int, ...]] = {}
    for axis, length in enumerate(shape):
        cut = by_axis.get(axis, _UNCUT)
        if axis in counted:
            index.append(counted[axis])
            view.append(length)
        elif cut.turns:
            index += [EVERY, cut.position, EVERY]
            view += cut.turns
            factors[axis] = (cut.turns[0], cut.turns[2])
        else:
            index.append(cut.span)
            view.append(length)
            factors[axis] = (len(range(*slice(*cut.span).indices(length))),)
    while index and index[-1] == EVERY:
        index.pop()
    seen = tuple(view) if any(cut.turns for cut in by_axis.values()) else ()
    piece = Piece(seen, tuple(index)) if index else WHOLE
    tag = ",".join([*(f"@{position}" for position in counted.values()), *(f"#{cut.tag}" for cut in by_axis.values())])
    numbers = count()
    axes = {axis: tuple(islice(numbers, len(lengths))) for axis, lengths in factors.items()}
    made, places = (
        tuple(tuple(chain(*(known[axis] for axis in each))) for each in grouping.kept) for known in (factors, axes)
    )
    return Part(f"{path}{piece}", path, piece, made, places, module + tag)


# Tensors that are read alike: their shape and, where that is not enough, the kind of their name.
Group = tuple[Shape, str]


def kind(path: str) -> str:
    """A tensor's last name without its numbers."""
    return re.sub(r"\d+", "#", paths.leaf(path))


@dataclass(frozen=True)
class Structure:
    """How the shapes of both sides are read, one way for each group of a side.

    groupings: what is not plain, by side (0 the reference, 1 the port) and group.
    splits: which axes hold several things.
    periods: by the length of an axis, the length after which contents repeat along it.
    turned: the lengths of axes of kernels along which contents are the same backwards.
    """

    groupings: tuple[Mapping[Group, AxisGrouping], Mapping[Group, AxisGrouping]] = ({}, {})
    splits: tuple[Split, ...] = ()
    periods: Mapping[int, int] = field(default_factory=dict)
    cost: float = 0.0
    turned: frozenset[int] = frozenset()

    def grouping(self, side: int, path: str, shape: Shape) -> AxisGrouping:
        known = self.groupings[side]
        return known.get((shape, "")) or known.get((shape, kind(path))) or plain(shape)

    def rank(self, side: int, path: str, shape: Shape) -> int:
        """The number of axes of what a tensor holds, those of length 1 left out."""
        return sum(length != 1 for length in self.grouping(side, path, shape).lengths(shape))

    def partitions(self, side: int, tensor: Tensor) -> list[Partition]:
        return partitions(tensor, self.grouping(side, tensor.path, tensor.shape), self.splits)

    @property
    def unequal(self) -> Mapping[int, Shape]:
        """What lies along an axis of a length that holds unequal parts."""
        return {split.length: split.parts for split in self.splits if not split.within}


PLAIN = Structure()
