"""What a table has a row of: one path of a model, or one module that was called."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from . import paths
from .errors import InitializerError, ShapeError
from .initializers import Initializer
from .layouts import SAME, Layout
from .ties import Tie

Kind = Literal["parameter", "buffer"]
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Row:
    """One path of a model.

    shape: in the canonical layout; an axis is None until a lazy layer has seen an input.
    layer: the kind of layer that owns it, in the spec's words where they exist (`Linear`).
    initializer: known for a spec, None for a live model.
    tie: set on an alias only.
    native_path, layout: how the wing spells and stores it; () and the identity for a spec.
    persistent: whether PyTorch's `state_dict` would list it.
    name: what its layer calls it, where that is more than the path's last component (`out_proj.weight`), or nothing.
    axes: lengths of axes that a native layout tells apart and the shape does not (see ParameterSpec); of a spec only.
    """

    path: str
    shape: Shape
    dtype: str
    kind: Kind = "parameter"
    layer: str = ""
    initializer: Initializer | None = None
    tie: Tie | None = None
    native_path: tuple[str | int, ...] = ()
    layout: Layout = SAME
    persistent: bool = True
    name: str | None = None
    axes: tuple[tuple[str, int], ...] = ()

    @property
    def in_layer(self) -> str:
        """What its layer calls it: `weight`, or `out_proj.weight` in a layer that holds layers."""
        return paths.leaf(self.path) if self.name is None else self.name

    @property
    def of_layer(self) -> str:
        """The path of the layer that holds it."""
        return self.path[: len(self.path) - len(self.in_layer)].removesuffix(".")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape, where every axis is known.

        Raises:
            ShapeError: a lazy layer has not seen an input yet.
        """
        if any(axis is None for axis in self.shape):
            found = shape_text(self.shape)
            raise ShapeError(self.path, "a shape without unknown axes", found, "Give the spec its widths, or an input.")
        return tuple(axis for axis in self.shape if axis is not None)

    @property
    def drawn_from(self) -> Initializer:
        """The initializer, where it is known.

        Raises:
            InitializerError: the row is a live model's, which does not tell what it was drawn from.
        """
        if self.initializer is None:
            raise InitializerError(
                self.path, "an initializer", "none, since a live model keeps none", "Use the spec's row."
            )
        return self.initializer

    @property
    def size(self) -> int:
        """The number of scalars; 0 while an axis is unknown."""
        return math.prod(axis or 0 for axis in self.shape)


@dataclass(frozen=True)
class ModuleRow:
    """One module of a model, as one forward pass called it.

    path: as the framework spells it, dotted; empty for the model itself.
    name: its class.
    depth: how many of the table's modules it lies in.
    outputs: the shapes of the floating-point arrays that its first call gave.
    calls: how often it was called.
    scalars: how many numbers the parameters in it and in what lies below it hold, a tied one counted once.
    """

    path: str
    name: str
    depth: int
    outputs: tuple[Shape, ...]
    calls: int
    scalars: int


def shape_text(shape: Shape) -> str:
    """`(8, ?)`: an axis that is not known yet is a question mark."""
    axes = ", ".join("?" if axis is None else str(axis) for axis in shape)
    return f"({axes},)" if len(shape) == 1 else f"({axes})"


def native_text(native_path: tuple[str | int, ...]) -> str:
    """`layers/0/kernel`: a native path in one word."""
    return "/".join(str(part) for part in native_path)
