"""The recurrent unit in Linen: the products with the inputs are made for all steps at once, the rest by `lax.scan`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn

import paritree

from .reference import CLASSES, SIGNALS, WIDTH
from .reference import Tagger as Reference

FAULTS = {
    "reset": r"(?i)reset|gate",
    "update": r"(?i)update|gate",
    "sigmoid": r"(?i)sigmoid",
    "padding": r"(?i)mask|padding",
    "reversed": r"(?i)revers|order|flip|backwards",
}


class Recurrent(nn.Module):
    fault: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, shown: jax.Array) -> jax.Array:
        by_input = nn.Dense(3 * WIDTH, name="input")(x)
        kernel = self.param("recurrent_kernel", nn.initializers.orthogonal(), (WIDTH, 3 * WIDTH))
        bias = self.param("recurrent_bias", nn.initializers.zeros_init(), (3 * WIDTH,))

        def step(h: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            given, keep = now
            one, two, three = jnp.split(given, 3, -1)
            r = jax.nn.sigmoid(one + h @ kernel[:, :WIDTH] + bias[:WIDTH])
            z = two + h @ kernel[:, WIDTH : 2 * WIDTH] + bias[WIDTH : 2 * WIDTH]
            z = jax.nn.hard_sigmoid(z) if self.fault == "sigmoid" else jax.nn.sigmoid(z)  # fault: sigmoid
            inner = r * h if self.fault == "reset" else h  # fault: reset
            inner = inner @ kernel[:, 2 * WIDTH :] + bias[2 * WIDTH :]  # fault: reset
            inner = three + (inner if self.fault == "reset" else r * inner)  # fault: reset
            n = jnp.tanh(inner)
            new = n + z * (h - n) if self.fault != "update" else h + z * (n - h)  # fault: update, padding
            new = new if self.fault == "padding" else jnp.where(keep[:, None] > 0, new, h)  # fault: padding
            return new, new  # fault: padding

        start = jnp.zeros((x.shape[0], WIDTH), x.dtype)
        _, states = jax.lax.scan(step, start, (by_input.swapaxes(0, 1), shown.T))
        return states.swapaxes(0, 1)


class Tagger(nn.Module):
    fault: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, shown: jax.Array) -> jax.Array:
        there = Recurrent(self.fault, name="ahead")(x, shown)
        again = Recurrent(name="back")(x[:, ::-1], shown[:, ::-1])
        both = jnp.concatenate([there, again if self.fault == "reversed" else again[:, ::-1]], -1)  # fault: reversed
        return nn.Dense(CLASSES)(nn.LayerNorm(1e-5, use_fast_variance=False)(both))


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(3, 6, SIGNALS)).astype(np.float32)
    shown = (np.arange(6) < np.array([[6], [4], [3]])).astype(np.float32)
    port = Tagger(fault)
    return paritree.Pair(Reference().eval(), (port, port.init(jax.random.key(0), x, shown)), (x, shown))
