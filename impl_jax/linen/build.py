"""From a spec to a live Linen model: a module and its variables, at once or when an input has told the widths.

A Linen module has no parameters until it has seen an input. It is never anything but lazy.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, traverse_util

from ...common import paths, spec
from ...common.draws import Stream
from ...common.errors import NotExpressibleError, SpecError
from ...common.layers import native
from ...common.spec import chain, table_of
from ...common.tables import Table
from ..devices import check_dtype, device_of, native_dtype
from ..draws import NativeInit, drawn_row, layout_of
from ..parts import split_native
from .layers import At, Block, Members, Sequence, maker_of, reserved
from .naming import Model, places, stored_name


def build(
    model: spec.Layer,
    *,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
    stream: Stream = "portable",
) -> Model:
    """A live model of the spec `model`, `(module, variables)`, its parameters drawn by path from `seed`.

    A Linear whose width the spec does not know leaves the whole model without variables: `materialize` it.

    stream: `portable` for the same numbers in every wing, `native` for JAX's own.

    Raises:
        SpecError, PathError: the spec does not hold together.
        NotExpressibleError: a child's name that a Linen module keeps for itself, or a setting that Flax does not have.
        DtypeError: float64 without `running(dtype="float64")`.
        DeviceError: JAX does not see the device. UsageError: no name of one device.
    """
    check_dtype(dtype)
    table = table_of(model, dtype)
    resolved, _ = spec.flow(model)
    module = _Construction(resolved, table, dtype).module("", resolved)
    if not isinstance(module, linen.Module):
        module = Block(Members((("function", module),)), chain(("function",)))
    if any(None in row.shape for row in table):
        return module, {}
    with jax.default_device(device_of(device)):
        return module, traverse_util.unflatten_dict(_variables(module, table, seed, stream))


def _variables(module: linen.Module, table: Table, seed: int, stream: Stream) -> dict[tuple[str, ...], jax.Array]:
    place = {place.path: place.native for place in places(module)}
    flat: dict[tuple[str, ...], jax.Array] = {}
    for row in table.owners:
        layout, known = layout_of(row), native(row.layer, row.in_layer)
        names = known.parts if known else (row.in_layer,)
        collection = known.collection if known and known.collection else stored_name(row.kind)
        drawn = drawn_row(stream, seed, row.path, row.drawn_from, row.sizes, layout, native_dtype(row.dtype))
        for name, value in zip(names, split_native(drawn, len(names)), strict=True):
            flat[(collection, *place[row.of_layer], *paths.split(name))] = value
    return flat


def is_lazy(model: Model) -> bool:
    """Whether the model still has no variables."""
    return not jax.tree.leaves(model[1])


def materialize(
    model: Model, layer: spec.Layer, inputs: SequenceOf[np.ndarray], *, seed: int = 0, stream: Stream = "portable"
) -> Model:
    """The model built from `layer` with its variables, drawn by path; a model that has them is returned as it is.

    inputs: neutral arrays with a batch axis in front.

    Raises:
        SpecError: the input's width does not chain.
    """
    if not inputs:
        raise SpecError("", "an input to learn the widths from", "none", "Give the arrays of one forward pass.")
    resolved, _ = spec.flow(layer, *(tuple(array.shape[1:]) for array in inputs))
    if not is_lazy(model):
        return model
    dtypes = (str(place.module.param_dtype) for place in places(model[0]) if hasattr(place.module, "param_dtype"))
    return build(resolved, seed=seed, dtype=next(dtypes, "float32"), stream=stream)


class _Construction:
    """Builds each node once; a Shared is the module that is already there."""

    def __init__(self, root: spec.Layer, table: Table, dtype: str) -> None:
        self.references = spec.References(root)
        self.table = table
        self.dtype = jnp.dtype(dtype)
        self.made: dict[str, Any] = {}

    def module(self, path: str, layer: spec.Layer) -> Any:
        if isinstance(layer, spec.Shared):
            return self._owner(path, layer.of)
        if layer.container:
            made = self._container(path, layer)
        else:
            at = At(path, self.dtype, partial(self._init, path), partial(self._owner, path))
            made = maker_of(layer, path)(layer, at)
        self.made[path] = made
        return made

    def _owner(self, path: str, of: str) -> Any:
        return self.made[self.references.resolve(path, of)]

    def _container(self, path: str, layer: spec.Layer) -> Block:
        made = [(name, self.module(paths.join(path, name), child)) for name, child in layer.children()]
        if isinstance(layer, spec.Numbered):
            pairs = tuple((f"layers_{name}", child) for name, child in made)
            sequential = isinstance(layer, spec.Sequential)
            return Sequence(Members(pairs), layer.program if sequential else None)
        for name, _ in made:
            if name in reserved():
                raise NotExpressibleError(
                    paths.join(path, name),
                    "a child name that is free in linen.Module",
                    f"{name!r}, which linen.Module uses itself",
                    "Rename the child to build it in the linen wing.",
                )
        return Block(Members(tuple(made)), layer.program)

    def _init(self, path: str, name: str) -> NativeInit:
        row = self.table[paths.join(path, name)]
        return NativeInit(row.initializer, layout_of(row))
