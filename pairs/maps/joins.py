"""Maps one after the other: torch to Linen followed by Linen to NNX is torch to NNX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ...common.errors import MapError
from ...common.tables import counted, shape_text
from .axes import Axis, Joining, NotJoinable, elementary, fused, piece_and_side
from .patterns import Sizes, laid_out, sides, written
from .pieces import WHOLE, Piece
from .rows import EVIDENCE, MapRow
from .transforms import transform_of

if TYPE_CHECKING:
    from .map import Map


def joined_rows(first: Map, second: Map) -> tuple[MapRow, ...]:
    """The rows of both in turn. A tensor has none if one of its rows goes on to nothing.

    Raises:
        MapError: maps that do not meet, or rows that do not make one.
    """
    _check_meets(first, second)
    rows = []
    by_piece = {path: _by_piece(each) for path, each in second.by_reference.items() if len(each) > 1}
    for row in first.rows:
        onward = second.by_reference.get(row.port, ())
        if len(onward) > 1:
            # Pieces do not overlap: where one is the same, no other one has a part of it.
            onward = by_piece[row.port].get(row.port_piece, onward)
        rows += [made for other in onward if (made := join(row, other)) is not None]
    return _closed(rows, first, second)


def _by_piece(rows: Sequence[MapRow]) -> dict[Piece, list[MapRow]]:
    found: dict[Piece, list[MapRow]] = {}
    for row in rows:
        found.setdefault(row.reference_piece, []).append(row)
    return found


def join(first: MapRow, second: MapRow) -> MapRow | None:
    """Two rows that meet in one tensor as one; None where they have no entry in common.

    The evidence is the weaker of the two.

    Raises:
        MapError: pieces that are no pieces of each other, or a sum followed or preceded by a shift.
    """
    try:
        found = _met(first, second)
    except NotJoinable:
        pieces = f"the pieces {str(first.port_piece) or 'whole'} and {str(second.reference_piece) or 'whole'}"
        raise _refused(first, second, pieces) from None
    if found is None:
        return None
    transform = transform_of(first.transform).then(transform_of(second.transform))
    summed = first.summed or second.summed
    if summed and (transform_of(first.transform).shifts or transform_of(second.transform).shifts):
        raise _refused(first, second, "a sum and a transform that moves zero")
    return MapRow(
        first.reference,
        second.port,
        first.shape,
        second.port_shape,
        found.layout,
        max((first.evidence, second.evidence), key=EVIDENCE.index),
        found.sizes,
        found.reference_piece,
        found.port_piece,
        str(transform),
        summed,
        first.reference_aliases,
        second.port_aliases,
    )


def _refused(first: MapRow, second: MapRow, what: str) -> MapError:
    return MapError(
        first.port,
        f"rows that make one from {first.reference} to {second.port}",
        what,
        "Align the two outer models directly.",
    )


class _Half(NamedTuple):
    """What of a row decides how it joins."""

    shape: tuple[int, ...]
    port_shape: tuple[int, ...]
    layout: str
    sizes: Sizes
    reference_piece: Piece
    port_piece: Piece


class _Joined(NamedTuple):
    layout: str
    sizes: Sizes
    reference_piece: Piece
    port_piece: Piece


def _met(first: MapRow, second: MapRow) -> _Joined | None:
    if first.port_piece != second.reference_piece:
        return _joined(*(_half(row, row.reference_piece, row.port_piece) for row in (first, second)))
    # What meets is all of both: their pieces stay what they are, and only the layouts become one.
    made = _joined(*(_half(row) for row in (first, second)))
    return made and made._replace(reference_piece=first.reference_piece, port_piece=second.port_piece)


def _half(row: MapRow, reference_piece: Piece | None = None, port_piece: Piece | None = None) -> _Half:
    """A row with those pieces; without them, one that is about its pieces' values as whole tensors."""
    shape = row.shape if reference_piece else row.reference_piece.shape(row.shape)
    port_shape = row.port_shape if port_piece else row.port_piece.shape(row.port_shape)
    return _Half(shape, port_shape, row.layout, row.sizes, reference_piece or WHOLE, port_piece or WHOLE)


