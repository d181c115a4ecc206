"""From a spec to a live `nnx.Module`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ...common import expansion, layers, paths, spec
from ...common.errors import NotExpressibleError
from ..devices import check_dtype, device_of
from ..draws import NativeInit, PathInit, layout_of
from ..functions import function_of
from .layers import Block, Decoder, FixedLinear

RESERVED = frozenset(dir(Block({}, ())))


def build(model: spec.Layer, *, seed: int = 0, dtype: str = "float32", device: str = "cpu") -> nnx.Module:
    """A live model of the spec `model`, its parameters drawn by path from `seed`, in inference mode.

    Raises:
        SpecError, PathError: the spec does not hold together.
        NotExpressibleError: a Linear whose width the spec does not know (NNX is not lazy), or a child's name that an
            nnx.Module keeps for itself.
        DtypeError: float64 without `running(dtype="float64")`.
        DeviceError: JAX does not see the device.
    """
    check_dtype(dtype)
    table = expansion.table(model, dtype)
    resolved, _ = spec.flow(model)
    for row in table:
        if None in row.shape:
            raise NotExpressibleError(
                row.path,
                "a width that the spec knows, since an nnx.Module has its parameters from the start",
                "None",
                "Give in_features, or use materialize(None, spec, inputs).",
            )
    with jax.default_device(device_of(device)):
        module = _Construction(resolved, table, dtype, seed).module("", resolved)
    if not isinstance(module, nnx.Module):
        module = nnx.Sequential(module)
    module.eval()
    return module


class _Construction:
    """Builds each node once; a Shared is the object that is already there."""

    def __init__(self, root: spec.Layer, table: Any, dtype: str, seed: int) -> None:
        self.references = spec.References(root)
        self.table = table
        self.dtype = jnp.dtype(dtype)
        self.seed = seed
        self.made: dict[str, Any] = {}

    def module(self, path: str, layer: spec.Layer) -> Any:
        if isinstance(layer, spec.Shared):
            return self.made[self.references.resolve(path, layer.of)]
        if isinstance(layer, (spec.Sequential, spec.Block)):
            made = self._container(path, layer)
        elif isinstance(layer, layers.Decoder):
            embed = self.made[self.references.resolve(path, layer.of)]
            made = Decoder(embed, self._init(path, "bias") if layer.bias else None, self.dtype)
        else:
            made = self._leaf(path, layer)
        self.made[path] = made
        return made

    def _container(self, path: str, layer: spec.Sequential | spec.Block) -> nnx.Module:
        children = {name: self.module(paths.join(path, name), child) for name, child in layer.children()}
        if isinstance(layer, spec.Sequential):
            return nnx.Sequential(*children.values())
        for name in children:
            if name in RESERVED:
                raise NotExpressibleError(
                    paths.join(path, name),
                    "a child name that is free in nnx.Module",
                    f"{name!r}, which nnx.Module uses itself",
                    "Rename the child to build it in the nnx wing.",
                )
        return Block(children, layer.order)

    def _leaf(self, path: str, layer: spec.Layer) -> Any:
        # The initializers know their keys; these Rngs are only what the constructors ask for.
        rngs = nnx.Rngs(0)
        match layer:
            case layers.Linear(int(in_features), out_features, bias):
                kernel_init, bias_init = self._init(path, "weight"), self._init(path, "bias") if bias else None
                return nnx.Linear(
                    in_features,
                    out_features,
                    use_bias=bias,
                    kernel_init=kernel_init,
                    bias_init=bias_init or nnx.initializers.zeros,
                    param_dtype=self.dtype,
                    rngs=rngs,
                )
            case layers.Embedding(vocabulary, features):
                init = self._init(path, "weight")
                return nnx.Embed(vocabulary, features, embedding_init=init, param_dtype=self.dtype, rngs=rngs)
            case layers.FixedLinear():
                init = self._init(path, "weight")
                return FixedLinear(layer.in_features, layer.out_features, layer.shift, init, self.dtype)
            case layers.Dropout(rate):
                return nnx.Dropout(rate, rngs=nnx.Rngs(dropout=self.seed))
            case _:
                return function_of(path, layer)

    def _init(self, path: str, name: str) -> PathInit:
        row = self.table[paths.join(path, name)]
        return PathInit(NativeInit(row.drawn_from, layout_of(row)), self.seed, row.path)
