"""Rows of a map as strides: which entries of a box of the port's tensor lie where in the reference's.

A row's layout and pieces only split, merge and permute axes, so that both tensors can be seen with the same axes, those
that the layout names: `(h d) i -> i h d` has three. Along each of them an entry's number, in either tensor, grows by a
constant. A box of the port's tensor, such as a device's shard, is then a few boxes of these axes, and each of them is a
strided part of the reference's tensor: no entry outside of it need be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from ...common.wing import Box
from .patterns import sides
from .pieces import Piece
from .rows import MapRow


class Axis(NamedTuple):
    """An axis that both tensors have: its length, and how many entries further the next one lies in either."""

    length: int
    source: int
    target: int


@dataclass(frozen=True)
class Part:
    """Entries that two tensors have in common: the number of the first in either, and axes on which the others lie."""

    source: int
    target: int
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        return prod(axis.length for axis in self.axes)

    def at(self, number: int, first: int, count: int) -> Part:
        """Those of its entries that lie within a span of one of its axes."""
        axis = self.axes[number]
        kept = (Axis(count, axis.source, axis.target),) if count > 1 else ()
        axes = (*self.axes[:number], *kept, *self.axes[number + 1 :])
        return Part(self.source + first * axis.source, self.target + first * axis.target, axes)


def parts_of(row: MapRow, box: Box) -> Iterator[Part]:
    """The row's entries within a box of the port's tensor, `target` counted within the box, in C order.

    Each part's axes have their steps in the source in falling order, and all of them positive.
    """
    whole = _whole(row)
    if not whole.size or not prod(stop - start for start, stop in box):
        return
    for part in _on_axes(whole, row.port_shape):
        for inside in _within(part, row.port_shape, box):
            yield _by_source(inside)


def boxes_of(row: MapRow, box: Box) -> Iterator[tuple[Box, Part]]:
    """The row's entries within a box of the reference's tensor, as boxes of the port's that have no others.

    Each comes with what it is in either tensor: `source` in the port's, in the order of whose memory its axes are, and
    `target` counted within the box that is given.
    """
    for part in parts_of(row.inverse(), box):
        for each in _on_axes(_turned(part), row.port_shape):
            yield from _without_gaps(_by_source(_turned(each)), row.port_shape)


def _without_gaps(part: Part, shape: tuple[int, ...]) -> Iterator[tuple[Box, Part]]:
    """The box that the part is, or those of its parts."""
    number = _gapped(part, shape)
    if number < 0:
        yield bounds(part, shape)[0], part
        return
    for first in range(part.axes[number].length):
        yield from _without_gaps(part.at(number, first, 1), shape)


def _gapped(part: Part, shape: tuple[int, ...]) -> int:
    """An axis whose steps leave out entries of the source; -1 for none."""
    steps, reach = strides(shape), [1] * len(shape)
    for number, axis in reversed([*enumerate(part.axes)]):
        along = _along(axis.source, steps)
        if axis.source != steps[along] * reach[along]:
            return number
        reach[along] *= axis.length
    return -1


def _turned(part: Part) -> Part:
    """The same entries, seen from the target."""
    return Part(part.target, part.source, tuple(Axis(length, two, one) for length, one, two in part.axes))


def _whole(row: MapRow) -> Part:
    """All of a row, its axes in the order of the port's memory and their steps there positive."""
    left, right = sides(row.layout, len(row.reference_piece.shape(row.shape)))
    lengths = dict(row.sizes)
    for names, length in zip(left, row.reference_piece.shape(row.shape), strict=True):
        if len(names) == 1:
            lengths[names[0]] = length
    source, source_steps = _steps(row.reference_piece, row.shape, left, lengths)
    target, target_steps = _steps(row.port_piece, row.port_shape, right, lengths)
    axes = []
    for name, length in lengths.items():
        one, other = source_steps[name], target_steps[name]
        if other < 0:
            source, target = source + (length - 1) * one, target + (length - 1) * other
            one, other = -one, -other
        if length != 1:
            axes.append(Axis(length, one, other))
    return Part(source, target, tuple(sorted(axes, key=lambda axis: -axis.target)))