@lru_cache(maxsize=4096)
def _joined(first: _Half, second: _Half) -> _Joined | None:
    sizes: dict[str, int] = {}
    before, after = _axes(first, "a", sizes), _axes(second, "b", sizes)
    found = Joining(before, after[::-1], sizes).joined()
    if found is None:
        return None
    fused(found, (first.shape, second.port_shape), sizes)
    named = _renamed(found)
    lengths = {new: sizes[old] for old, new in named.items()}
    reference, port = (
        piece_and_side(
            [Axis(each.length, each.start, each.step, named.get(each.name, "")) for each in axes], shape, lengths
        )
        for axes, shape in zip(found, (first.shape, second.port_shape), strict=True)
    )
    layout = written(reference[1], port[1])
    bracketed = {name for _, side in (reference, port) for axis in side if len(axis) > 1 for name in axis}
    return _Joined(layout, tuple((name, lengths[name]) for name in sorted(bracketed)), reference[0], port[0])


def _axes(row: _Half, mark: str, sizes: dict[str, int]) -> list[list[Axis]]:
    """The axes of both tensors of a row, its names marked so that they are no other row's."""
    piece_shape = row.reference_piece.shape(row.shape)
    left, right = sides(row.layout, len(piece_shape))
    lengths = dict(laid_out(row.layout, piece_shape, row.sizes)[1])
    lengths |= {axis[0]: length for axis, length in zip(left, piece_shape, strict=True) if len(axis) == 1}
    marked = [tuple(tuple(f"{mark}_{name}_" for name in axis) for axis in side) for side in (left, right)]
    sizes |= {f"{mark}_{name}_": length for name, length in lengths.items()}
    return [
        elementary(row.shape, row.reference_piece, marked[0], sizes),
        elementary(row.port_shape, row.port_piece, marked[1], sizes),
    ]


def _renamed(found: tuple[list[Axis], list[Axis]]) -> dict[str, str]:
    """Each name without its mark and its part's number, where that is not another one's."""
    names = [axis.name for axis in found[0] if axis.name]
    short: dict[str, str] = {}
    for name in names:
        base, _, part = name[2:].rpartition("_")
        alone = sum(other[2:].rpartition("_")[0] == base for other in names) == 1
        short[name] = base if alone else f"{base}{part}"
    return short if len({*short.values()}) == len(short) else {name: f"a{n}" for n, name in enumerate(names)}


def _closed(rows: list[MapRow], first: Map, second: Map) -> tuple[MapRow, ...]:
    """The rows without those of tensors that others of their rows went on to nothing from."""
    references = {row.reference for row in first.rows if row.port not in second.by_reference}
    ports = {row.port for row in second.rows if row.reference not in first.by_port}
    while True:
        kept = [row for row in rows if row.reference not in references and row.port not in ports]
        if len(kept) == len(rows):
            return tuple(kept)
        references |= {row.reference for row in rows if row.port in ports}
        ports |= {row.port for row in rows if row.reference in references}
        rows = kept


def _check_meets(first: Map, second: Map) -> None:
    ends = {path: rows[0].port_shape for path, rows in first.by_port.items()}
    starts = {path: rows[0].shape for path, rows in second.by_reference.items()}
    known_ends = {*ends, *first.unmatched_port, *first.aside_port}
    known_starts = {*starts, *second.unmatched_reference, *second.aside_reference}
    faults = [f"{path} is only where the first ends" for path in ends if path not in known_starts]
    faults += [f"{path} is only where the second starts" for path in starts if path not in known_ends]
    faults += [
        f"{path} has shape {shape_text(ends[path])} and then {shape_text(starts[path])}"
        for path in ends
        if path in starts and ends[path] != starts[path]
    ]
    if faults:
        raise MapError(
            "",
            "a map that starts where this one ends",
            f"{counted(len(faults), 'difference')}: " + "; ".join(faults),
            "Compose maps whose middle is one model.",
        )


def without_rows(before: Iterable[str], unmatched: Iterable[str], now: Iterable[str]) -> tuple[str, ...]:
    """The paths that had rows or were unmatched and have none now."""
    matched = set(now)
    return tuple(path for path in (*before, *unmatched) if path not in matched)
