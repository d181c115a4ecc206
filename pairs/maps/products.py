"""Weight norms: a tensor that its side stores as a magnitude and a direction, `magnitude * direction / |direction|`.

The norm is over all axes but those along which the magnitude is long. A row of the product serves a checkpoint of the
two, in that direction alone: of the product nothing tells how long the direction was.

See https://arxiv.org/abs/1602.07868, `torch.nn.utils.weight_norm` and Flax's `WeightNorm`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...common.arrays import as_numpy
from ...common.errors import MapError
from ...common.wing import Box
from .correspondence import Correspondence
from .resize import skeleton

# What Flax adds to the square of a norm, whose magnitudes have no axes of length 1; PyTorch adds nothing.
_FLAX_EPSILON = 1e-12
# What NNX calls a magnitude, by the keys of the tensor in its layer.
_SCALES = re.compile(r"(.*\.)?scales\.(\(.*\))")


class Factors(NamedTuple):
    """The paths of the two tensors whose product a tensor is."""

    magnitude: str
    direction: str


def weight_norms(shapes: Mapping[str, tuple[int, ...]], made: Correspondence) -> dict[str, Factors]:
    """By the path of the product, the factors among tensors of these shapes that the map has the product of.

    Those that a row names, and those that are called as the frameworks call them, if the map knows the product, as
    it is or of another layer, and does not know the magnitude.
    """
    found = {}
    for row in made.rows:
        for path, factors in ((row.reference, row.reference_factors), (row.port, row.port_factors)):
            if factors and _are_there(path, Factors(*factors), shapes):
                found[path] = Factors(*factors)
    by_name = [(path, Factors(magnitude, other)) for magnitude in shapes for path, other in spelled(magnitude)]
    # Most models have none, and a map may be applied many times.
    known = {skeleton(path)[0] for path in _known(made)} if by_name else set()
    for path, factors in by_name:
        is_wanted = skeleton(path)[0] in known and skeleton(factors.magnitude)[0] not in known
        if is_wanted and _are_there(path, factors, shapes):
            found.setdefault(path, factors)
    return found


def factors_by_name(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Factors]:
    """By the path of the product, the factors among tensors of these shapes that are called as a framework calls them.

    Of two tensors of one size, as two gates may be that are called so, none is a magnitude.
    """
    found: dict[str, Factors] = {}
    for magnitude, shape in shapes.items():
        for path, direction in spelled(magnitude):
            factors = Factors(magnitude, direction)
            if _are_there(path, factors, shapes) and prod(shape) < prod(shapes[direction]):
                found.setdefault(path, factors)
    return found


def product(magnitude: Any, direction: Any, kept: tuple[int, ...] | None = None) -> np.ndarray:
    """The tensor that two factors make, computed in float64, in the direction's type.

    magnitude, direction: arrays of any framework, of shapes that `kept_axes` knows. kept: what it says of the whole
        tensors, of which these are parts that are cut along those axes alone.
    """
    g, v = (as_numpy(each) for each in (magnitude, direction))
    kept = (kept_axes(g.shape, v.shape) or ()) if kept is None else kept
    wide = v.astype(np.float64)
    squares = (wide * wide).sum(tuple(axis for axis in range(v.ndim) if axis not in kept), keepdims=True)
    epsilon = 0.0 if g.ndim == v.ndim else _FLAX_EPSILON
    scale = g.astype(np.float64).reshape([v.shape[axis] if axis in kept else 1 for axis in range(v.ndim)])
    # A direction of zeros has none: PyTorch makes it NaN, too.
    with np.errstate(all="ignore"):
        wide *= scale / np.sqrt(squares + epsilon)
    return wide.astype(v.dtype)


def epsilon_of(magnitude: str) -> float:
    """What the framework that calls a magnitude so adds to the square of a norm; none if it is a model's own name."""
    return _FLAX_EPSILON if magnitude.endswith("/scale") or _SCALES.fullmatch(magnitude) else 0.0


