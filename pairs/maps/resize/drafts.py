"""Drafts of rows for another size: what each of their two pieces is along each axis, before all lengths are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from math import prod

from ....common.layouts import Names, Side
from ..correspondence import SideName
from ..pieces import Piece, Span
from ..rows import MapRow

Shape = tuple[int, ...]
# An axis along which spans lie side by side: the tensor's side and path, and the number of the axis as pieces see it.
AxisKey = tuple[str, str, int]


@dataclass
class AxisSpans:
    """The spans along an axis, by their order.

    lengths: of those that are known. orders: of all. equal: how many there were in the first model, if all had one
    length. taken: the lengths' sum, kept since an axis can have very many spans.
    """

    lengths: dict[int, int] = field(default_factory=dict)
    orders: set[int] = field(default_factory=set)
    equal: int = 0
    taken: int = 0

    @property
    def is_open(self) -> bool:
        return len(self.lengths) < len(self.orders)

    @property
    def total(self) -> int | None:
        return None if self.is_open else self.taken

    def give(self, order: int, length: int) -> None:
        self.lengths[order] = length
        self.taken += length

    @cached_property
    def bounds(self) -> dict[int, tuple[int, int]]:
        """Where each begins and ends, all lengths known."""
        ordered = sorted(self.orders)
        ends = accumulate(self.lengths[order] for order in ordered)
        return {order: (end - self.lengths[order], end) for order, end in zip(ordered, ends, strict=True)}


@dataclass
class PieceDraft:
    """One of the two pieces of a new row.

    path: of the tensor; `shape` has None where a length is not known.
    old_shape, piece: the first model's; `indices` are the new piece's along the axes that it drops.
    orders: of the piece's spans among those of their axes.
    pattern: its side of the row's pattern.
    """

    side: SideName
    path: str
    shape: list[int | None]
    old_shape: Shape
    piece: Piece
    indices: tuple[int, ...]
    orders: tuple[int, ...]
    pattern: Side

    def __post_init__(self) -> None:
        view = self.piece.view or self.old_shape
        rest = [(None, None, None)] * (len(view) - len(self.piece.index))
        names, indices, orders = iter(self.pattern), iter(self.indices), iter(self.orders)
        self.axes: list[ViewAxis] = []
        for old, index in zip(view, (*self.piece.index, *rest), strict=True):
            if isinstance(index, int):
                # A view's axis stays as long as it was; of the tensor itself its shape tells.
                stays = old if self.piece.view else None
                self.axes.append(ViewAxis((), stays, index=index if self.piece.view else next(indices)))
            elif index[:2] == (None, None) and index[2] in (None, -1):
                self.axes.append(ViewAxis(next(names), None, is_backwards=index[2] == -1))
            elif index[2] is None:
                self.axes.append(ViewAxis(next(names), None, order=next(orders)))
            else:
                self.axes.append(ViewAxis(next(names), None, start=index[0] or 0, step=index[2] or 1))
        self.groups = grouped(view, self.old_shape)


@dataclass
class ViewAxis:
    """An axis as the piece sees it: all of it (also backwards), one index, a span of some order, or every nth entry."""

    names: Names
    length: int | None
    index: int | None = None
    order: int | None = None
    start: int = 0
    step: int = 1
    is_backwards: bool = False


def grouped(view: Sequence[int], shape: Sequence[int]) -> list[range] | None:
    """Which axes of the view each axis of the shape becomes; None if one lies across two."""
    if len(view) == len(shape):
        return [range(axis, axis + 1) for axis in range(len(shape))] if tuple(view) == tuple(shape) else None
    found, stop = [], 0
    for number, length in enumerate(shape):
        start = stop
        last = number == len(shape) - 1
        while stop < len(view) and (last or stop == start or prod(view[start:stop]) < length):
            stop += 1
        if prod(view[start:stop]) != length:
            return None
        found.append(range(start, stop))
    return found


def spans_of(piece: Piece) -> Iterator[tuple[int, tuple[int, int]]]:
    """The axis and the bounds of each contiguous span of a piece."""
    for axis, index in enumerate(piece.index):
        if not isinstance(index, int) and index[2] is None and index[1] is not None:
            yield axis, (index[0] or 0, index[1])


def old_spans(rows: Iterable[MapRow]) -> dict[AxisKey, list[tuple[int, int]]]:
    """The bounds of all spans along each axis, in their order."""
    found: dict[AxisKey, set[tuple[int, int]]] = {}
    for row in rows:
        for side, path, piece in (
            ("reference", row.reference, row.reference_piece),
            ("port", row.port, row.port_piece),
        ):
            for axis, bounds in spans_of(piece):
                found.setdefault((side, path, axis), set()).add(bounds)
    return {key: sorted(bounds) for key, bounds in found.items()}


@dataclass
class RowDraft:
    """A row to be: both pieces, and the lengths of the pattern's names as far as they are known.

    old: the first model's row that it is made after.
    names: the reference's aliases and the port's, and the factors of either.
    """

    old: MapRow
    reference: PieceDraft
    port: PieceDraft
    names: tuple[tuple[str, ...], ...]
    lengths: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"{self.reference.path} -> {self.port.path}"

    @property
    def open_lengths(self) -> list[str]:
        """What is not known yet, in words."""
        sides = self.reference, self.port
        names = {name for each in sides for axis in each.pattern for name in axis}
        missing = [f"the length of {name!r}" for name in sorted(names) if name not in self.lengths]
        return missing + [f"the shape of the {each.side}" for each in sides if None in each.shape]


def piece_of(draft: PieceDraft, spans: Mapping[AxisKey, AxisSpans]) -> Piece:
    """The piece of the new tensor, all lengths known."""
    index: list[int | Span] = []
    for number, axis in enumerate(draft.axes):
        if axis.index is not None:
            index.append(axis.index)
        elif axis.order is not None:
            index.append((*spans[draft.side, draft.path, number].bounds[axis.order], None))
        elif axis.step > 1:
            index.append((axis.start or None, None, axis.step))
        else:
            index.append((None, None, -1 if axis.is_backwards else None))
    while index and index[-1] == (None, None, None):
        index.pop()
    view = tuple(axis.length or 0 for axis in draft.axes) if draft.piece.view else ()
    return Piece(view, tuple(index))
