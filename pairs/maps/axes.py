"""The axes of rows: what a piece and a pattern say together, so that two rows can be joined to one.

Both tensors of a row are seen as a list of elementary axes, outermost first. Each entry of the piece has the same
place along a *name* in both. `(2 3 4)[:, 1]` with the pattern `h d -> (h d)` is, on the left, an axis of length 2
along which `h` runs, one of length 3 that stands at 1, and one of length 4 along which `d` runs. Axes of length 1 are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from .patterns import Names, Side
from .pieces import Piece, Span


class NotJoinable(Exception):
    """Bounds of two pieces that do not meet along any common axes."""


@dataclass(frozen=True)
class Axis:
    """An elementary axis: a name runs along it from `start` by `step`; without a name it stands at `start`."""

    length: int
    start: int = 0
    step: int = 1
    name: str = ""


Sizes = dict[str, int]
# An axis along which several names run, the last one fastest.
Part = tuple[Axis, Names]


def elementary(shape: Sequence[int], piece: Piece, side: Side, sizes: Sizes) -> list[Axis]:
    """The axes of a tensor, by its piece and one side of the pattern of its row.

    Raises:
        NotJoinable: a bracketed axis of the pattern lies across the piece's bounds.
    """
    seen = piece.view or tuple(shape)
    index = (*piece.index, *[(None, None, None)] * (len(seen) - len(piece.index)))
    names = iter(side)
    found: list[Axis] = []
    for length, place in zip(seen, index, strict=True):
        if isinstance(place, int):
            found.append(Axis(length, place))
        else:
            start, _, step = slice(*place).indices(length)
            if step < 0:
                raise NotJoinable
            found += _spread(length, start, step, next(names), sizes)
    return [axis for axis in found if axis.length != 1]


def _spread(length: int, start: int, step: int, names: Names, sizes: Sizes) -> Iterator[Axis]:
    """The axes of one that bracketed names share."""
    long = [name for name in names if sizes[name] != 1]
    inner = prod(sizes[name] for name in long[1:])
    if len(long) < 2:
        yield Axis(length, start, step, long[0] if long else "")
    elif inner and not length % (step * inner) and start % (step * inner) < step:
        yield Axis(length // (step * inner), start // (step * inner), 1, long[0])
        yield from _spread(step * inner, start % (step * inner), step, tuple(long[1:]), sizes)
    else:
        raise NotJoinable


@dataclass
class Joining:
    """Two rows that meet in one tensor, while they become one.

    first, second: each row's axes, `[outer end, the tensor where they meet]`.
    sizes: of all names, which are not the same in both rows.
    """

    first: list[list[Axis]]
    second: list[list[Axis]]
    sizes: Sizes

    def joined(self) -> tuple[list[Axis], list[Axis]] | None:
        """The axes of both outer tensors under the first row's names; None if the rows have no entry in common.

        Raises:
            NotJoinable: pieces whose entries are no piece of the other one.
        """
        self._refine()
        for one, other in zip(list(self.first[1]), list(self.second[1]), strict=True):
            common = _common(self._places(one), self._places(other))
            if not common and (self._places(one) or self._places(other)):
                return None
            name = one.name if len(common) != 1 else ""
            _restrict(self.first[0], one, common, name)
            _restrict(self.second[0], other, common, name)
            if one.name:
                self.sizes[one.name] = len(common)
        return self.first[0], self.second[0]

    def _places(self, axis: Axis) -> range:
        count = self._count(axis)
        return range(axis.start, axis.start + axis.step * (count - 1) + 1, axis.step if count > 1 else 1)

    def _count(self, axis: Axis) -> int:
        return self.sizes[axis.name] if axis.name else 1

    def _refine(self) -> None:
        """Split the axes of the tensor where the rows meet until both have the same ones."""
        end = 1
        while end <= max(len(self.first[1]), len(self.second[1])):
            if end > min(len(self.first[1]), len(self.second[1])):
                raise NotJoinable
            one, other = self.first[1][-end].length, self.second[1][-end].length
            if one != other:
                inner = min(one, other)
                if not inner or max(one, other) % inner:
                    raise NotJoinable
                self._split(self.first if one > other else self.second, end, inner)
            end += 1

    def _split(self, row: list[list[Axis]], end: int, inner: int) -> None:
        """Make two axes of the one that is so far from the end, the inner one of that length."""
        axis = row[1][-end]
        last = axis.start + axis.step * (self._count(axis) - 1)
        outer = Axis(axis.length // inner, axis.start // inner)
        within = Axis(inner, axis.start % inner)
        if not axis.name:
            parts = [outer, within]
        elif axis.step % inner == 0:
            parts = [replace(outer, name=axis.name, step=axis.step // inner), within]
        elif last // inner == axis.start // inner:
            parts = [outer, replace(within, name=axis.name, step=axis.step)]
        else:
            self._split_name(row, axis, inner)
            return
        place = len(row[1]) - end
        row[1][place : place + 1] = parts

    def _split_name(self, row: list[list[Axis]], axis: Axis, inner: int) -> None:
        """Make two names of one, the inner one of the length that fills the inner axis, in both tensors of the row."""
        count = self.sizes[axis.name]
        if axis.step != 1 or count % inner:
            raise NotJoinable
        names = [self._fresh(axis.name, count // inner), self._fresh(axis.name, inner)]
        for axes in row:
            place = next(number for number, each in enumerate(axes) if each.name == axis.name)
            found = axes[place]
            axes[place : place + 1] = _spread(found.length, found.start, found.step, tuple(names), self.sizes)

    def _fresh(self, name: str, size: int) -> str:
        number = next(number for number in range(len(self.sizes) + 1) if f"{name}{number}" not in self.sizes)
        self.sizes[f"{name}{number}"] = size
        return f"{name}{number}"


def _common(one: range, other: range) -> range:
    """The places that both have."""
    coarse, fine = sorted((one, other), key=lambda each: -each.step)
    if coarse.step % fine.step:
        raise NotJoinable
    inside = [number for number, place in enumerate(coarse) if place in fine]
    return coarse[inside[0] : inside[-1] + 1] if inside else range(0)


def _restrict(axes: list[Axis], met: Axis, common: range, name: str) -> None:
    """Let the name of an axis where rows met run only where they have entries in common."""
    if not met.name:
        return
    place = next(number for number, axis in enumerate(axes) if axis.name == met.name)
    axis = axes[place]
    skipped = (common.start - met.start) // met.step
    step = axis.step * (common.step // met.step) if len(common) > 1 else 1
    axes[place] = Axis(axis.length, axis.start + axis.step * skipped, step, name)


def fused(pair: tuple[list[Axis], list[Axis]], shapes: tuple[Sequence[int], Sequence[int]], sizes: Sizes) -> None:
    """Make one of names that follow each other in both tensors, within one axis of each."""
    ends = [{prod(shape[axis:]) for axis in range(len(shape) + 1)} for shape in shapes]
    place = 0
    while place < len(pair[0]) - 1:
        names = pair[0][place].name, pair[0][place + 1].name
        places = [place, next((number for number, axis in enumerate(pair[1]) if axis.name == names[0]), -1)]
        if all(names) and all(map(_can_fuse, pair, places, ends, [names] * 2, [sizes] * 2)):
            sizes[names[0]] *= sizes[names[1]]
            for axes, at in zip(pair, places, strict=True):
                outer, inner = axes[at : at + 2]
                axes[at : at + 2] = [Axis(outer.length * inner.length, outer.start * inner.length, 1, names[0])]
        else:
            place += 1


def _can_fuse(axes: list[Axis], at: int, ends: set[int], names: tuple[str, str], sizes: Sizes) -> bool:
    follows = 0 <= at < len(axes) - 1 and (axes[at].name, axes[at + 1].name) == names
    if not follows or axes[at].step != 1 or not _is_full(axes[at + 1], sizes):
        return False
    return prod(axis.length for axis in axes[at + 1 :]) not in ends


def _is_full(axis: Axis, sizes: Sizes) -> bool:
    return bool(axis.name) and sizes[axis.name] == axis.length


def piece_and_side(axes: Sequence[Axis], shape: Sequence[int], sizes: Sizes) -> tuple[Piece, Side]:
    """What says that of a tensor of that shape: a piece, and a side of a pattern.

    Raises:
        NotJoinable: axes that lie across those of the shape.
    """
    groups = _groups(axes, shape)
    merged = [_merged(group, sizes) for group in groups]
    if all(len(group) == 1 for group in merged):
        parts, view = [group[0] for group in merged], ()
    else:
        parts = [part for group in groups for part in _with_full_merged(group, sizes)]
        view = tuple(axis.length for axis, _ in parts)
    index: list[Any] = [_index(axis, names, sizes) for axis, names in parts]
    side = tuple(names for (_, names), place in zip(parts, index, strict=True) if not isinstance(place, int))
    while index and index[-1] == (None, None, None):
        index.pop()
    return Piece(view if index else (), tuple(index)), side


def _groups(axes: Sequence[Axis], shape: Sequence[int]) -> list[list[Axis]]:
    """The elementary axes of each axis of the shape."""
    rest = list(axes)[::-1]
    found = []
    for length in shape:
        group: list[Axis] = []
        while length != 1 and prod(axis.length for axis in group) != length:
            if not rest or prod(axis.length for axis in group) > length:
                raise NotJoinable
            group.append(rest.pop())
        found.append(group)
    return found


def _merged(group: list[Axis], sizes: Sizes) -> list[Part]:
    """One axis instead of several where an index can say the same of it."""
    if not group:
        return [(Axis(1), ())]
    parts: list[Part] = [(axis, (axis.name,) if axis.name else ()) for axis in group]
    while len(parts) > 1:
        (outer, names), (inner, inner_names) = parts[-2:]
        length, start = outer.length * inner.length, outer.start * inner.length + inner.start
        full = prod(sizes[name] for name in inner_names) == inner.length
        if full and (outer.step == 1 or not names):
            made = Axis(length, start)
        elif not inner_names:
            made = Axis(length, start, outer.step * inner.length if names else 1)
        elif not names:
            made = Axis(length, start, inner.step)
        else:
            return parts
        parts[-2:] = [(made, names + inner_names)]
    return parts


def _with_full_merged(group: list[Axis], sizes: Sizes) -> list[Part]:
    found: list[Part] = []
    for axis in group:
        names = (axis.name,) if axis.name else ()
        if found and _is_full(axis, sizes) and prod(sizes[name] for name in found[-1][1]) == found[-1][0].length:
            found[-1] = Axis(found[-1][0].length * axis.length), found[-1][1] + names
        else:
            found.append((axis, names))
    return found or [(Axis(1), ())]


def _index(axis: Axis, names: Names, sizes: Sizes) -> int | Span:
    count = prod(sizes[name] for name in names)
    if count == axis.length:
        return None, None, None
    if not names:
        return axis.start
    places = range(axis.start, axis.length, axis.step)
    if axis.step > 1:
        return axis.start or None, None if len(places) == count else places[count - 1] + 1, axis.step
    return axis.start, axis.start + count, None
