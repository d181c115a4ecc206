"""Correspondences: a map's rows with what has none, held together, seen from either side, and checked.

Rows make a map if every entry of every tensor is in them once, and if the rows of a tensor agree on what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...common.errors import MapError, listed
from ...common.tables import counted, shape_text
from .pieces import Piece, coverage
from .rows import MapRow, giving_zeros

SideName = Literal["reference", "port"]


@dataclass(frozen=True)
class Correspondence:
    """What a `Map` holds; see there.

    by_reference, by_port: the rows by owner, in their order.

    Raises:
        MapError: see `Map`.
    """

    rows: tuple[MapRow, ...]
    direction: tuple[str, str]
    unmatched_reference: tuple[str, ...] = ()
    unmatched_port: tuple[str, ...] = ()
    aside_reference: tuple[str, ...] = ()
    aside_port: tuple[str, ...] = ()
    verified: bool = False
    notes: tuple[str, ...] = field(default=(), compare=False)
    by_reference: Mapping[str, tuple[MapRow, ...]] = field(init=False, repr=False, compare=False, hash=False)
    by_port: Mapping[str, tuple[MapRow, ...]] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", _with_zeros(self.rows))
        _check_shared(self.rows, "summed")
        _check_shared(self.rows, "copied")
        object.__setattr__(self, "by_reference", _grouped(self.rows, "reference"))
        object.__setattr__(self, "by_port", _grouped(self.rows, "port"))
        _check_rows("reference", self.by_reference, (*self.unmatched_reference, *self.aside_reference))
        _check_rows("port", self.by_port, (*self.unmatched_port, *self.aside_port))

    @property
    def coverage(self) -> float:
        """The share of both sides' owners that have rows; 1.0 where there are none."""
        matched = len(self.by_reference) + len(self.by_port)
        total = matched + len(self.unmatched_reference) + len(self.unmatched_port)
        return matched / total if total else 1.0


def _with_zeros(rows: Iterable[MapRow]) -> tuple[MapRow, ...]:
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


def _grouped(rows: tuple[MapRow, ...], side: SideName) -> dict[str, tuple[MapRow, ...]]:
    found: dict[str, list[MapRow]] = {}
    for row in rows:
        found.setdefault(_path(row, side), []).append(row)
    return {path: tuple(each) for path, each in found.items()}


def _check_shared(rows: Iterable[MapRow], how: Literal["summed", "copied"]) -> None:
    """Refuse a summed or copied row that shares its piece with no other one, on neither side."""
    sides: tuple[SideName, SideName] = "reference", "port"
    shared = [row for row in rows if getattr(row, how)]
    ends = [[(side, _path(row, side), _piece(row, side)) for side in sides] for row in shared]
    count = Counter(end for found in ends for end in found)
    for found, row in zip(ends, shared, strict=True):
        if all(count[end] < 2 for end in found):
            raise MapError(
                f"{row.reference} -> {row.port}",
                f"another {how} row with the same piece of the reference or of the port",
                "none",
                f"Add the rows that it is {how} with, or make it a row that is not {how}.",
            )


def _check_rows(side: SideName, tensors: Mapping[str, Sequence[MapRow]], others: Sequence[str]) -> None:
    """Check the rows of each tensor of one side, and the paths that have none."""
    seen = set(tensors)
    for path in others:
        if path in seen:
            raise _twice(path, side)
        seen.add(path)
    for path, rows in tensors.items():
        for factor in _factors(rows[0], side):
            # A framework may keep the direction under the tensor's own name.
            if factor in seen and factor != path:
                raise _twice(factor, side)
            seen.add(factor)
        if len(rows) > 1 or not _piece(rows[0], side).is_whole:
            _check_tensor(path, side, rows)


def _check_tensor(path: str, side: SideName, rows: Sequence[MapRow]) -> None:
    _check_alike(path, side, rows)
    whole = [row for row in rows if _piece(row, side).is_whole]
    if len(whole) > 1 and not all(row.summed or row.copied for row in rows):
        raise _twice(path, side)
    shape = _shape(rows[0], side)
    pieces = [_piece(row, side) for row in rows if not (row.summed or row.copied)]
    pieces += dict.fromkeys(_piece(row, side) for row in rows if row.summed or row.copied)
    fewest, most = coverage(pieces, shape)
    if (fewest, most) != (1, 1):
        faults = ["entries in no row"] * (fewest < 1) + ["entries in several rows"] * (most > 1)
        told = listed([str(each) or "whole" for each in pieces], separator=", ")
        raise MapError(
            path,
            f"every entry of the {side}'s tensor of shape {shape_text(shape)} in one row",
            f"{' and '.join(faults)}, of {counted(len(rows), 'row')}: {told}",
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
    factors = dict.fromkeys(_factors(row, side) for row in rows)
    if len(factors) > 1:
        found = " and ".join(str(list(each)) for each in factors)
        raise MapError(path, f"the same factors of the {side}'s tensor in all of its rows", found)


def _twice(path: str, side: SideName) -> MapError:
    return MapError(path, f"every path of the {side} once", "it twice", "Drop one of the two rows.")


def _path(row: MapRow, side: SideName) -> str:
    return row.reference if side == "reference" else row.port


def _factors(row: MapRow, side: SideName) -> tuple[str, ...]:
    return row.reference_factors if side == "reference" else row.port_factors


def _shape(row: MapRow, side: SideName) -> tuple[int, ...]:
    return row.shape if side == "reference" else row.port_shape


def _piece(row: MapRow, side: SideName) -> Piece:
    return row.reference_piece if side == "reference" else row.port_piece
