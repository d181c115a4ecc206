"""Pieces: the part of an array that corresponds to something of its own on the other side of a map.

A fused projection holds three kernels, a scanned block all layers, an LSTM's weight four gates. A piece is written as
NumPy would index it, `[8:16]`, `[3]`, `[:, 1]`, `[::2]`, `[::-1]`; where parts lie interleaved along one axis the array
is first seen in another shape, `(2 3 4 8)[:, 1]`: two heads, three projections, four features, of which the second
projection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod
from typing import Any

import numpy as np

from ...common.errors import ShapeError, shown

# Start, stop and step, each as NumPy has it; a `slice` has no hash before Python 3.12.
Span = tuple[int | None, int | None, int | None]
Index = tuple[int | Span, ...]


@dataclass(frozen=True)
class Piece:
    """A part of an array, as a view of it.

    view: the shape in which the array is seen first; empty for its own.
    index: for each leading axis a position, which drops the axis, or a span; empty for the whole array.
    """

    view: tuple[int, ...] = ()
    index: Index = ()

    @property
    def is_whole(self) -> bool:
        return not self.index and not self.view

    def of(self, array: Any) -> Any:
        """The piece of a NumPy, torch or jax array. A view, where the framework has any and the array is contiguous.

        Raises:
            ShapeError: the array has another shape than the piece is of.
        """
        self.shape(tuple(array.shape))
        index = tuple(axis if isinstance(axis, int) else slice(*axis) for axis in self.index)
        # With the ellipsis NumPy gives an array where no axis is left, too.
        return (array.reshape(self.view) if self.view else array)[(*index, ...)]

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The piece's shape in an array of that shape.

        Raises:
            ShapeError: such an array has no such piece.
        """
        found = _shape(self, tuple(shape))
        if found is None:
            raise ShapeError(
                "", f"an array that has a piece {self}", f"one of shape {tuple(shape)}", "Compare the two models."
            )
        return found

    def normal(self, shape: tuple[int, ...]) -> Piece:
        """The same piece of an array of that shape in the one way in which its view can say it.

        Raises:
            ShapeError: such an array has no such piece.
        """
        if self.is_whole:
            return self
        self.shape(shape)
        return _normal(self, tuple(shape))

    def __str__(self) -> str:
        """What `parsed` reads; empty for a whole array."""
        view = f"({' '.join(map(str, self.view))})" if self.view else ""
        return view + (f"[{', '.join(_text(each) for each in self.index)}]" if self.index else "")


WHOLE = Piece()
# No axis is as long as a number of twenty digits, and no piece takes every entry that lies no step further.
_LENGTH = r"\d{1,19}"
_AXIS = rf"(?:{_LENGTH}|(?:{_LENGTH})?:(?:{_LENGTH})?(?::(?!0+\b){_LENGTH})?|::-1)"
_PIECE = re.compile(rf"(?:\(({_LENGTH}(?: {_LENGTH})*)\))?(?:\[({_AXIS}(?:, {_AXIS})*)\])?", re.ASCII)
# A person's pieces of a tensor have hundreds of bounds; a grid of more boxes would only fill the memory.
_MOST_BOXES = 1 << 26


def parsed(text: str) -> Piece:
    """The piece that `str` wrote, or a person.

    Raises:
        ShapeError: a text that is none.
    """
    found = _PIECE.fullmatch(text.strip())
    if found is None:
        raise ShapeError("", "a piece such as '[8:16]', '[:, 1]' or '(2 3 8)[:, 1]'", shown(text))
    view, index = found.groups()
    axes = index.split(", ") if index else []
    return Piece(tuple(map(int, view.split())) if view else (), tuple(_axis(each) for each in axes))


def _axis(text: str) -> int | Span:
    if ":" not in text:
        return int(text)
    start, stop, step = (int(bound) if bound else None for bound in (*text.split(":"), "")[:3])
    return start, stop, step


def _text(axis: int | Span) -> str:
    if isinstance(axis, int):
        return str(axis)
    start, stop, step = ("" if bound is None else str(bound) for bound in axis)
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


