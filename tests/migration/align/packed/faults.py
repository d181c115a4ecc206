"""Ports that are not the same model, though every tensor has a partner of its size: no map may be called proved.

`carried` is the nearest map there is. Under it the outputs differ, or, where a tie is lost, only the gradients.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from einops import rearrange
from flax import nnx
from torch import nn
from torch.nn import functional

from .case import ALIKE, Packed, Sizes, Weights, filled, nnx_port, sequences, tree_port
from .projections import GatedUnit, Residuals, attended, fused_attention, gated_call, gated_unit
from .recurrent import FIRST, NnxRecurrent
from .ties import tied_attention, tied_tree


def lost_tie() -> Packed:
    return tied_attention(9, ALIKE, tied=False)


def tie_under_two_keys() -> Packed:
    return tied_tree(9, 5, 7, twice=True)


class Twice(nn.Module):
    """One fused unit, used twice."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.unit = GatedUnit(width, inner, "(t f)")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.unit(x)
        return x + self.unit(x)


def slices_swapped_at_the_second_use(width: int = 4, inner: int = 6) -> Packed:
    """Where one use reads gate and up, the other reads up and gate: whatever the map is, one of them is wrong."""
    unit = gated_unit(width, inner, "(t f)", "e t f")

    def call(tree: Any, given: Any) -> Any:
        (x,) = given
        x = x + gated_call(tree, (x,), "e t f")
        turned = {"gate_up": {"kernel": tree["gate_up"]["kernel"][:, ::-1], "bias": tree["gate_up"]["bias"][::-1]}}
        return x + gated_call(tree | turned, (x,), "e t f")

    def carried(weights: Weights) -> Weights:
        return unit.carried({path.removeprefix("unit."): array for path, array in weights.items()})

    return Packed(filled(Twice(width, inner)), unit.port, unit.inputs, carried, (None, call))


def slice_used_twice(width: int = 4, inner: int = 6) -> Packed:
    """The port reads the gate's slice for both and leaves the other one alone."""
    unit = gated_unit(width, inner, "(t f)", "e t f")

    def call(tree: Any, given: Any) -> Any:
        one = {
            "kernel": tree["gate_up"]["kernel"][:, :1].repeat(2, 1),
            "bias": tree["gate_up"]["bias"][:1].repeat(2, 0),
        }
        return gated_call(tree | {"gate_up": one}, given, "e t f")

    return unit._replace(calls=(None, call))


def layer_used_twice(width: int = 4, layers: int = 2) -> Packed:
    """The port runs the first of its stacked layers in the place of the last as well."""

    def call(tree: Any, given: Any) -> Any:
        x = given[0]
        for layer in (*range(layers - 1), 0):
            x = x + jnp.tanh(x @ tree["w"][layer] + tree["b"][layer])
        return x

    def carried(weights: Weights) -> Weights:
        kernels, biases = (
            np.stack([weights[f"layers.{i}.{kind}"] for i in range(layers)]) for kind in ("weight", "bias")
        )
        return {"w": kernels.swapaxes(1, 2), "b": biases}

    port = tree_port({"w": (layers, width, width), "b": (layers, width)})
    return Packed(filled(Residuals(width, layers)), port, (sequences(width),), carried, (None, call))


class UnitAttention(nn.Module):
    """Queries and keys of length 1, so that no size of a kernel makes up for another scale of the scores."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = rearrange(self.qkv(x), "b s (t h d) -> t b h s d", t=3, h=self.heads)
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        return functional.scaled_dot_product_attention(query, key, value)


def split_parts(tree: Any, x: Any) -> Any:
    """Queries, keys and values (batch, head, position, feature) from a kernel (e, t, h, d)."""
    parts = jnp.einsum("bse,ethd->bsthd", x, tree["kernel"]) + tree["bias"]
    return rearrange(parts, "b s t h d -> t b h s d")


def wrong_scale_of_unit_queries(sizes: Sizes = ALIKE) -> Packed:
    """The root of the whole width in the place of that of a head's."""

    def call(tree: Any, given: Any) -> Any:
        query, key, value = split_parts(tree, given[0])
        query, key = (each / jnp.linalg.norm(each, axis=-1, keepdims=True) for each in (query, key))
        return attended(query, key, value, scale=sizes.width**-0.5)

    def carried(weights: Weights) -> Weights:
        lengths = {"t": 3, "h": sizes.heads}
        kernel = rearrange(weights["qkv.weight"], "(t h d) e -> e t h d", **lengths)
        return {"kernel": kernel, "bias": rearrange(weights["qkv.bias"], "(t h d) -> t h d", **lengths)}

    parts = (3, sizes.heads, sizes.head_width)
    port = tree_port({"kernel": (sizes.width, *parts), "bias": parts})
    return Packed(filled(UnitAttention(sizes)), port, (sequences(sizes.width),), carried, (None, call))


def wrong_scale(sizes: Sizes = ALIKE) -> Packed:
    """As above, but queries of any length: a map may make up for it by a query larger in the same proportion."""
    right = fused_attention(sizes, "(t h d)", "e t h d")

    def call(model: Any, given: Any) -> Any:
        tree = model[1]["params"]
        mixed = attended(*split_parts(tree, given[0]), causal=True, scale=sizes.width**-0.5)
        return rearrange(mixed, "b h s d -> b s (h d)") @ tree["out"]["kernel"] + tree["out"]["bias"]

    return right._replace(calls=(None, call))


def no_place_for_a_bias(features: int = 4, width: int = 3) -> Packed:
    """torch's GRU has a bias inside the reset gate's product, `nnx.GRUCell` none."""

    def carried(weights: Weights) -> Weights:
        inside = np.split(weights["bias_hh_l0"], 3)
        return {
            "cell.dense_i.kernel": weights["weight_ih_l0"].T,
            "cell.dense_h.kernel": weights["weight_hh_l0"].T,
            "cell.dense_i.bias": weights["bias_ih_l0"] + np.concatenate([*inside[:2], 0 * inside[2]]),
        }

    port = nnx_port(lambda rngs: NnxRecurrent(nnx.GRUCell, width, features, rngs))
    return Packed(filled(nn.GRU(width, features, batch_first=True)), port, (sequences(width),), carried, FIRST)
