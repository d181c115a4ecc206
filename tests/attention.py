"""Language models with attention in three wings, whose programs treat features and factors in ways of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx

D, HEADS, GROUPS, LENGTH, V = 24, 4, 2, 5, 9
WIDTH = D // HEADS


@dataclass(frozen=True)
class Way:
    """How a program treats what its layers give.

    rotary: `halves`, `pairs` or none. inner: heads come after what is in them. striped: query head i belongs to group
    i % GROUPS. scale: of the scores. word: what embedded words are multiplied by.
    """

    rotary: str = ""
    inner: bool = False
    striped: bool = False
    scale: float = WIDTH**-0.5
    word: float = 1.0
    base: float = 100.0


def attended(np_: Any, way: Way, q: Any, k: Any, v: Any) -> Any:
    """Of (batch, place, features), in either framework's functions."""
    angles = np.outer(np.arange(LENGTH), way.base ** (-np.arange(0, WIDTH, 2) / WIDTH)).astype(np.float32)
    cos, sin = (np_.asarray(each, dtype=q.dtype)[:, None] for each in (np.cos(angles), np.sin(angles)))
    q, k, v = (_heads(np_, way, each) for each in (q, k, v))
    if way.rotary:
        q, k = (_rotated(np_, way, each, cos, sin) for each in (q, k))
    of = [head % GROUPS if way.striped else head * GROUPS // HEADS for head in range(HEADS)]
    k, v = k[:, :, of], v[:, :, of]
    scores = np_.einsum("bqhd,bkhd->bhqk", q, k) * way.scale
    weights = torch.softmax(scores, -1) if np_ is torch else jax.nn.softmax(scores, -1)
    mixed = np_.einsum("bhqk,bkhd->bqhd", weights, v)
    return np_.swapaxes(mixed, -1, -2).reshape(*mixed.shape[:2], D) if way.inner else mixed.reshape(*mixed.shape[:2], D)


def _heads(np_: Any, way: Way, x: Any) -> Any:
    if way.inner:
        return np_.swapaxes(x.reshape(*x.shape[:2], WIDTH, -1), -1, -2)
    return x.reshape(*x.shape[:2], -1, WIDTH)


def _rotated(np_: Any, way: Way, x: Any, cos: Any, sin: Any) -> Any:
    half = WIDTH // 2
    one, two = (x[..., ::2], x[..., 1::2]) if way.rotary == "pairs" else (x[..., :half], x[..., half:])
    both = one * cos - two * sin, two * cos + one * sin
    if way.rotary == "pairs":
        return np_.stack(both, -1).reshape(x.shape)
    return np_.concatenate(both, -1)


class TorchBlock(torch.nn.Module):
    def __init__(self, way: Way, bias: bool) -> None:
        super().__init__()
        self.way = way
        self.norm = torch.nn.LayerNorm(D)
        self.q_proj, self.o_proj = torch.nn.Linear(D, D, bias=bias), torch.nn.Linear(D, D, bias=bias)
        self.k_proj, self.v_proj = (torch.nn.Linear(D, GROUPS * WIDTH, bias=bias) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.o_proj(attended(torch, self.way, self.q_proj(y), self.k_proj(y), self.v_proj(y)))


class Torch(torch.nn.Module):
    def __init__(self, way: Way, bias: bool = False, layers: int = 2) -> None:
        super().__init__()
        self.word = way.word
        self.embed = torch.nn.Embedding(V, D)
        self.layers = torch.nn.ModuleList(TorchBlock(way, bias) for _ in range(layers))
        self.head = torch.nn.Linear(D, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) * self.word
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class NnxBlock(nnx.Module):
    def __init__(self, way: Way, bias: bool, rngs: nnx.Rngs) -> None:
        self.way, self.norm = way, nnx.LayerNorm(D, epsilon=1e-5, rngs=rngs)
        self.query, self.out = (nnx.Linear(D, D, use_bias=bias, rngs=rngs) for _ in range(2))
        self.key, self.value = (nnx.Linear(D, GROUPS * WIDTH, use_bias=bias, rngs=rngs) for _ in range(2))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm(x)
        return x + self.out(attended(jnp, self.way, self.query(y), self.key(y), self.value(y)))


class Nnx(nnx.Module):
    def __init__(self, way: Way, bias: bool = False, layers: int = 2) -> None:
        rngs = nnx.Rngs(0)
        self.word = way.word
        self.embed = nnx.Embed(V, D, rngs=rngs)
        self.layers = nnx.List([NnxBlock(way, bias, rngs) for _ in range(layers)])
        self.head = nnx.Linear(D, 3, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embed(ids) * self.word
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Linen(linen.Module):
    """Kernels of queries, keys and values have an axis for the heads."""

    way: Way
    bias: bool = False

    @linen.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        x = linen.Embed(V, D, name="embed")(ids) * self.way.word
        for layer in range(2):
            y = linen.LayerNorm(epsilon=1e-5, name=f"norm_{layer}")(x)
            sizes = {"wq": (HEADS, WIDTH), "wk": (GROUPS, WIDTH), "wv": (GROUPS, WIDTH)}
            q, k, v = (
                linen.DenseGeneral(size, use_bias=self.bias, name=f"{name}_{layer}")(y).reshape(*y.shape[:2], -1)
                for name, size in sizes.items()
            )
            x = x + linen.Dense(D, use_bias=self.bias, name=f"wo_{layer}")(attended(jnp, self.way, q, k, v))
        return linen.Dense(3, name="head")(x)


IDS = np.random.default_rng(0).integers(0, V, (2, LENGTH)).astype(np.int32)


def torch_model(way: Way, bias: bool = False) -> Torch:
    torch.manual_seed(0)
    return Torch(way, bias)


def nnx_model(way: Way, bias: bool = False) -> Nnx:
    return Nnx(way, bias)


def linen_model(way: Way, bias: bool = False) -> Any:
    module = Linen(way, bias)
    return module, module.init(jax.random.key(0), IDS)
