"""What makes rows a map: every tensor's entries are in its rows once, and its rows agree on what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ...common.errors import MapError
from ...common.tables import counted, shape_text
from .pieces import Piece, coverage
from .rows import MapRow, giving_zeros

SideName = Literal["reference", "port"]


def with_zeros(rows: Iterable[MapRow]) -> tuple[MapRow, ...]:
    """The rows, of which those summed ones give zeros whose piece of the reference an earlier one carries."""
    seen: set[tuple[str, Piece]] = set()
    found = []
    for row in rows:
        if row.summed:
            source = row.reference, row.reference_piece
            row = giving_zeros(row, source in seen)
            seen.add(source)
        found.append(row)
    return tuple(found)


def check_rows(side: SideName, tensors: Mapping[str, Sequence[MapRow]], others: Sequence[str]) -> None:
    """Check the rows of each tensor of one side, and the paths that have none.

    Raises:
        MapError: see `Map`.
    """
    seen = set(tensors)
    for path in others:
        if path in seen:
            raise _twice(path, side)
        seen.add(path)
    for path, rows in tensors.items():
        if len(rows) > 1 or not _piece(rows[0], side).is_whole:
            _check_tensor(path, side, rows)


def check_sums(rows: Iterable[MapRow]) -> None:
    """Raise MapError for a summed row that shares its piece with no other one, on neither side."""
    summed = [row for row in rows if row.summed]
    places = [[(side, _path(row, side), _piece(row, side)) for side in ("reference", "port")] for row in summed]
    rows_at = Counter(place for found in places for place in found)
    for found, row in zip(places, summed, strict=True):
        if all(rows_at[place] < 2 for place in found):
            raise MapError(
                f"{row.reference} -> {row.port}",
                "another summed row with the same piece of the reference or of the port",
                "none",
                "Add the rows that it is summed with, or make it a row that is not summed.",
            )


def _check_tensor(path: str, side: SideName, rows: Sequence[MapRow]) -> None:
    _check_alike(path, side, rows)
    whole = [row for row in rows if _piece(row, side).is_whole]
    if len(whole) > 1 and not all(row.summed for row in rows):
        raise _twice(path, side)
    shape = _shape(rows[0], side)
    pieces = [_piece(row, side) for row in rows if not row.summed]
    pieces += dict.fromkeys(_piece(row, side) for row in rows if row.summed)
    fewest, most = coverage(pieces, shape)
    if (fewest, most) != (1, 1):
        faults = ["entries in no row"] * (fewest < 1) + ["entries in several rows"] * (most > 1)
        raise MapError(
            path,
            f"every entry of the {side}'s tensor of shape {shape_text(shape)} in one row",
            f"{' and '.join(faults)}, of {counted(len(rows), 'row')}: {_listed(str(each) for each in pieces)}",
            "Correct the pieces.",
        )


def _check_alike(path: str, side: SideName, rows: Sequence[MapRow]) -> None:
    shapes = dict.fromkeys(_shape(row, side) for row in rows)
    if len(shapes) > 1:
        found = " and ".join(map(shape_text, shapes))
        raise MapError(path, f"one shape of the {side}'s tensor in all of its rows", found)
    aliases = dict.fromkeys(row.reference_aliases if side == "reference" else row.port_aliases for row in rows)
    if len(aliases) > 1:
        found = " and ".join(str(list(each)) for each in aliases)
        raise MapError(path, f"the same aliases of the {side}'s tensor in all of its rows", found)


def _listed(texts: Iterable[str]) -> str:
    shown = [text or "whole" for text in texts]
    return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "")


def _twice(path: str, side: SideName) -> MapError:
    return MapError(path, f"every path of the {side} once", "it twice", "Drop one of the two rows.")


def _path(row: MapRow, side: str) -> str:
    return row.reference if side == "reference" else row.port


def _shape(row: MapRow, side: str) -> tuple[int, ...]:
    return row.shape if side == "reference" else row.port_shape


def _piece(row: MapRow, side: str) -> Piece:
    return row.reference_piece if side == "reference" else row.port_piece
