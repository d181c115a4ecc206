"""Layers one by one against layers stacked for a scan: along any axis, and with numbers of which a layer has one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from .case import Packed, Sizes, Weights, filled, linen_port, nnx_port, sequences, tree_port, under
from .projections import TorchAttention, attended


class Layer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(sizes.width), TorchAttention(sizes, "apart")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.attention(self.norm(x))


class Layers(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class LinenLayer(linen.Module):
    sizes: Sizes

    @linen.compact
    def __call__(self, x: Any, _: Any) -> Any:
        y, heads = linen.LayerNorm(epsilon=1e-5, name="norm")(x), (self.sizes.heads, self.sizes.head_width)
        query, key, value = (linen.DenseGeneral(heads, name=name)(y).swapaxes(1, 2) for name in NAMES)
        mixed = attended(query, key, value, causal=True).swapaxes(1, 2)
        return x + linen.DenseGeneral(self.sizes.width, axis=(-2, -1), name="out")(mixed), None


class LinenLayers(linen.Module):
    sizes: Sizes
    axis: int

    @linen.compact
    def __call__(self, x: Any) -> Any:
        axes, length = {"params": self.axis}, self.sizes.layers
        scanned = linen.scan(LinenLayer, variable_axes=axes, split_rngs={"params": True}, length=length)
        return scanned(self.sizes, name="layers")(x, None)[0]


class NNXLayer(nnx.Module):
    def __init__(self, sizes: Sizes, rngs: nnx.Rngs) -> None:
        heads = (sizes.heads, sizes.head_width)
        self.norm = nnx.LayerNorm(sizes.width, epsilon=1e-5, rngs=rngs)
        self.query, self.key, self.value = (nnx.LinearGeneral(sizes.width, heads, rngs=rngs) for _ in NAMES)
        self.out = nnx.LinearGeneral(heads, sizes.width, axis=(-2, -1), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        y = self.norm(x)
        query, key, value = (layer(y).swapaxes(1, 2) for layer in (self.query, self.key, self.value))
        return x + self.out(attended(query, key, value, causal=True).swapaxes(1, 2))


class NNXLayers(nnx.Module):
    def __init__(self, sizes: Sizes, axis: int, rngs: nnx.Rngs) -> None:
        self.axes = nnx.StateAxes({nnx.Param: axis})
        make = nnx.vmap(lambda rngs: NNXLayer(sizes, rngs), out_axes=self.axes)
        self.layers = make(rngs.split(sizes.layers))

    def __call__(self, x: Any) -> Any:
        def call(x: Any, layer: NNXLayer) -> Any:
            return layer(x)

        return nnx.scan(call, in_axes=(nnx.Carry, self.axes), out_axes=nnx.Carry)(x, self.layers)


NAMES = ("query", "key", "value")


def attention_stack(wing: str, sizes: Sizes, axis: int) -> Packed:
    """Along the second axis the stack lies between heads and head width where the heads are mixed."""

    def layer(weights: Weights, prefix: str) -> dict[str, np.ndarray]:
        found = {f"norm.{name}": weights[f"{prefix}norm.{of}"] for name, of in (("scale", "weight"), ("bias", "bias"))}
        for name in NAMES:
            kernel = weights[f"{prefix}attention.{name}.weight"].T
            found[f"{name}.kernel"] = kernel.reshape(-1, sizes.heads, sizes.head_width)
            found[f"{name}.bias"] = weights[f"{prefix}attention.{name}.bias"].reshape(sizes.heads, -1)
        out = weights[f"{prefix}attention.out.weight"].T
        found["out.kernel"] = out.reshape(sizes.heads, -1, sizes.width)
        return found | {"out.bias": weights[f"{prefix}attention.out.bias"]}

    def carried(weights: Weights) -> Weights:
        layers = [layer(weights, f"layers.{number}.") for number in range(sizes.layers)]
        found = {path: np.stack([each[path] for each in layers], axis) for path in layers[0]}
        return under("params.layers" if wing == "linen" else "layers", found)

    inputs = (sequences(sizes.width),)
    if wing == "linen":
        port = linen_port(LinenLayers(sizes, axis), *inputs)
    else:
        port = nnx_port(lambda rngs: NNXLayers(sizes, axis, rngs))
    return Packed(filled(Layers(sizes)), port, inputs, carried)


class Gated(nn.Module):
    """Residual layers, each with a number that it is weighed by."""

    def __init__(self, width: int, layers: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.gates = nn.ParameterList(nn.Parameter(torch.zeros(shape)) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, gate in zip(self.layers, self.gates, strict=True):
            x = x + gate * torch.tanh(layer(x))
        return x


def gates(width: int, layers: int, shape: tuple[int, ...], scanned: bool) -> Packed:
    """All gates of the port in one vector; its layers one by one, or scanned."""

    def call(tree: Any, given: Any) -> Any:
        x, stacked = given[0], tree["layers"]
        for number, gate in enumerate(tree["gates"]):
            layer = jax.tree.map(lambda array, at=number: array[at], stacked) if scanned else stacked[number]
            x = x + gate * jnp.tanh(x @ layer["w"] + layer["b"])
        return x

    def carried(weights: Weights) -> Weights:
        layers = [
            {"w": weights[f"layers.{number}.weight"].T, "b": weights[f"layers.{number}.bias"]}
            for number in range(layers_)
        ]
        found = {"gates": np.concatenate([weights[f"gates.{number}"].reshape(1) for number in range(layers_)])}
        if scanned:
            return found | {f"layers.{path}": np.stack([each[path] for each in layers]) for path in ("w", "b")}
        return found | {f"layers.{number}.{path}": each[path] for number, each in enumerate(layers) for path in each}

    layers_, before = layers, (layers,) if scanned else ()
    one = {"w": (*before, width, width), "b": (*before, width)}
    port = tree_port({"gates": (layers,), "layers": one if scanned else [one] * layers})
    return Packed(filled(Gated(width, layers, shape)), port, (sequences(width),), carried, (None, call))