@lru_cache(maxsize=65536)
def _shape(piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    seen = piece.view or shape
    if prod(seen) != prod(shape) or len(piece.index) > len(seen):
        return None
    found = []
    for length, axis in zip(seen, piece.index, strict=False):
        if isinstance(axis, int):
            if axis >= length:
                return None
            continue
        if max(axis[0] or 0, axis[1] or 0) > length:
            return None
        found.append(len(range(*slice(*axis).indices(length))))
    return (*found, *seen[len(piece.index) :])


@lru_cache(maxsize=65536)
def _normal(piece: Piece, shape: tuple[int, ...]) -> Piece:
    view = piece.view if piece.view != shape else ()
    index: list[int | Span] = []
    for axis, length in zip(piece.index, view or shape, strict=False):
        if isinstance(axis, int):
            index.append(axis)
            continue
        start, stop, step = slice(*axis).indices(length)
        if step < 0:
            index.append((None, None, -1) if length > 1 else (None, None, None))
        elif step == 1:
            index.append((None, None, None) if (start, stop) == (0, length) else (start, stop, None))
        else:
            to_the_end = range(start, stop, step) == range(start, length, step)
            index.append((start or None, None if to_the_end else stop, step))
    while index and index[-1] == (None, None, None):
        index.pop()
    return Piece(view if index else (), tuple(index))


def coverage(pieces: Sequence[Piece], shape: tuple[int, ...]) -> tuple[int, int]:
    """In how many of the pieces an entry of an array of that shape is, at least and at most.

    Counted are not the entries but the boxes between the pieces' bounds; where pieces are of several views, the
    longest blocks of entries that no piece divides. An array without entries is covered by anything.

    Raises:
        ShapeError: such an array has no such piece.
    """
    pieces = [piece for piece in pieces if prod(piece.shape(shape))]
    if not prod(shape):
        return 1, 1
    views = {piece.view or shape for piece in pieces if piece.index}
    if len(views) > 1:
        blocks = gcd(prod(shape), *(_free(piece, shape) for piece in pieces))
        counts = _counts((prod(shape) // blocks,), shape)
        for piece in pieces:
            _in_blocks(piece, shape, blocks).of(counts)[...] += 1
    else:
        seen = views.pop() if views else shape
        counts = _box_counts([piece.index for piece in pieces], seen)
    return int(counts.min()), int(counts.max())


def _counts(boxes: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    if prod(boxes) > _MOST_BOXES:
        expected = f"pieces that part an array into {_MOST_BOXES:,} boxes at most"
        found = f"{prod(boxes):,} in an array of shape {shape}"
        raise ShapeError("", expected, found, "Take larger pieces.")
    return np.zeros(boxes, np.int32)


def _free(piece: Piece, shape: tuple[int, ...]) -> int:
    """The number of entries in a row that the piece's index does not tell apart."""
    return prod((piece.view or shape)[len(piece.index) :])


def _in_blocks(piece: Piece, shape: tuple[int, ...], blocks: int) -> Piece:
    seen = (piece.view or shape)[: len(piece.index)]
    return Piece((*seen, _free(piece, shape) // blocks), piece.index)


def _box_counts(indices: Sequence[Index], shape: tuple[int, ...]) -> np.ndarray:
    """How many indices take each box of the coarsest grid in which every index is of whole boxes."""
    rank = max((len(index) for index in indices), default=0)
    bounds = [_bounds([index[axis] for index in indices if axis < len(index)], shape[axis]) for axis in range(rank)]
    counts = _counts([len(each) - 1 for each in bounds], shape)
    boxes = [{bound: number for number, bound in enumerate(each)} for each in bounds]
    for index in indices:
        spans = [_bound(axis, length) for axis, length in zip(index, shape, strict=False)]
        counts[
            tuple(
                slice(box[start], box[stop], step if step > 1 else None) if start < stop else slice(0, 0)
                for (start, stop, step), box in zip(spans, boxes, strict=False)
            )
        ] += 1
    return counts


def _bounds(axes: Sequence[int | Span], length: int) -> Sequence[int]:
    """Where boxes begin and end along an axis; all of them have length 1 where an index leaves gaps."""
    found = {0, length}
    for start, stop, step in {_bound(axis, length) for axis in axes}:
        if step > 1:
            return range(length + 1)
        found |= {start, stop}
    return sorted(found)


def _bound(axis: int | Span, length: int) -> tuple[int, int, int]:
    if isinstance(axis, int):
        return axis, axis + 1, 1
    # Backwards or not, it is all of the axis.
    return (0, length, 1) if axis[2] == -1 else slice(*axis).indices(length)
