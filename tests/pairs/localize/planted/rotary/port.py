"""The decoder in NNX: heads behind positions, halves turned by tables that are not doubled, `where` for the mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import paritree

from .reference import HEAD, HEADS, HIDDEN, WIDTH, WORDS
from .reference import Decoder as Reference

FAULTS = {
    "base": r"(?i)rotary|rotat|\bbase\b",
    "order": r"(?i)rotary|rotat|interleav|pairs|halves",
    "keys": r"(?i)rotary|rotat|turned",
    "mask": r"(?i)mask|\bsees?\b|causal",
    "eps": r"(?i)\beps",
}


class Norm(nnx.Module):
    def __init__(self, width: int, eps: float) -> None:
        self.scale, self.eps = nnx.Param(jnp.ones(width)), eps

    def __call__(self, x: jax.Array) -> jax.Array:
        root = jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps)  # fault: eps
        return x / root * self.scale[...]


def turned(x: jax.Array, angles: jax.Array, fault: str) -> jax.Array:
    """x: (batch, length, heads, width of a head). angles: (length, half that width)."""
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    one, two = jnp.split(x, 2, -1) if fault != "order" else (x[..., ::2], x[..., 1::2])  # fault: order
    return jnp.concatenate([one * cos - two * sin, two * cos + one * sin], -1)  # fault: order


class Attention(nnx.Module):
    def __init__(self, fault: str, rngs: nnx.Rngs) -> None:
        self.fault = fault
        self.q, self.k, self.v, self.o = (nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=rngs) for _ in range(4))

    def __call__(self, x: jax.Array) -> jax.Array:
        length = x.shape[1]
        q, k, v = (each(x).reshape(*x.shape[:2], HEADS, HEAD) for each in (self.q, self.k, self.v))
        base = 500_000.0 if self.fault == "base" else 10_000.0
        frequencies = base ** (-jnp.arange(0, HEAD, 2, dtype=x.dtype) / HEAD)  # fault: base
        angles = jnp.arange(length, dtype=x.dtype)[:, None] * frequencies
        q = turned(q, angles, self.fault)
        k = turned(k, angles, self.fault) if self.fault != "keys" else k  # fault: keys
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * HEAD**-0.5  # fault: keys
        shown = jnp.tri(length, k=1 if self.fault == "mask" else 0, dtype=bool)  # fault: mask
        scores = jnp.where(shown, scores, jnp.finfo(scores.dtype).min)  # fault: mask
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1), v)
        return self.o(mixed.reshape(x.shape))


class Decoder(nnx.Module):
    def __init__(self, fault: str, rngs: nnx.Rngs) -> None:
        self.table = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.norm1, self.norm2, self.norm3 = (Norm(WIDTH, 1e-5 if fault == "eps" else 1e-6) for _ in range(3))
        self.attention = Attention(fault, rngs)
        self.gate, self.up = (nnx.Linear(WIDTH, HIDDEN, use_bias=False, rngs=rngs) for _ in range(2))
        self.down = nnx.Linear(HIDDEN, WIDTH, use_bias=False, rngs=rngs)
        self.head = nnx.Linear(WIDTH, WORDS, use_bias=False, rngs=rngs)

    def __call__(self, words: jax.Array) -> jax.Array:
        x = self.table(words)
        x = x + self.attention(self.norm1(x))
        h = self.norm2(x)
        x = x + self.down(jax.nn.silu(self.gate(h)) * self.up(h))
        return self.head(self.norm3(x))


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    words = np.random.default_rng(0).integers(0, WORDS, (2, 7))
    return paritree.Pair(Reference().eval(), Decoder(fault, nnx.Rngs(0)), (words,))
