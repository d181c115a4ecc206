"""Weight norms that one side alone has: with products in the place of their factors its program is the other's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

from ...common.tables import counted
from ...common.wing import is_factory
from ...pairs.maps import Map
from ...pairs.pair import Pair
from ...pairs.side import Side


class Merged(NamedTuple):
    """A pair of which one side has no weight norms any more.

    role: that side's. factors: by the products' paths those of their magnitudes and directions.
    """

    pair: Pair
    role: str
    factors: Mapping[str, tuple[str, str]]

    def with_factors(self, found: Map, notes: tuple[str, ...]) -> Map:
        """The map of the pair as it was: rows of a product name its factors. notes: of the runs that found it."""
        field = f"{self.role}_factors"
        rows = [replace(row, **{field: self.factors.get(getattr(row, self.role), ())}) for row in found.rows]
        count = counted(len(self.factors), "weight norm")
        note = (
            f"the {self.role} has {count}, such as that of {min(self.factors)}: the map is about the products, which "
            "the other side has. To train their factors is another thing"
        )
        return replace(found, rows=tuple(rows), notes=(*notes, note))


def merged(pair: Pair, *sides: Side) -> Merged | None:
    """The pair with products in the place of the weight norms that one of its sides has; None if none or both have.

    sides: the reference and the port, as they were made.
    """
    found = [(side.role, factors) for side in sides if (factors := _norms(side))]
    if len(found) != 1:
        return None
    (role, factors) = found[0]
    side = getattr(pair, role)
    made = (lambda seed: _without(side(seed))[0]) if is_factory(side) else _without(side)[0]
    return Merged(replace(pair, **{role: made}), role, factors)


def _norms(side: Side) -> Mapping[str, tuple[str, str]]:
    return _without(side.model)[1] if side.kind == "torch" else {}


def _without(model: Any) -> tuple[Any, Mapping[str, tuple[str, str]]]:
    return import_module("...impl_torch.weight_norms", __package__).without_weight_norms(model)
