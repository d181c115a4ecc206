"""Projections that share a tensor on one side: QKV, gate and up, experts, layers; and axes that are merged.

How a side stores several projections is written as einops writes it, over the axes t (which projection), h (head),
d (feature of a head), f (feature) and e (input): torch's `(t h d) e`, interleaved `(h t d) e`, a port's `e t h d`.
`apart` stands for a tensor of its own for each.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from einops import rearrange
from flax import linen, nnx
from torch import nn
from torch.nn import functional

from .case import Packed, Sizes, Weights, dense, filled, linen_port, nnx_port, sequences, tree_port, under
from .encoders import projection

APART_TENSORS = "apart"


def without_input(layout: str) -> str:
    """The layout of the bias: `e t h d` without e."""
    return layout.replace("e", "").strip()


class TorchAttention(nn.Module):
    """Causal self-attention. layout: of the fused projection's features, `(t h d)` or `(h t d)`, or `apart`."""

    def __init__(self, sizes: Sizes, layout: str) -> None:
        super().__init__()
        self.heads, self.layout = sizes.heads, layout
        if layout == APART_TENSORS:
            self.query, self.key, self.value = (nn.Linear(sizes.width, sizes.width) for _ in range(3))
        else:
            self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layout == APART_TENSORS:
            made = torch.stack([self.query(x), self.key(x), self.value(x)])
            parts = rearrange(made, "t b s (h d) -> t b h s d", h=self.heads)
        else:
            parts = rearrange(self.qkv(x), f"b s {self.layout} -> t b h s d", t=3, h=self.heads)
        mixed = functional.scaled_dot_product_attention(*parts, is_causal=True)
        return self.out(rearrange(mixed, "b h s d -> b s (h d)"))


def attended(query: Any, key: Any, value: Any, causal: bool = False, scale: float | None = None) -> Any:
    """The values (batch, head, position, feature) mixed by attention."""
    scores = query @ key.swapaxes(-1, -2) * (scale or query.shape[-1] ** -0.5)
    hidden = jnp.triu(jnp.ones(scores.shape[-2:], bool), 1)
    return jax.nn.softmax(jnp.where(hidden, -jnp.inf, scores) if causal else scores) @ value


class LinenAttention(linen.Module):
    """The same. layout: of the fused kernel, such as `e t h d`, or `apart`."""

    sizes: Sizes
    layout: str

    @linen.compact
    def __call__(self, x: Any) -> Any:
        heads, features = self.sizes.heads, self.sizes.head_width
        if self.layout == APART_TENSORS:
            made = [linen.Dense(self.sizes.width, name=name)(x) for name in ("query", "key", "value")]
            parts = rearrange(jnp.stack(made), "t b s (h d) -> t b h s d", h=heads)
        else:
            sizes = {"t": 3, "h": heads, "d": features}
            shape = rearrange(np.empty((self.sizes.width, 3, heads, features)), f"e t h d -> {self.layout}").shape
            kernel = self.param("kernel", linen.initializers.zeros, shape)
            bias = self.param("bias", linen.initializers.zeros, shape_of_bias(self.layout, **sizes))
            kernel = rearrange(kernel, f"{self.layout} -> t e h d", **sizes)
            bias = rearrange(bias, f"{without_input(self.layout)} -> t 1 h 1 d", **sizes)
            parts = jnp.einsum("bse,tehd->tbhsd", x, kernel) + bias
        mixed = attended(*parts, causal=True)
        return linen.Dense(self.sizes.width, name="out")(rearrange(mixed, "b h s d -> b s (h d)"))


def shape_of_bias(layout: str, t: int, h: int, d: int) -> tuple[int, ...]:
    return rearrange(np.empty((t, h, d)), f"t h d -> {without_input(layout)}").shape


def fused_attention(sizes: Sizes, ours: str, theirs: str) -> Packed:
    """ours, theirs: the layouts of the reference's features and of the port's kernel."""
    lengths = {"t": 3, "h": sizes.heads}

    def carried(weights: Weights) -> Weights:
        names = ("query", "key", "value")
        if ours == APART_TENSORS:
            kernel = np.concatenate([weights[f"{name}.weight"] for name in names])
            bias = np.concatenate([weights[f"{name}.bias"] for name in names])
        else:
            kernel = rearrange(weights["qkv.weight"], f"{ours} e -> (t h d) e", **lengths)
            bias = rearrange(weights["qkv.bias"], f"{ours} -> (t h d)", **lengths)
        found = dense(weights, "out", "out")
        if theirs == APART_TENSORS:
            for name, rows, entries in zip(names, np.split(kernel, 3), np.split(bias, 3), strict=True):
                found |= {f"{name}.kernel": rows.T, f"{name}.bias": entries}
        else:
            found["kernel"] = rearrange(kernel, f"(t h d) e -> {theirs}", **lengths)
            found["bias"] = rearrange(bias, f"(t h d) -> {without_input(theirs)}", **lengths)
        return under("params", found)

    inputs = (sequences(sizes.width),)
    port = linen_port(LinenAttention(sizes, theirs), *inputs)
    return Packed(filled(TorchAttention(sizes, ours)), port, inputs, carried)


