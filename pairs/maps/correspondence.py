"""Correspondences: the rows of a map with what has none, held together and seen from either side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .coverage import check_rows, check_sums, with_zeros
from .rows import MapRow


@dataclass(frozen=True)
class Correspondence:
    """What a `Map` holds; see there.

    by_reference, by_port: the rows by owner, in their order.
    """

    rows: tuple[MapRow, ...]
    direction: tuple[str, str]
    unmatched_reference: tuple[str, ...] = ()
    unmatched_port: tuple[str, ...] = ()
    aside_reference: tuple[str, ...] = ()
    aside_port: tuple[str, ...] = ()
    verified: bool = False
    by_reference: Mapping[str, tuple[MapRow, ...]] = field(init=False, repr=False, compare=False, hash=False)
    by_port: Mapping[str, tuple[MapRow, ...]] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", with_zeros(self.rows))
        check_sums(self.rows)
        object.__setattr__(self, "by_reference", _grouped(self.rows, "reference"))
        object.__setattr__(self, "by_port", _grouped(self.rows, "port"))
        check_rows("reference", self.by_reference, (*self.unmatched_reference, *self.aside_reference))
        check_rows("port", self.by_port, (*self.unmatched_port, *self.aside_port))

    @property
    def coverage(self) -> float:
        """The share of both sides' owners that have rows; 1.0 where there are none."""
        matched = len(self.by_reference) + len(self.by_port)
        total = matched + len(self.unmatched_reference) + len(self.unmatched_port)
        return matched / total if total else 1.0


def _grouped(rows: tuple[MapRow, ...], side: str) -> dict[str, tuple[MapRow, ...]]:
    found: dict[str, list[MapRow]] = {}
    for row in rows:
        found.setdefault(getattr(row, side), []).append(row)
    return {path: tuple(each) for path, each in found.items()}
