"""Tied embeddings in models that also pack, and bare trees in which a tie is one array that is used twice."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen
from torch import nn

from .case import Packed, Sizes, Weights, filled, linen_port, sequences, tokens, tree_port, under
from .projections import (
    APART_TENSORS,
    KINDS,
    GatedUnit,
    LinenAttention,
    TorchAttention,
    fused_attention,
    gated_call,
    gated_unit,
)


class TorchModel(nn.Module):
    """Words, one layer with a residual, and the head tied to the words."""

    def __init__(self, words: int, width: int, layer: nn.Module) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(words, width), layer
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens)
        return self.head(x + self.layer(x))


class LinenModel(linen.Module):
    words: int
    sizes: Sizes
    tied: bool

    @linen.compact
    def __call__(self, tokens: Any) -> Any:
        words = linen.Embed(self.words, self.sizes.width, name="words")
        x = words(tokens)
        x = x + LinenAttention(self.sizes, APART_TENSORS, name="layer")(x)
        return words.attend(x) if self.tied else linen.Dense(self.words, use_bias=False, name="head")(x)


def tied_attention(words: int, sizes: Sizes, tied: bool = True) -> Packed:
    """tied: whether the port is; without it is a fault."""
    layer = fused_attention(sizes, "(t h d)", APART_TENSORS)
    reference = filled(TorchModel(words, sizes.width, TorchAttention(sizes, "(t h d)")))
    inputs = (tokens(words),)

    def carried(weights: Weights) -> Weights:
        found = {"params.words.embedding": weights["words.weight"]}
        for path, array in layer.carried(_inside(weights)).items():
            found[path.replace("params.", "params.layer.")] = array
        return found if tied else found | {"params.head.kernel": weights["head.weight"].T}

    return Packed(reference, linen_port(LinenModel(words, sizes, tied), *inputs), inputs, carried)


def _inside(weights: Weights) -> Weights:
    return {path.removeprefix("layer."): array for path, array in weights.items() if path.startswith("layer.")}


def tied_tree(words: int, width: int, inner: int, twice: bool) -> Packed:
    """twice: whether the tree lists the array again, as the head, which is a fault: no transformation keeps it one."""
    layer = gated_unit(width, inner, "(t f)", APART_TENSORS)

    def call(tree: Any, given: Any) -> Any:
        x = tree["words"][given[0]]
        return (x + gated_call(tree["layer"], (x,), APART_TENSORS)) @ tree["head" if twice else "words"].T

    def carried(weights: Weights) -> Weights:
        found = {"words": weights["words.weight"]} | under("layer", layer.carried(_inside(weights)))
        return found | {"head": weights["words.weight"]} if twice else found

    port = {"words": tree_port((words, width)), "layer": layer.port}
    if twice:
        port["head"] = port["words"]
    reference = filled(TorchModel(words, width, GatedUnit(width, inner, "(t f)")))
    return Packed(reference, port, (tokens(words),), carried, (None, call))


class Branches(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.deep, self.flat = nn.Linear(width, inner), nn.Linear(width, width)
        self.out = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.deep(x))) + torch.tanh(self.flat(x))


def fused_tree(width: int, inner: int) -> Packed:
    """Two layers of unequal widths that read the same input are one block in the port, a tree with lists."""

    def call(tree: Any, given: Any) -> Any:
        kernel, bias = tree["block"]
        deep, plain = jnp.split(given[0] @ kernel + bias, [inner], -1)
        return jax.nn.relu(deep) @ tree["out"][0] + tree["out"][1] + jnp.tanh(plain)

    def carried(weights: Weights) -> Weights:
        kernel, bias = (np.concatenate([weights[f"{name}.{kind}"] for name in ("deep", "flat")]) for kind in KINDS)
        out = weights["out.weight"].T, weights["out.bias"]
        return {"block.0": kernel.T, "block.1": bias, "out.0": out[0], "out.1": out[1]}

    port = tree_port({"block": [(width, inner + width), (inner + width,)], "out": [(inner, width), (width,)]})
    return Packed(filled(Branches(width, inner)), port, (sequences(width),), carried, (None, call))
