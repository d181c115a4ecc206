"""Usual layouts: which order of axes tensors have of which nothing measured tells it, by the layer that holds them.

A square kernel that a call does not reach has no gradient, and its two axes are of one length. Where a side shows what
layer it is in, or both have names that one kind of layer has in the two frameworks, its order is that of the kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...common import paths
from ...common.errors import ShapeError
from ...common.layers import KINDS, native
from ...common.layouts import SAME, Layout
from ...common.spec import Native
from ...common.tables import Row
from ...pairs.side import Side
from .axis_groupings import Part, Shape
from .fingerprints import Order

# Lengths that tell axes apart, for as many as a tensor may have.
_UNLIKE = (2, 3, 5, 7, 11, 13, 17, 19)


@dataclass(frozen=True, eq=False)
class UsualLayouts:
    """What is known of the layers of two sides; found out when it is first asked for."""

    reference: Side
    port: Side

    def kinds(self, ours: Part, theirs: Part) -> tuple[str, str]:
        """The kinds of layers that two tensors are in, empty where a side does not show it."""
        one, other = self._rows(ours, theirs)
        return one.layer if one else "", other.layer if other else ""

    def order(self, ours: Part, theirs: Part, possible: Sequence[Order]) -> Order | None:
        """The one of the possible orders that the kind of layer has, or None where it is not known."""
        for layouts in self._layouts(ours, theirs):
            fitting = [order for order in possible if _leads(ours.shape, theirs.shape, layouts, order)]
            if len(fitting) == 1:
                return fitting[0]
        return None

    def _layouts(self, ours: Part, theirs: Part) -> Iterator[tuple[Layout, Layout]]:
        """The layouts that both tensors may have, beside PyTorch's, the likeliest first."""
        rows = self._rows(ours, theirs)
        known = [row.layout if row and row.layer in KINDS and row.layout.is_known else None for row in rows]
        names = paths.leaf(ours.path), paths.leaf(theirs.path)
        if known[0] and known[1]:
            yield known[0], known[1]
        elif names[0] == names[1] or self.reference.wing.NAME == self.port.wing.NAME:
            yield SAME, SAME
        elif row := next((row for row, layout in zip(rows, known, strict=True) if row and layout), None):
            if any(other and other is not row and row.layer.startswith(other.layer or row.path) for other in rows):
                # The same layer with other settings, for which the kind's layout does not hold.
                return
            # What does not show its layer stores its tensors as its framework's own layer of that kind does.
            of_flax = native(row.layer, row.in_layer)
            usual = [
                SAME if side.wing.NAME == "torch" or of_flax is None else of_flax.layout
                for side in (self.reference, self.port)
            ]
            yield known[0] or usual[0], known[1] or usual[1]
        else:
            yield from _by_names(*names)

    def _rows(self, ours: Part, theirs: Part) -> tuple[Row | None, Row | None]:
        """The rows of two tensors in their models' tables; of a piece of one only the layer is known."""
        return self.reference.rows.get(ours.path), self.port.rows.get(theirs.path)


def _by_names(ours: str, theirs: str) -> Iterator[tuple[Layout, Layout]]:
    """The layouts of what PyTorch calls by one of the names and Flax by the other, of each kind of layer."""
    for kind in KINDS.values():
        for name, each in kind.natives.items():
            if (ours, theirs) == (paths.leaf(name), _flax_name(each)):
                yield SAME, each.layout
            if (theirs, ours) == (paths.leaf(name), _flax_name(each)):
                yield each.layout, SAME


def _flax_name(each: Native) -> str:
    return paths.leaf(each.names) if isinstance(each.names, str) else ""


def _leads(shape: Shape, port_shape: Shape, layouts: tuple[Layout, Layout], order: Order) -> bool:
    """Whether the layouts lead from one tensor to the other in this order of the axes longer than 1."""
    lengths = iter(_UNLIKE)
    seen = tuple(length if length == 1 else next(lengths) for length in shape)
    try:
        stored = layouts[1].native_shape(layouts[0].canonical_shape(seen))
    except ShapeError:
        return False
    long = [length for length in seen if length != 1]
    is_plain = not order.flips and order.shuffle is None and len(stored) == len(port_shape)
    return is_plain and [length for length in stored if length != 1] == [long[axis] for axis in order.axes]