class GroupedAttention(nn.Module):
    """Heads of the query share keys and values, so that the fused projection has unequal parts."""

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.lengths = [width, groups * width // heads, groups * width // heads]
        self.head_width = width // heads
        self.qkv, self.out = nn.Linear(width, sum(self.lengths)), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.qkv(x).split(self.lengths, -1)
        query, key, value = (rearrange(part, "b s (h d) -> b h s d", d=self.head_width) for part in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)
        return self.out(rearrange(mixed, "b h s d -> b s (h d)"))


def grouped_attention(width: int, heads: int, groups: int) -> Packed:
    def carried(weights: Weights) -> Weights:
        lengths = (heads, groups, groups)
        cuts = np.cumsum(lengths)[:-1] * (width // heads)
        found: dict[str, np.ndarray] = {"out.bias": weights["out.bias"]}
        found["out.kernel"] = weights["out.weight"].T.reshape(heads, -1, width)
        parts = zip(np.split(weights["qkv.weight"], cuts), np.split(weights["qkv.bias"], cuts), strict=True)
        for name, count, (kernel, bias) in zip(("query", "key", "value"), lengths, parts, strict=True):
            found |= projection(kernel, bias, count, name)
        return found

    port = nnx_port(lambda rngs: nnx.MultiHeadAttention(heads, width, num_kv_heads=groups, decode=False, rngs=rngs))
    return Packed(filled(GroupedAttention(width, heads, groups)), port, (sequences(width),), carried, coarse=True)


class GatedUnit(nn.Module):
    """layout: of the fused features, `(t f)` one after the other, `(f t)` by turns, or `apart`."""

    def __init__(self, width: int, inner: int, layout: str) -> None:
        super().__init__()
        self.layout = layout
        if layout == APART_TENSORS:
            self.gate, self.up = nn.Linear(width, inner), nn.Linear(width, inner)
        else:
            self.gate_up = nn.Linear(width, 2 * inner)
        self.down = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layout == APART_TENSORS:
            gate, up = self.gate(x), self.up(x)
        elif self.layout == "(t f)":
            gate, up = self.gate_up(x).chunk(2, -1)
        else:
            y = self.gate_up(x)
            gate, up = y[..., ::2], y[..., 1::2]
        return self.down(functional.silu(gate) * up)


def gated_call(tree: Any, given: Any, layout: str) -> Any:
    (x,) = given
    if layout == APART_TENSORS:
        gate, up = (x @ tree[name]["kernel"] + tree[name]["bias"] for name in ("gate", "up"))
    else:
        kernel = rearrange(tree["gate_up"]["kernel"], f"{layout} -> t e f", t=2)
        bias = rearrange(tree["gate_up"]["bias"], f"{without_input(layout)} -> t f", t=2)
        gate, up = (x @ kernel[part] + bias[part] for part in range(2))
    return (jax.nn.silu(gate) * up) @ tree["down"]["kernel"] + tree["down"]["bias"]


def gated_unit(width: int, inner: int, ours: str, theirs: str) -> Packed:
    """The port is a bare tree, nested."""

    def carried(weights: Weights) -> Weights:
        if ours == APART_TENSORS:
            kernel, bias = (np.stack([weights[f"{name}.{kind}"] for name in ("gate", "up")]) for kind in KINDS)
        else:
            kernel = rearrange(weights["gate_up.weight"], f"{ours} e -> t f e", t=2)
            bias = rearrange(weights["gate_up.bias"], f"{ours} -> t f", t=2)
        found = dense(weights, "down", "down")
        if theirs == APART_TENSORS:
            for part, name in enumerate(("gate", "up")):
                found |= {f"{name}.kernel": kernel[part].T, f"{name}.bias": bias[part]}
            return found
        bias = rearrange(bias, f"t f -> {without_input(theirs)}")
        return found | {"gate_up.kernel": rearrange(kernel, f"t f e -> {theirs}"), "gate_up.bias": bias}

    shapes = {"down": {"kernel": (inner, width), "bias": (width,)}}
    if theirs == APART_TENSORS:
        shapes |= {name: {"kernel": (width, inner), "bias": (inner,)} for name in ("gate", "up")}
    else:
        kernel = rearrange(np.empty((2, inner, width)), f"t f e -> {theirs}").shape
        bias = rearrange(np.empty((2, inner)), f"t f -> {without_input(theirs)}").shape
        shapes["gate_up"] = {"kernel": kernel, "bias": bias}
    reference = filled(GatedUnit(width, inner, ours))
    calls = None, lambda tree, given: gated_call(tree, given, theirs)
    return Packed(reference, tree_port(shapes), (sequences(width),), carried, calls)


KINDS = ("weight", "bias")


class Experts(nn.Module):
    """All experts answer, weighted by the router."""

    def __init__(self, width: int, inner: int, experts: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)) for _ in range(experts)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answers = torch.stack([expert(x) for expert in self.experts], -1)
        return (answers * self.router(x).softmax(-1)[..., None, :]).sum(-1)


class LinenExperts(linen.Module):
    """One tensor for each projection of all experts."""

    width: int
    inner: int
    experts: int

    @linen.compact
    def __call__(self, x: Any) -> Any:
        zeros, x_ = linen.initializers.zeros, self.experts
        up, up_bias = self.param("up", zeros, (x_, self.width, self.inner)), self.param("b1", zeros, (x_, self.inner))
        down = self.param("down", zeros, (x_, self.inner, self.width))
        down_bias = self.param("b2", zeros, (x_, self.width))
        weights = jax.nn.softmax(linen.Dense(self.experts, use_bias=False, name="router")(x))
        hidden = jax.nn.gelu(jnp.einsum("bse,xef->bsxf", x, up) + up_bias, approximate=False)
        return jnp.einsum("bsxe,bsx->bse", jnp.einsum("bsxf,xfe->bsxe", hidden, down) + down_bias, weights)


def experts(width: int, inner: int, count: int) -> Packed:
    def carried(weights: Weights) -> Weights:
        def stack(name: str) -> np.ndarray:
            return np.stack([weights[f"experts.{each}.{name}"].T for each in range(count)])

        names = {"up": "0.weight", "b1": "0.bias", "down": "2.weight", "b2": "2.bias"}
        return under("params", {ours: stack(name) for ours, name in names.items()} | dense(weights, "router", "router"))

    inputs = (sequences(width),)
    port = linen_port(LinenExperts(width, inner, count), *inputs)
    return Packed(filled(Experts(width, inner, count)), port, inputs, carried)


class MergedHeads(nn.Module):
    """Two dense layers; what is between them treats the features by heads."""

    def __init__(self, sizes: Sizes, outputs: int) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.enter, self.leave = nn.Linear(sizes.inner, sizes.width), nn.Linear(sizes.width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = rearrange(self.enter(x), "b s (h d) -> b s h d", h=self.heads)
        return self.leave(rearrange(y * y.softmax(-1), "b s h d -> b s (h d)"))


class LinenMergedHeads(linen.Module):
    sizes: Sizes
    outputs: int

    @linen.compact
    def __call__(self, x: Any) -> Any:
        y = linen.DenseGeneral((self.sizes.heads, self.sizes.head_width), name="enter")(x)
        return linen.DenseGeneral(self.outputs, axis=(-2, -1), name="leave")(y * jax.nn.softmax(y))


def merged_heads(sizes: Sizes, outputs: int) -> Packed:
    def carried(weights: Weights) -> Weights:
        found = projection(weights["enter.weight"], weights["enter.bias"], sizes.heads, "enter")
        found["leave.kernel"] = weights["leave.weight"].T.reshape(sizes.heads, -1, outputs)
        return under("params", found | {"leave.bias": weights["leave.bias"]})

    inputs = (sequences(sizes.inner),)
    port = linen_port(LinenMergedHeads(sizes, outputs), *inputs)
    return Packed(filled(MergedHeads(sizes, outputs)), port, inputs, carried)


class Residuals(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


def residuals(width: int, layers: int) -> Packed:
    """Square layers, scanned; with as many layers as features no axis is like no other."""

    def call(tree: Any, given: Any) -> Any:
        return jax.lax.scan(lambda x, layer: (x + jnp.tanh(x @ layer["w"] + layer["b"]), None), given[0], tree)[0]

    def carried(weights: Weights) -> Weights:
        kernels, biases = (np.stack([weights[f"layers.{i}.{kind}"] for i in range(layers)]) for kind in KINDS)
        return {"w": kernels.swapaxes(1, 2), "b": biases}

    port = tree_port({"w": (layers, width, width), "b": (layers, width)})
    return Packed(filled(Residuals(width, layers)), port, (sequences(width),), carried, (None, call))