def magnitude_box(magnitude: tuple[int, ...], direction: tuple[int, ...], box: Box) -> Box | None:
    """The part of a magnitude that goes with a part of its direction; None where that has parts of lengths.

    magnitude, direction: the shapes of the whole tensors. box: the spans of the part, one for each of its axes.
    """
    kept = kept_axes(magnitude, direction) or ()
    if any(box[axis] != (0, length) for axis, length in enumerate(direction) if axis not in kept):
        return None
    if len(magnitude) < len(direction):
        return tuple(box[axis] for axis in kept)
    return tuple(box[axis] if axis in kept else (0, 1) for axis in range(len(direction)))


def kept_axes(magnitude: tuple[int, ...], direction: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes of a direction along which the magnitude is long; None where the two are no factors.

    PyTorch's magnitude has the other axes too, of length 1. Flax's has not: where its shape fits in several ways it is
    of the last axes, as by default.
    """
    if len(magnitude) == len(direction):
        pairs = [*zip(magnitude, direction, strict=True)]
        kept = tuple(axis for axis, (own, length) in enumerate(pairs) if own == length)
        return kept if all(own in (1, length) for own, length in pairs) else None
    chosen = [*combinations(range(len(direction)), len(magnitude))]
    fitting = [axes for axes in chosen if tuple(direction[axis] for axis in axes) == magnitude]
    # Combinations come in order, that of the last axes at the end.
    return fitting[-1] if fitting and (len(fitting) == 1 or fitting[-1] == chosen[-1]) else None


def check_way(made: Correspondence) -> None:
    """Refuse the way from a product to its factors.

    Raises:
        MapError: a row's port stores its tensor as a weight norm.
    """
    row = next((row for row in made.rows if row.port_factors), None)
    if row is not None:
        magnitude, direction = row.port_factors
        remedy = (
            f"The way back makes {row.port} itself, which `weight_norm` parts again, by a map whose rows are without "
            "'reference_factors' and 'port_factors'."
        )
        found = f"the product of {magnitude} and {direction}, which it does not tell"
        raise MapError(row.port, "a tensor that its side stores as it is", found, remedy)


def _are_there(path: str, factors: Factors, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if not shapes.keys() >= {*factors} or (path in shapes and path != factors.direction):
        return False
    return kept_axes(shapes[factors.magnitude], shapes[factors.direction]) is not None


def _known(made: Correspondence) -> Iterator[str]:
    """All paths of either side."""
    for row in made.rows:
        yield from (row.reference, row.port, *row.reference_aliases, *row.port_aliases)
    yield from (*made.unmatched_reference, *made.unmatched_port, *made.aside_reference, *made.aside_port)


def spelled(magnitude: str) -> Iterator[tuple[str, str]]:
    """The path of the product and that of the direction, in each way in which a framework calls such a magnitude."""
    if magnitude.endswith("_g"):
        yield magnitude[:-2], f"{magnitude[:-2]}_v"
    if magnitude.endswith(".original0") and (
        of_torch := re.fullmatch(r"(.*?)parametrizations\.([^.]+)\.original0", magnitude)
    ):
        yield of_torch[1] + of_torch[2], magnitude[:-1] + "1"
    if magnitude.endswith("/scale"):
        # Linen's, in the module beside the layer that it wraps, or around it.
        *above, name = magnitude.removesuffix("/scale").split(".")
        for place in (above[:-1], above):
            path = ".".join([*place, *name.split("/")])
            yield path, path
    if magnitude.endswith(")") and (of_nnx := _SCALES.fullmatch(magnitude)):
        keys = _keys(of_nnx[2])
        path = ".".join(["layer_instance", *map(str, keys)])
        yield (of_nnx[1] or "") + path, (of_nnx[1] or "") + path


def _keys(text: str) -> tuple[Any, ...]:
    """A tuple of names and numbers as Python writes it; empty for another text."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return ()
    return found if isinstance(found, tuple) else ()
