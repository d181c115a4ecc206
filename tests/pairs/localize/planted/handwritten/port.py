"""The block in NNX with backward passes of its own, as kernels have: of the norm, of the clipping and of the gate."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import paritree

from .reference import BOUND, HIDDEN, WIDTH
from .reference import Block as Reference

FAULTS = {
    "norm": r"(?i)gradient|backward|vjp",
    "through": r"(?i)gradient|backward|stop_gradient|clip",
    "swiglu": r"(?i)gradient|backward|vjp",
    "detached": r"(?i)stop_gradient|detach|gradient",
    "bound": r"(?i)clip|bound|clamp",
}


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def normed(x: jax.Array, scale: jax.Array, fault: str) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5) * scale  # fault: norm


def normed_forward(x: jax.Array, scale: jax.Array, fault: str) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return normed(x, scale, fault), (x, scale)


def normed_backward(fault: str, kept: tuple[jax.Array, ...], given: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, scale = kept
    root = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5)
    scaled = given * scale
    along = jnp.mean(scaled * x, -1, keepdims=True) * root**2
    by_x = root * scaled if fault == "norm" else root * (scaled - x * along)  # fault: norm
    return by_x, (given * x * root).sum((0, 1))


normed.defvjp(normed_forward, normed_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def swiglu(gate: jax.Array, value: jax.Array, fault: str) -> jax.Array:
    return gate * jax.nn.sigmoid(gate) * value  # fault: swiglu


def swiglu_forward(gate: jax.Array, value: jax.Array, fault: str) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return swiglu(gate, value, fault), (gate, value)


def swiglu_backward(fault: str, kept: tuple[jax.Array, ...], given: jax.Array) -> tuple[jax.Array, jax.Array]:
    gate, value = kept
    share = jax.nn.sigmoid(gate)
    slope = share * (1 - share) if fault == "swiglu" else share * (1 + gate * (1 - share))  # fault: swiglu
    return given * value * slope, given * gate * share  # fault: swiglu


swiglu.defvjp(swiglu_forward, swiglu_backward)


class Block(nnx.Module):
    def __init__(self, fault: str, rngs: nnx.Rngs) -> None:
        self.fault = fault
        self.inlet, self.mixer = nnx.Linear(4, WIDTH, rngs=rngs), nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(WIDTH))
        self.both, self.outlet = nnx.Linear(WIDTH, 2 * HIDDEN, rngs=rngs), nnx.Linear(HIDDEN, WIDTH, rngs=rngs)

    def clipped(self, x: jax.Array) -> jax.Array:
        most = 1.0 if self.fault == "bound" else BOUND
        bounded = jnp.clip(x, -most, most)  # fault: bound, through
        return bounded if self.fault == "through" else x + jax.lax.stop_gradient(bounded - x)  # fault: through

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.inlet(x)
        h = self.clipped(self.mixer(normed(x, self.scale[...], self.fault)))
        gate, value = jnp.split(self.both(h), 2, -1)
        y = swiglu(gate, value, self.fault)
        keys = jax.lax.stop_gradient(y) if self.fault == "detached" else y  # fault: detached
        weights = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", y, keys) / HIDDEN, -1)  # fault: detached
        return x + self.outlet(jnp.einsum("bqk,bkd->bqd", weights, y))


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    return paritree.Pair(Reference().eval(), Block(fault, nnx.Rngs(0)), (x,))
