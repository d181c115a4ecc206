"""Attention within a window in Linen: biases by distance, logits that saturate, and a sink beside the keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

WIDTH, HEADS, HEAD, WINDOW, FARTHEST, CAP = 12, 2, 6, 4, 2, 5.0


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        length = x.shape[1]
        q, k, v = (nn.DenseGeneral((HEADS, HEAD), name=name)(x) for name in ("query", "key", "value"))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / jnp.sqrt(HEAD)
        scores = CAP * jnp.tanh(scores / CAP)  # fault: cap
        distance = jnp.arange(length)[:, None] - jnp.arange(length)[None]
        table = self.param("distances", nn.initializers.normal(1.0), (2 * FARTHEST + 1, HEADS))
        bias = table[jnp.clip(distance, -FARTHEST, FARTHEST) + FARTHEST]  # fault: clip
        scores = scores + jnp.moveaxis(bias, -1, 0)  # fault: clip
        near = jnp.abs(distance) < WINDOW  # fault: window
        scores = jnp.where(near, scores, -jnp.inf)  # fault: window
        sink = self.param("sink", nn.initializers.normal(1.0), (HEADS,))
        # One more key, to which every query may look and which has no value.
        beside = jnp.broadcast_to(sink[:, None, None], (*scores.shape[:-1], 1))
        weights = nn.softmax(jnp.concatenate([scores, beside], -1))[..., :-1]  # fault: sink
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        return nn.DenseGeneral(WIDTH, axis=(-2, -1), name="out")(y)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        normed = nn.RMSNorm(epsilon=1e-6, name="norm_attention")(x)
        x = x + Attention(name="attention")(normed)
        h = nn.Dense(2 * WIDTH, name="up")(nn.RMSNorm(epsilon=1e-6, name="norm_mlp")(x))
        value, gate = jnp.split(h, 2, -1)
        gated = value * nn.gelu(gate)
        return x + nn.Dense(WIDTH, name="down")(gated)
