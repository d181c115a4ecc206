"""Kept rows: what one side trains and the other keeps as it is, in a table that is trained alike otherwise.

PyTorch's `padding_idx` keeps a row of an embedding from its gradient, and changes no output. A port in JAX stops the
gradient, or trains the row. Where the table is tied, only the lookup keeps the row, and its gradient is not zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..common.errors import NotExpressibleError
from ..common.wing import PairError
from .closeness import RowsApart, relative_error, rows_apart
from .comparison import Comparison, Point, fine
from .maps import MapRow

# The cause of such a difference.
PADDING = "padding row"
# How exactly the share of a site must be what is between two gradients: a small difference of large numbers.
_TOLD = 1e-3
_ROLES = (("port", "reference"), ("reference", "port"))


class KeptRows(NamedTuple):
    """Rows of a table that one side trains and the other keeps.

    trains, keeps: `reference` and `port`, or the other way round.
    operation: of the site at which it does, where others train the rows on both sides.
    """

    places: RowsApart
    trains: str
    keeps: str
    operation: str = ""

    def __str__(self) -> str:
        what = ("row", "column")[self.places.axis] if self.places.axis < 2 else f"axis {self.places.axis} at"
        several = "s" if len(self.places.rows) > 1 and self.places.axis < 2 else ""
        site = f" by its {self.operation}" if self.operation else ""
        rows = ", ".join(map(str, self.places.rows))
        return f"{what}{several} {rows}, which the {self.trains} trains{site} and the {self.keeps} keeps"


def words_of(kept: tuple[KeptRows, ...]) -> str:
    """All the rows in which two gradients differ, as a clause."""
    return f"in {' and '.join(map(str, kept))}, as padding_idx does, and nowhere else"


def zero_rows(places: RowsApart, ours: np.ndarray, theirs: np.ndarray) -> tuple[KeptRows, ...]:
    """The rows that are apart by which side keeps them: its gradient is zero there. None if one is zero on neither."""
    moved = [
        [row for row in places.rows if not RowsApart(places.axis, (row,)).of(each).any()] for each in (ours, theirs)
    ]
    if len(moved[0]) + len(moved[1]) < len(places.rows):
        return ()
    return tuple(
        KeptRows(RowsApart(places.axis, tuple(rows)), *roles) for rows, roles in zip(moved, _ROLES, strict=True) if rows
    )


def kept_rows(
    comparison: Comparison, row: MapRow, point: Point, ours: np.ndarray, theirs: np.ndarray, limit: float
) -> tuple[KeptRows, ...]:
    """The rows that one side keeps, where two gradients differ in these alone; none where it is not so.

    ours, theirs: the gradients of the map's row at the point, in the port's axes.
    """
    places = rows_apart(theirs, ours, limit)
    if places is None:
        return ()
    kept = zero_rows(places, ours, theirs)
    if kept:
        return kept
    between = places.of(fine(theirs) - ours)
    for roles, sign in zip(_ROLES, (1.0, -1.0), strict=True):
        for operation, share in _shares(comparison, row, point, roles[0]):
            if relative_error(places.of(share) * sign, between) <= _TOLD:
                return (KeptRows(places, *roles, operation),)
    return ()


def _shares(comparison: Comparison, row: MapRow, point: Point, role: str) -> Iterator[tuple[str, np.ndarray]]:
    """The shares of a side's sites in the port's axes, by their operations; none where they cannot be told apart."""
    is_port = role == "port"
    side, weights = (comparison.port, point.theirs) if is_port else (comparison.reference, point.ours)
    path = row.port if is_port else row.reference
    try:
        sites = side.sites(weights, comparison.setting, [path])[path]
    except (PairError, NotExpressibleError):
        return
    for site in sites:
        share = row.port_piece.of(site.gradient) * row.slope if is_port else row.laid_out(site.gradient)
        yield site.operation, share
