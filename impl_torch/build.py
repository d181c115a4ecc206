"""From a spec to a live `nn.Module`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils import skip_init

from ..common import expansion, layers, paths, spec
from ..common.errors import NotExpressibleError
from .devices import device_of, dtype_of
from .initialization import fill
from .layers import Block, Decoder, FixedLinear, Halve, Sum
from .naming import leaves

RESERVED = frozenset(dir(nn.Sequential())) | frozenset(dir(Block({}, ())))


def build(model: spec.Layer, *, seed: int = 0, dtype: str = "float32", device: str = "cpu") -> nn.Module:
    """A live model of the spec `model`, its parameters drawn by path from `seed`, in inference mode.

    A Linear whose width the spec does not know becomes a LazyLinear: `materialize` it with an input.

    Raises:
        SpecError, PathError: the spec does not hold together.
        NotExpressibleError: a child's name that `nn.Module` keeps for itself.
        DtypeError, DeviceError: PyTorch has no such type, or does not see the device.
    """
    table = expansion.table(model, dtype)
    resolved, _ = spec.flow(model)
    module = _Construction(resolved, device_of(device), dtype_of(dtype)).module("", resolved)
    for leaf in leaves(module):
        row = table[leaf.path]
        if row.tie is None and not isinstance(leaf.array, (UninitializedParameter, UninitializedBuffer)):
            fill(leaf.array, row.drawn_from, seed, row.path)
    return module.eval()


class _Construction:
    """Builds each node once; a Shared is the object that is already there."""

    def __init__(self, root: spec.Layer, device: torch.device, dtype: torch.dtype) -> None:
        self.references = spec.References(root)
        self.placement: dict[str, Any] = {"device": device, "dtype": dtype}
        self.made: dict[str, nn.Module] = {}

    def module(self, path: str, layer: spec.Layer) -> nn.Module:
        if isinstance(layer, spec.Shared):
            return self.made[self.references.resolve(path, layer.of)]
        if isinstance(layer, (spec.Sequential, spec.Block)):
            made: nn.Module = self._container(path, layer)
        elif isinstance(layer, layers.Decoder):
            embedding = self.made[self.references.resolve(path, layer.of)]
            made = Decoder(embedding, layer.bias, **self.placement)  # type: ignore[arg-type]
        else:
            made = self._leaf(path, layer)
        self.made[path] = made
        return made

    def _container(self, path: str, layer: spec.Sequential | spec.Block) -> nn.Module:
        children = {name: self.module(paths.join(path, name), child) for name, child in layer.children()}
        if isinstance(layer, spec.Sequential):
            return nn.Sequential(*children.values())
        for name in children:
            if name in RESERVED:
                raise NotExpressibleError(
                    paths.join(path, name),
                    "a child name that is free in nn.Module",
                    f"{name!r}, which nn.Module uses itself",
                    "Rename the child to build it in the torch wing.",
                )
        return Block(children, layer.order)

    def _leaf(self, path: str, layer: spec.Layer) -> nn.Module:
        match layer:
            case layers.Linear(in_features=None):
                return nn.LazyLinear(layer.out_features, layer.bias, **self.placement)
            case layers.Linear():
                return skip_init(nn.Linear, layer.in_features, layer.out_features, layer.bias, **self.placement)
            case layers.Embedding():
                return skip_init(nn.Embedding, layer.vocabulary, layer.features, **self.placement)
            case layers.FixedLinear():
                return FixedLinear(layer.in_features, layer.out_features, layer.shift, **self.placement)
            case layers.Dropout():
                return nn.Dropout(layer.rate)
            case layers.Flatten():
                return nn.Flatten()
            case layers.Halve():
                return Halve(layer.limit)
            case layers.Sum():
                return Sum()
            case _:
                return _activation(path, layer)


def _activation(path: str, layer: spec.Layer) -> nn.Module:
    match layer:
        case layers.ReLU():
            return nn.ReLU()
        case layers.Tanh():
            return nn.Tanh()
        case layers.Sigmoid():
            return nn.Sigmoid()
        case layers.SiLU():
            return nn.SiLU()
        case layers.GELU():
            return nn.GELU(layer.approximate)
        case layers.LeakyReLU():
            return nn.LeakyReLU(layer.slope)
        case layers.Softplus():
            return nn.Softplus()
    raise NotExpressibleError(path, "a layer that the torch wing knows", layer.kind, "Use a layer of paritree.")
