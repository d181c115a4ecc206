"""A map's rows: one tensor of a reference, or a piece of it, and what it is in the port."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, get_args

from ...common.errors import DtypeError, MapError, ShapeError
from ...common.layouts import Layout, inverted
from ...common.tables import shape_text
from .patterns import Sizes, laid_out
from .pieces import WHOLE, Piece
from .transforms import transform_of

# What settled a row, strongest first. `fingerprint`: equal gradients at the symmetric point. `sibling`: the module
# that matched parameters name. `value`: equal values. `output`: equal outputs where it alone has values of its own.
# `name`: the closest names of what was left. `layout`: the same, and for axes of one length, whose order nothing
# measured tells, the usual one of the layer's kind. `rule`: a person.
Evidence = Literal["fingerprint", "sibling", "value", "output", "name", "layout", "rule"]
EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)


@dataclass(frozen=True)
class MapRow:
    """A tensor, or a piece of one, under its two owners' native paths.

    shape, port_shape: of the whole tensors.
    layout: an einops pattern from the reference's piece to the port's; an axis of length 1 may be written `1`.
    sizes: lengths of the pattern's bracketed axes. Those that follow from the shape may be left out; a row has all.
    transform: the port's value from the reference's, as `x + 1` or `x / 8.0`; empty for the same value.
    summed: several rows have this row's piece on one of the two sides, which is the sum of theirs on the other: a
        port's LSTM has one bias where the reference adds two. The other way the first row gets the value and the others
        zeros.
    copied: several rows have this row's piece of one of the two sides, of which the other side keeps copies. The way
        from the copies to the one tensor needs equal values, or a choice.
    reference_aliases, port_aliases: the other paths of the tie group on either side.
    reference_factors, port_factors: where a side stores a weight norm in the tensor's place, the paths of its magnitude
        and its direction, whose product the tensor is. There is no way to the factors.
    gives_zeros: set by a map, on a summed row whose value an earlier row of the same reference carries.

    Raises:
        MapError: a layout, a piece or a transform that does not fit the shapes.
    """

    reference: str
    port: str
    shape: tuple[int, ...]
    port_shape: tuple[int, ...]
    layout: str
    evidence: Evidence
    sizes: Sizes = ()
    reference_piece: Piece = WHOLE
    port_piece: Piece = WHOLE
    transform: str = ""
    summed: bool = False
    copied: bool = False
    reference_aliases: tuple[str, ...] = ()
    port_aliases: tuple[str, ...] = ()
    reference_factors: tuple[str, ...] = ()
    port_factors: tuple[str, ...] = ()
    gives_zeros: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            self._check()
        except (MapError, ShapeError) as error:
            raise MapError(f"{self.reference} -> {self.port}", error.expected, error.found, error.remedy) from None

    def _check(self) -> None:
        found, sizes = laid_out(self.layout, self.reference_piece.shape(self.shape), tuple(self.sizes))
        # One spelling for each row, so that the inverse of its inverse is equal to it.
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "layout", inverted(inverted(self.layout)))
        object.__setattr__(self, "reference_piece", self.reference_piece.normal(self.shape))
        object.__setattr__(self, "port_piece", self.port_piece.normal(self.port_shape))
        wanted = self.port_piece.shape(self.port_shape)
        if found != wanted:
            end = f"piece {self.port_piece}" if self.port_piece.index else "tensor"
            raise MapError("", f"a layout that leads to the port's {end} {shape_text(wanted)}", shape_text(found))
        transform = transform_of(self.transform)
        object.__setattr__(self, "transform", str(transform))
        if transform.shifts and self.summed:
            raise MapError("", "a summed row whose transform leaves zero at zero", repr(self.transform))
        for factors in (self.reference_factors, self.port_factors):
            if factors and len({*factors}) != 2:
                raise MapError("", "the paths of a magnitude and of a direction, or none", str([*factors]))
        if self.copied and self.summed:
            raise MapError("", "a row that is summed or copied", "both")

    @property
    def is_whole(self) -> bool:
        """Whether it is all of both tensors."""
        return self.reference_piece.is_whole and self.port_piece.is_whole

    @property
    def slope(self) -> float:
        """How much the port's value changes with the reference's, whose gradient is this times the port's."""
        return transform_of(self.transform).slope

    def to_port(self, array: Any) -> Any:
        """What the row makes of the whole reference array, of any framework: the port's piece, in the array's dtype.

        A view where the piece is one, the axes are only permuted and there is no transform.

        Raises:
            ShapeError: an array of another shape. DtypeError: one in whose dtype the transform loses its values.
        """
        if tuple(array.shape) != self.shape:
            found = shape_text(tuple(array.shape))
            raise ShapeError(self.reference, f"the shape {shape_text(self.shape)}", found, "Compare the two models.")
        return self.transformed(self.laid_out(array))

    def transformed(self, values: Any) -> Any:
        """The port's values of some of the reference's, in whatever shape they are.

        Raises:
            DtypeError: as `to_port`.
        """
        if not self.transform:
            return values
        try:
            return transform_of(self.transform).of(values)
        except DtypeError as error:
            raise DtypeError(self.reference, error.expected, error.found, error.remedy) from None

    def to_reference(self, piece: Any) -> Any:
        """What `to_port` made the port's `piece` of."""
        value = transform_of(self.transform).inverse.of(piece) if self.transform else piece
        return self.laid_back(value)

    def laid_out(self, array: Any) -> Any:
        """The piece of the whole reference array in the port's axes, without the transform: a gradient's way."""
        value = array if self.reference_piece.is_whole else self.reference_piece.of(array)
        return _layout(self.layout, self.sizes).to_native(value)

    def laid_back(self, piece: Any) -> Any:
        """The port's piece in the reference's axes."""
        return _layout(self.layout, self.sizes).to_canonical(piece)

    def inverse(self) -> MapRow:
        """The way back: what was the port is the reference. The inverse of the inverse is equal to the row."""
        return replace(
            self,
            reference=self.port,
            port=self.reference,
            shape=self.port_shape,
            port_shape=self.shape,
            layout=inverted(self.layout),
            reference_piece=self.port_piece,
            port_piece=self.reference_piece,
            transform=str(transform_of(self.transform).inverse),
            reference_aliases=self.port_aliases,
            port_aliases=self.reference_aliases,
            reference_factors=self.port_factors,
            port_factors=self.reference_factors,
        )


@lru_cache(maxsize=4096)
def _layout(pattern: str, sizes: Sizes) -> Layout:
    return Layout(pattern, sizes)


def giving_zeros(row: MapRow, zeros: bool) -> MapRow:
    """The row, or its like, that gives zeros or not."""
    if row.gives_zeros == zeros:
        return row
    made = replace(row)
    object.__setattr__(made, "gives_zeros", zeros)
    return made
