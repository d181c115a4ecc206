"""Weight norms that one side alone has: with products in the place of their factors its program is the other's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from ...common.wing import SelfAnswering
from ...pairs.maps import Factors, Map, factors_by_name
from ...pairs.side import Side
from ...pairs.weight_norms import seen_as_products


class Merged(NamedTuple):
    """The sides of a pair, one of them with products in the place of its weight norms.

    role: that side's. factors: by the products' paths.
    """

    sides: tuple[Side, Side]
    role: str
    factors: Mapping[str, Factors]

    def with_factors(self, found: Map, notes: tuple[str, ...]) -> Map:
        """The map of the pair as it was: rows of a product name its factors. notes: of the runs that found it."""
        field = f"{self.role}_factors"
        rows = [replace(row, **{field: self.factors.get(getattr(row, self.role), ())}) for row in found.rows]
        return replace(found, rows=tuple(rows), notes=notes)


def merged(reference: Side, port: Side) -> Merged | None:
    """The sides with products in the place of the weight norms that one of them has; None if none or both have some."""
    found = {side: factors for side in (reference, port) if (factors := _norms(side))}
    if len(found) != 1:
        return None
    [(side, factors)] = found.items()
    made = seen_as_products(side, factors)
    return Merged((made, port) if side is reference else (reference, made), side.role, factors)


def _norms(side: Side) -> Mapping[str, Factors]:
    """Those of parameters that are called as a framework calls them. A record has runs at its own factors alone."""
    if isinstance(side.model, SelfAnswering):
        return {}
    return factors_by_name({path: each.array.shape for path, each in side.tensors.items() if each.trainable})
