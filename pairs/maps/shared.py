"""Copies: one tensor of one side that the other side keeps several times, as a port does that lost a tie."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ...common.errors import UsageError, nearest
from .correspondence import Correspondence
from .pieces import Piece
from .rows import MapRow


def copies(made: Correspondence) -> list[tuple[MapRow, ...]]:
    """The rows of copies that the reference keeps of one of the port's tensors, those of one tensor together."""
    groups: dict[tuple[str, Piece], list[MapRow]] = {}
    for row in made.rows:
        if row.copied:
            groups.setdefault((row.port, row.port_piece), []).append(row)
    return [tuple(rows) for rows in groups.values() if len(rows) > 1]


def check_kept(made: Correspondence, keep: Collection[str]) -> None:
    """Raises UsageError for a path to keep that is none of a tie or of a copy."""
    if not keep:
        return
    known = [path for rows in copies(made) for row in rows for path in (row.reference, *row.reference_aliases)]
    known += [path for owner, rows in made.by_reference.items() for path in _tied(owner, rows[0])]
    for path in keep:
        if path not in known:
            raise UsageError(path, "a path of a tie to keep", "none of that name", nearest(path, known))


def _tied(owner: str, row: MapRow) -> tuple[str, ...]:
    return (owner, *row.reference_aliases) if row.reference_aliases else ()


def siblings(made: Correspondence, row: MapRow) -> tuple[Sequence[MapRow], Sequence[MapRow]]:
    """The rows that share the row's piece of the reference, and those that share the port's, itself among both."""
    if not row.copied:
        return (row,), (row,)
    ours = [each for each in made.by_reference[row.reference] if each.reference_piece == row.reference_piece]
    theirs = [each for each in made.by_port[row.port] if each.port_piece == row.port_piece]
    return ours, theirs


def without_copies(rows: Iterable[MapRow], keep: Collection[str] = ()) -> list[MapRow]:
    """The rows of one of the port's tensors, of those that are copies of one piece only one.

    keep: paths of the reference whose values are taken; without one the first copy's are.
    """
    chosen: dict[object, MapRow] = {}
    for number, row in enumerate(rows):
        key = row.port_piece if row.copied else number
        if key not in chosen or (not is_kept(chosen[key], keep) and is_kept(row, keep)):
            chosen[key] = row
    return [*chosen.values()]


def is_kept(row: MapRow, keep: Collection[str]) -> bool:
    """Whether it is about a path to keep."""
    return any(path in keep for path in (row.reference, *row.reference_aliases))
