"""torch's own attention and encoder, whose projections are packed, against Flax's three of (E, H, D) each.

The encoder's layers are one by one on one side, and on the other also stacked on a leading axis for a scan.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import linen, nnx
from torch import nn

from .case import Packed, Sizes, Weights, dense, filled, linen_port, nnx_port, norm, sequences, stacked, under

EPS = 1e-5


def projection(kernel: np.ndarray, bias: np.ndarray, heads: int, name: str) -> dict[str, np.ndarray]:
    """(H*D, E) as (E, H, D)."""
    return {
        f"{name}.kernel": kernel.T.reshape(kernel.shape[1], heads, -1),
        f"{name}.bias": bias.reshape(heads, -1),
    }


def attention_arrays(weights: Weights, layer: str, heads: int) -> dict[str, np.ndarray]:
    """The parts of a torch MultiheadAttention as Flax has them."""
    if f"{layer}in_proj_weight" in weights:
        kernels = np.split(weights[f"{layer}in_proj_weight"], 3)
    else:
        kernels = [weights[f"{layer}{name}_proj_weight"] for name in "qkv"]
    found: dict[str, np.ndarray] = {}
    biases = np.split(weights[f"{layer}in_proj_bias"], 3)
    for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
        found |= projection(kernel, bias, heads, name)
    out = weights[f"{layer}out_proj.weight"]
    return found | {
        "out.kernel": out.T.reshape(heads, -1, out.shape[0]),
        "out.bias": weights[f"{layer}out_proj.bias"],
    }


def attention(wing: str, sizes: Sizes) -> Packed:
    reference = filled(nn.MultiheadAttention(sizes.width, sizes.heads, batch_first=True))
    inputs = (sequences(sizes.width),)
    prefix = "params." if wing == "linen" else ""
    if wing == "linen":
        port = linen_port(linen.MultiHeadDotProductAttention(sizes.heads), *inputs)
    else:
        port = nnx_port(lambda rngs: nnx.MultiHeadAttention(sizes.heads, sizes.width, decode=False, rngs=rngs))

    def carried(weights: Weights) -> Weights:
        return {prefix + path: array for path, array in attention_arrays(weights, "", sizes.heads).items()}

    calls = (lambda model, given: model(*given * 3)[0]), None
    return Packed(reference, port, inputs, carried, calls, coarse=wing == "nnx")


def cross_attention(sizes: Sizes) -> Packed:
    """Keys and values of other widths: torch's kernels are separate then, and its biases still packed."""
    wide = {"kdim": sizes.width + 1, "vdim": sizes.width - 1}
    reference = filled(nn.MultiheadAttention(sizes.width, sizes.heads, batch_first=True, **wide))
    inputs = tuple(sequences(width, 5 + (width != sizes.width)) for width in (sizes.width, *wide.values()))
    module = linen.MultiHeadDotProductAttention(sizes.heads, qkv_features=sizes.width, out_features=sizes.width)

    def carried(weights: Weights) -> Weights:
        return under("params", attention_arrays(weights, "", sizes.heads))

    calls = (lambda model, given: model(*given)[0]), None
    return Packed(reference, linen_port(module, *inputs), inputs, carried, calls)


class LinenBlock(linen.Module):
    sizes: Sizes

    @linen.compact
    def __call__(self, x: Any) -> Any:
        y = linen.MultiHeadDotProductAttention(self.sizes.heads, name="attention")(x)
        x = linen.LayerNorm(EPS, name="norm1")(x + y)
        y = linen.Dense(self.sizes.width, name="down")(linen.relu(linen.Dense(self.sizes.inner, name="up")(x)))
        return linen.LayerNorm(EPS, name="norm2")(x + y)


class LinenEncoder(linen.Module):
    sizes: Sizes
    scanned: bool

    @linen.compact
    def __call__(self, x: Any) -> Any:
        layers = self.sizes.layers
        if not self.scanned:
            for layer in range(layers):
                x = LinenBlock(self.sizes, name=f"block_{layer}")(x)
            return x
        each = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "length": layers}
        scan = linen.scan(lambda block, x, _: (block(x), None), **each)
        return scan(LinenBlock(self.sizes, name="blocks"), x, None)[0]


class NnxBlock(nnx.Module):
    def __init__(self, sizes: Sizes, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(sizes.heads, sizes.width, decode=False, rngs=rngs)
        self.norm1, self.norm2 = (nnx.LayerNorm(sizes.width, epsilon=EPS, rngs=rngs) for _ in range(2))
        self.up = nnx.Linear(sizes.width, sizes.inner, rngs=rngs)
        self.down = nnx.Linear(sizes.inner, sizes.width, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.down(nnx.relu(self.up(x))))


class NnxEncoder(nnx.Module):
    def __init__(self, sizes: Sizes, scanned: bool, rngs: nnx.Rngs) -> None:
        self.scanned = scanned
        if scanned:
            make = nnx.split_rngs(splits=sizes.layers)(nnx.vmap(lambda rngs: NnxBlock(sizes, rngs)))
            self.blocks = make(rngs)
        else:
            self.blocks = nnx.List([NnxBlock(sizes, rngs) for _ in range(sizes.layers)])

    def __call__(self, x: Any) -> Any:
        if not self.scanned:
            for block in self.blocks:
                x = block(x)
            return x
        graph, state = nnx.split(self.blocks)
        return jax.lax.scan(lambda x, layer: (nnx.merge(graph, layer)(x), None), x, state)[0]


def encoder(wing: str, sizes: Sizes, scanned: bool) -> Packed:
    layer = nn.TransformerEncoderLayer(sizes.width, sizes.heads, sizes.inner, dropout=0.0, batch_first=True)
    reference = filled(nn.TransformerEncoder(layer, sizes.layers, enable_nested_tensor=False))
    inputs = (sequences(sizes.width),)
    if wing == "linen":
        port, one, all_ = linen_port(LinenEncoder(sizes, scanned), *inputs), "params.block_{}", "params.blocks"
    else:
        port, one, all_ = nnx_port(lambda rngs: NnxEncoder(sizes, scanned, rngs)), "blocks.{}", "blocks"

    def carried(weights: Weights) -> Weights:
        layers = [_block_arrays(weights, f"layers.{layer}", sizes) for layer in range(sizes.layers)]
        if scanned:
            return under(all_, stacked(layers))
        return {path: each for i, layer in enumerate(layers) for path, each in under(one.format(i), layer).items()}

    return Packed(reference, port, inputs, carried, coarse=wing == "nnx")


def _block_arrays(weights: Weights, layer: str, sizes: Sizes) -> dict[str, np.ndarray]:
    return (
        under("attention", attention_arrays(weights, f"{layer}.self_attn.", sizes.heads))
        | norm(weights, f"{layer}.norm1", "norm1")
        | norm(weights, f"{layer}.norm2", "norm2")
        | dense(weights, f"{layer}.linear1", "up")
        | dense(weights, f"{layer}.linear2", "down")
    )
