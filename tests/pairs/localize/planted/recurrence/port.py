"""The gated recurrence in NNX: the convolution as a sum of shifted inputs, the loop as `lax.scan`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import paritree

from .reference import INNER, SHARPNESS, TAPS, WIDTH
from .reference import Block as Reference

FAULTS = {
    "sharpness": r"(?i)scale|factor|times|constant",
    "normed": None,
    "carry": r"(?i)carr",
    "causal": r"(?i)padd|causal|shift|convol",
    "detached": r"(?i)stop_gradient|detach|gradient",
}


class Recurrence(nnx.Module):
    def __init__(self, fault: str, rngs: nnx.Rngs) -> None:
        self.fault = fault
        self.decay = nnx.Param(jax.random.normal(rngs.params(), (INNER,)))
        self.gates = nnx.Linear(INNER, 2 * INNER, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        r, i = jnp.split(jax.nn.sigmoid(self.gates(x)), 2, -1)
        r = jax.lax.stop_gradient(r) if self.fault == "detached" else r  # fault: detached
        rate = jax.nn.softplus(self.decay[...])
        a = jnp.exp(r * rate * (-1.0 if self.fault == "sharpness" else -SHARPNESS))  # fault: sharpness, detached
        left = 1 - a if self.fault == "normed" else jnp.sqrt(1 - jnp.square(a))  # fault: normed
        given = i * x * left  # fault: normed

        def step(state: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            decay, entered = now
            new = decay * state + entered  # fault: carry
            return (entered if self.fault == "carry" else new), new  # fault: carry

        steps = a.swapaxes(0, 1), given.swapaxes(0, 1)
        _, states = jax.lax.scan(step, jnp.zeros_like(x[:, 0]), steps)  # fault: carry
        return states.swapaxes(0, 1)


class Block(nnx.Module):
    def __init__(self, fault: str, rngs: nnx.Rngs) -> None:
        self.fault = fault
        self.norm = nnx.LayerNorm(WIDTH, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.into, self.out = nnx.Linear(WIDTH, 2 * INNER, rngs=rngs), nnx.Linear(INNER, WIDTH, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (TAPS, INNER)))
        self.bias = nnx.Param(jnp.zeros(INNER))
        self.recurrence = Recurrence(fault, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        length = x.shape[1]
        gate, y = jnp.split(self.into(self.norm(x)), 2, -1)
        before, after = (1, 1) if self.fault == "causal" else (TAPS - 1, 0)
        wide = jnp.pad(y, ((0, 0), (before, after), (0, 0)))  # fault: causal
        y = sum(wide[:, tap : tap + length] * self.kernel[tap] for tap in range(TAPS)) + self.bias[...]  # fault: causal
        return x + self.out(self.recurrence(y) * jax.nn.gelu(gate, approximate=False))


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 7, WIDTH)).astype(np.float32)
    return paritree.Pair(Reference().eval(), Block(fault, nnx.Rngs(0)), (x,))
