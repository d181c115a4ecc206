"""Values that one side stores changed: a norm's gain less 1, an embedding by the root of its width."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen
from torch import nn

from .case import Packed, Weights, dense, filled, linen_port, sequences, tokens, tree_port, under

EPS = 1e-6


class TorchNorms(nn.Module):
    """extra: what is added to the stored gains."""

    def __init__(self, width: int, inner: int, extra: float) -> None:
        super().__init__()
        self.extra = extra
        self.gain1, self.gain2 = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(inner))
        self.dense1, self.dense2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.dense1(self._norm(x, self.gain1)))
        return self.dense2(self._norm(x, self.gain2))

    def _norm(self, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * (self.extra + gain)


class LinenNorm(linen.Module):
    extra: float

    @linen.compact
    def __call__(self, x: Any) -> Any:
        gain = self.param("scale", linen.initializers.zeros, (x.shape[-1],))
        return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + EPS) * (self.extra + gain)


class LinenNorms(linen.Module):
    width: int
    inner: int
    extra: float

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.relu(linen.Dense(self.inner, name="dense1")(LinenNorm(self.extra, name="norm1")(x)))
        return linen.Dense(self.width, name="dense2")(LinenNorm(self.extra, name="norm2")(x))


def norms(width: int, inner: int, ours: float, theirs: float) -> Packed:
    """ours, theirs: what each side adds to the gains that it stores."""

    def carried(weights: Weights) -> Weights:
        found = dense(weights, "dense1", "dense1") | dense(weights, "dense2", "dense2")
        gains = {f"norm{layer}.scale": weights[f"gain{layer}"] + (ours - theirs) for layer in (1, 2)}
        return under("params", found | gains)

    inputs = (sequences(width),)
    port = linen_port(LinenNorms(width, inner, theirs), *inputs)
    return Packed(filled(TorchNorms(width, inner, ours)), port, inputs, carried)


class TorchWords(nn.Module):
    """factor: what the looked-up embedding is multiplied by; the head takes it as it would be without."""

    def __init__(self, words: int, width: int, factor: float, tied: bool) -> None:
        super().__init__()
        self.factor = factor
        self.words, self.dense = nn.Embedding(words, width), nn.Linear(width, width)
        self.head = nn.Linear(width, words, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens) * self.factor
        return self.head(x + torch.tanh(self.dense(x)))


def scaled_words(words: int, width: int, tied: bool, inside: bool) -> Packed:
    """inside: whether the reference's program, and not the port's array, has the factor.

    Where the head is tied to an array that has it, the head takes it away again.
    """
    root = math.sqrt(width)
    change = root if inside else 1 / root
    ours, theirs = (root, 1.0) if inside else (1.0, root)

    def call(tree: Any, given: Any) -> Any:
        x = tree["words"][given[0]] * theirs
        head = tree["words"].T / change if tied else tree["head"]
        return (x + jnp.tanh(x @ tree["dense"]["kernel"] + tree["dense"]["bias"])) @ head

    def carried(weights: Weights) -> Weights:
        array = weights["words.weight"]
        found = {"words": array * array.dtype.type(root) if inside else array / array.dtype.type(root)}
        found |= dense(weights, "dense", "dense")
        return found if tied else found | {"head": weights["head.weight"].T}

    shapes = {"words": (words, width), "dense": {"kernel": (width, width), "bias": (width,)}}
    reference = filled(TorchWords(words, width, ours, tied))
    port = tree_port(shapes if tied else shapes | {"head": (width, words)})
    return Packed(reference, port, (tokens(words),), carried, (None, call), rounded=not root.is_integer())