def _steps(
    piece: Piece, shape: tuple[int, ...], side: Sequence[Sequence[str]], lengths: dict[str, int]
) -> tuple[int, dict[str, int]]:
    """The number of a piece's first entry in its tensor, and for each name how much further the next one lies."""
    seen = piece.view or shape
    start, steps = 0, []
    for axis, (length, step) in enumerate(zip(seen, strides(seen), strict=True)):
        index = piece.index[axis] if axis < len(piece.index) else (None, None, None)
        if isinstance(index, int):
            start += index * step
            continue
        first, _, by = slice(*index).indices(length)
        start += first * step
        steps.append(by * step)
    found = {}
    for names, step in zip(side, steps, strict=True):
        for name in reversed(names):
            found[name] = step
            step *= lengths[name]
    return start, found


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    """How many entries of an array of that shape, in C order, the next one along each axis lies further."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _on_axes(part: Part, shape: tuple[int, ...]) -> Iterator[Part]:
    """The part, or its parts, each of whose axes runs along one axis of the target and never over its end.

    A view may merge axes of the target that a layout's axis then runs over: it is split where they meet, or, where its
    steps do not meet them, taken entry by entry.
    """
    number, length = _astray(part, shape)
    if number < 0:
        yield part
    elif length:
        axis = part.axes[number]
        split = (Axis(axis.length // length, axis.source * length, axis.target * length), axis._replace(length=length))
        yield from _on_axes(
            Part(part.source, part.target, (*part.axes[:number], *split, *part.axes[number + 1 :])), shape
        )
    else:
        for first in range(part.axes[number].length):
            yield from _on_axes(part.at(number, first, 1), shape)


def _astray(part: Part, shape: tuple[int, ...]) -> tuple[int, int]:
    """The first axis that leaves an axis of the target, and the length at which it can be split; -1 for none."""
    steps, reach = strides(shape), list(_digits(part.target, shape))
    for number, (length, _, step) in enumerate(part.axes):
        along = _along(step, steps)
        reach[along] += step // steps[along] * (length - 1)
        if step % steps[along]:
            return number, 0
        if reach[along] >= shape[along]:
            fits, rest = divmod(steps[along] * shape[along], step)
            return number, fits if not rest and 1 < fits < length and not length % fits else 0
    return -1, 0


def _along(step: int, steps: Sequence[int]) -> int:
    """The axis of the target along which a step of so many entries goes."""
    return next(axis for axis, each in enumerate(steps) if each <= step)


def _digits(number: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The index of an entry by its number in C order."""
    return tuple(number // step % length for step, length in zip(strides(shape), shape, strict=True))


def _within(part: Part, shape: tuple[int, ...], box: Box) -> Iterator[Part]:
    """The parts of a part that lie in a box of the target, counted within the box."""
    steps, start = strides(shape), _digits(part.target, shape)
    along = [_along(axis.target, steps) for axis in part.axes]
    local = strides([stop - first for first, stop in box])
    choices = []
    for number, (first, stop) in enumerate(box):
        own = [
            (axis.length, axis.target // steps[number])
            for axis, at in zip(part.axes, along, strict=True)
            if at == number
        ]
        choices.append(_spans(own, first - start[number], stop - start[number]))
    for chosen in product(*choices):
        spans = [iter(each) for each in chosen]
        taken = [next(spans[at]) for at in along]
        source, index, axes = part.source, list(start), []
        for (first, count), at, axis in zip(taken, along, part.axes, strict=True):
            source += first * axis.source
            index[at] += first * axis.target // steps[at]
            axes.append(Axis(count, axis.source, axis.target // steps[at] * local[at]))
        target = sum((each - begin) * step for each, (begin, _), step in zip(index, box, local, strict=True))
        yield Part(source, target, tuple(axes))


def _spans(axes: Sequence[tuple[int, int]], low: int, high: int) -> list[tuple[tuple[int, int], ...]]:
    """Boxes of axes, each with a length and a step, whose sums of steps lie from `low` to before `high`.

    A box is for each axis a first index and a count. No axis' step is smaller than what those after it reach together,
    so that along each at most two indices, at the ends, have some of what is inside and not all.
    """
    if not axes:
        return [()] if low <= 0 < high else []
    (length, step), *inner = axes
    most = sum(each * (count - 1) for count, each in inner)
    first, stop = max(0, -(-low // step)), min(length, (high - 1 - most) // step + 1)
    found = [((first, stop - first), *((0, count) for count, _ in inner))] if first < stop else []
    touched = range(max(0, -(-(low - most) // step)), min(length, (high - 1) // step + 1))
    for index in touched if inner else ():
        if not first <= index < stop:
            found += [((index, 1), *rest) for rest in _spans(inner, low - step * index, high - step * index)]
    return found


def _by_source(part: Part) -> Part:
    """The same entries, the axes in the order of the source's memory and their steps there positive."""
    source, target, axes = part.source, part.target, []
    for length, one, other in part.axes:
        if one < 0:
            source, target = source + (length - 1) * one, target + (length - 1) * other
            one, other = -one, -other
        if length != 1:
            axes.append(Axis(length, one, other))
    return Part(source, target, tuple(sorted(axes, key=lambda axis: -axis.source)))


def windows(part: Part, most: int) -> Iterator[Part]:
    """The part in parts of at most so many entries, in the order of the source's memory."""
    if part.size <= most:
        yield part
        return
    first = part.axes[0]
    inner = part.size // first.length
    count = max(most // inner, 1)
    for start in range(0, first.length, count):
        yield from windows(part.at(0, start, min(count, first.length - start)), most)


def bounds(part: Part, shape: tuple[int, ...]) -> tuple[Box, Part]:
    """The box of a source of that shape around a part, and the part with `source` counted within the box.

    All of the source, where an axis runs over the end of one of the source's.
    """
    if _astray(_turned(part), shape) != (-1, 0):
        return tuple((0, length) for length in shape), part
    steps, start = strides(shape), _digits(part.source, shape)
    along = [_along(axis.source, steps) for axis in part.axes]
    reach = [1] * len(shape)
    for axis, at in zip(part.axes, along, strict=True):
        reach[at] += axis.source // steps[at] * (axis.length - 1)
    box, local = tuple((first, first + each) for first, each in zip(start, reach, strict=True)), strides(reach)
    inside = (
        axis._replace(source=axis.source // steps[at] * local[at]) for axis, at in zip(part.axes, along, strict=True)
    )
    return box, Part(0, part.target, tuple(inside))


def runs(part: Part) -> tuple[int, np.ndarray]:
    """How many of its entries follow each other in the source, and the number of the first of each such run."""
    length, outer = _run(part)
    starts = np.array([part.source], np.int64)
    for axis in part.axes[:outer]:
        starts = np.add.outer(starts, np.arange(axis.length) * axis.source).ravel()
    return length, starts


def run_length(part: Part) -> int:
    """How many of its entries follow each other in the source."""
    return _run(part)[0]


def _run(part: Part) -> tuple[int, int]:
    """The length of a run, and how many axes are outside of it."""
    length, outer = 1, len(part.axes)
    while outer and part.axes[outer - 1].source == length:
        length *= part.axes[outer - 1].length
        outer -= 1
    return length, outer


def alone(part: Part) -> Part:
    """A part whose `target` is counted within an array of the shape of its axes."""
    steps = strides([axis.length for axis in part.axes])
    return Part(part.source, 0, tuple(axis._replace(target=step) for axis, step in zip(part.axes, steps, strict=True)))


def viewed(array: np.ndarray, part: Part) -> np.ndarray:
    """A part of a contiguous array, as a view of it."""
    flat = array.reshape(-1)[part.source :]
    shape = [axis.length for axis in part.axes]
    steps = [axis.source * array.itemsize for axis in part.axes]
    return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)


def placed(out: np.ndarray, part: Part) -> np.ndarray:
    """Where a part's entries go in the box, as a view of that."""
    shape = [axis.length for axis in part.axes]
    steps = [axis.target * out.itemsize for axis in part.axes]
    return np.lib.stride_tricks.as_strided(out.reshape(-1)[part.target :], shape, steps)
