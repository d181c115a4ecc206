"""A small attention block, as a torch module and as a function of a bare pytree whose fields plant the faults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from paritree import Pair

WIDTH, HEADS, LAYERS = 6, 2, 2
FEATURES = WIDTH // HEADS
INPUT = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype(np.float32)
NOTHING: Mapping[str, Any] = {}


class Block(nn.Module):
    def __init__(self, key_bias: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH, bias=key_bias)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        query, key, value = (
            layer(y).unflatten(-1, (HEADS, FEATURES)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class Reference(nn.Module):
    def __init__(self, key_bias: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(key_bias) for _ in range(LAYERS)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def reference(key_bias: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Reference(key_bias).eval()


def block(arrays: Any, x: Any, faults: Mapping[str, Any]) -> Any:
    """faults: scale, epsilon, residual, hidden (which scores are), swapped (heads), layout (of the query's heads)."""
    centred = x - x.mean(-1, keepdims=True)
    y = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + faults.get("epsilon", 1e-5))
    y = y * arrays["gain"] + arrays["shift"]
    query, key, value = (
        (y @ arrays[f"{kind}w"] + arrays.get(f"{kind}b", 0)).reshape(*x.shape[:-1], HEADS, FEATURES) for kind in "qkv"
    )
    if faults.get("swapped"):
        query = query[..., ::-1, :]
    scores = jnp.einsum("bshd,bthd->bhst", query, key) * faults.get("scale", 1 / math.sqrt(FEATURES))
    later = jnp.triu(jnp.ones(scores.shape[-2:], bool), 1)
    scores = jnp.where(later.T if faults.get("past") else later, -jnp.inf, scores)
    mixed = jnp.einsum("bhst,bthd->bshd", jax.nn.softmax(scores), value).reshape(x.shape)
    return (0 if faults.get("no_residual") else x) + mixed @ arrays["ow"] + arrays["ob"]


def port(key_bias: bool = False, **faults: Any) -> tuple[Any, Any]:
    """The tree and its call. The faults are those of the last layer."""
    random = np.random.default_rng(1)
    vectors = ("gain", "shift", "qb", "vb", "ob", *(["kb"] if key_bias else []))
    shapes = {name: (WIDTH,) for name in vectors} | {name: (WIDTH, WIDTH) for name in ("qw", "kw", "vw", "ow")}
    tree = {
        f"block{layer}": {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
        for layer in range(LAYERS)
    }

    def call(tree: Any, inputs: Any) -> Any:
        (x,) = inputs
        for layer in range(LAYERS):
            x = block(tree[f"block{layer}"], x, faults if layer == LAYERS - 1 else NOTHING)
        return x

    return tree, call


def pair(**faults: Any) -> Pair:
    tree, call = port(**faults)
    return Pair(reference(faults.get("key_bias", False)), tree, (INPUT,), port_call=call)
