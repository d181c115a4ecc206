"""A contrastive loss of two towers in NNX, each sample's own, both ways and with smoothed labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import nnx

PIXELS, LETTERS, HIDDEN, WIDTH, SMOOTHING = 7, 5, 10, 6, 0.1


class Tower(nnx.Module):
    def __init__(self, signals: int, rngs: nnx.Rngs) -> None:
        self.up, self.down = nnx.Linear(signals, HIDDEN, rngs=rngs), nnx.Linear(HIDDEN, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.down(jax.nn.gelu(self.up(x), approximate=False))  # fault: activation
        return x / jnp.sqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-6)  # fault: eps


class Contrast(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.image, self.text = Tower(PIXELS, rngs), Tower(LETTERS, rngs)
        self.temperature = nnx.Param(jnp.asarray([0.7]))

    def __call__(self, images: jax.Array, texts: jax.Array) -> jax.Array:
        image, text = self.image(images), self.text(texts)  # fault: detached
        logits = jnp.exp(self.temperature[...]) * jnp.einsum("id,td->it", image, text)  # fault: temperature
        labels = optax.smooth_labels(jnp.eye(len(logits), dtype=logits.dtype), SMOOTHING)  # fault: smoothing
        by_image = optax.softmax_cross_entropy(logits, labels)
        by_text = optax.softmax_cross_entropy(logits.T, labels)
        return (by_image + by_text) / 2
