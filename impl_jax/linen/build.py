"""From a spec to a live Linen model: a module and its variables."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, traverse_util

from ...common import expansion, layers, paths, spec
from ...common.errors import NotExpressibleError
from ..devices import check_dtype, device_of
from ..draws import NativeInit, PathInit, layout_of
from ..functions import function_of
from .layers import Block, Decoder, Dropout, FixedLinear, Members, Sequence
from .naming import Model, places

# `scope` comes with a call, and `params` twice in a row is what Flax takes for a mistake.
RESERVED = frozenset(dir(Block(Members(()), ()))) | {"scope", "params", "_compact_name_scope_methods"}


def build(model: spec.Layer, *, seed: int = 0, dtype: str = "float32", device: str = "cpu") -> Model:
    """A live model of the spec `model`, `(module, variables)`, its parameters drawn by path from `seed`.

    A Linear whose width the spec does not know leaves the whole model without variables: `materialize` it.

    Raises:
        SpecError, PathError: the spec does not hold together.
        NotExpressibleError: a child's name that a Linen module keeps for itself.
        DtypeError: float64 without `running(dtype="float64")`.
        DeviceError: JAX does not see the device.
    """
    check_dtype(dtype)
    table = expansion.table(model, dtype)
    resolved, _ = spec.flow(model)
    module = _Construction(resolved, table, dtype).module("", resolved)
    if not isinstance(module, linen.Module):
        module = Block(Members((("function", module),)), ("function",))
    if any(None in row.shape for row in table):
        return module, {}
    native = {place.path: place for place in places(module)}
    flat: dict[tuple[str, ...], jax.Array] = {}
    with jax.default_device(device_of(device)):
        for row in table.owners:
            place, layout = native[paths.parent(row.path)], layout_of(row)
            init = PathInit(NativeInit(row.drawn_from, layout), seed, row.path)
            collection = "params" if row.kind == "parameter" else "buffers"
            name = layers.native_name(row.layer, paths.leaf(row.path))
            flat[(collection, *place.native, name)] = init(None, layout.native_shape(row.sizes), row.dtype)
    return module, traverse_util.unflatten_dict(flat)


class _Construction:
    """Builds each node once; a Shared is the module that is already there."""

    def __init__(self, root: spec.Layer, table: Any, dtype: str) -> None:
        self.references = spec.References(root)
        self.table = table
        self.dtype = jnp.dtype(dtype)
        self.made: dict[str, Any] = {}

    def module(self, path: str, layer: spec.Layer) -> Any:
        if isinstance(layer, spec.Shared):
            return self.made[self.references.resolve(path, layer.of)]
        if isinstance(layer, (spec.Sequential, spec.Block)):
            made = self._container(path, layer)
        elif isinstance(layer, layers.Decoder):
            owner = Members((("embed", self.made[self.references.resolve(path, layer.of)]),))
            bias_init = self._init(path, "bias") if layer.bias else linen.initializers.zeros
            made = Decoder(owner, layer.bias, bias_init, self.dtype)
        else:
            made = self._leaf(path, layer)
        self.made[path] = made
        return made

    def _container(self, path: str, layer: spec.Sequential | spec.Block) -> Block:
        made = [(name, self.module(paths.join(path, name), child)) for name, child in layer.children()]
        if isinstance(layer, spec.Sequential):
            pairs = tuple((f"layers_{name}", child) for name, child in made)
            return Sequence(Members(pairs), tuple(name for name, _ in pairs))
        for name, _ in made:
            if name in RESERVED:
                raise NotExpressibleError(
                    paths.join(path, name),
                    "a child name that is free in linen.Module",
                    f"{name!r}, which linen.Module uses itself",
                    "Rename the child to build it in the linen wing.",
                )
        return Block(Members(tuple(made)), layer.order)

    def _leaf(self, path: str, layer: spec.Layer) -> Any:
        match layer:
            case layers.Linear():
                return linen.Dense(
                    layer.out_features,
                    use_bias=layer.bias,
                    kernel_init=self._init(path, "weight"),
                    bias_init=self._init(path, "bias") if layer.bias else linen.initializers.zeros,
                    param_dtype=self.dtype,
                )
            case layers.Embedding():
                init = self._init(path, "weight")
                return linen.Embed(layer.vocabulary, layer.features, embedding_init=init, param_dtype=self.dtype)
            case layers.FixedLinear():
                init = self._init(path, "weight")
                return FixedLinear(layer.in_features, layer.out_features, layer.shift, init, self.dtype)
            case layers.Dropout():
                return Dropout(layer.rate)
            case _:
                return function_of(path, layer)

    def _init(self, path: str, name: str) -> NativeInit:
        row = self.table[paths.join(path, name)]
        return NativeInit(row.initializer, layout_of(row))
