"""The layer of experts in NNX: stacked kernels, every expert on every token, its share zero where it was not chosen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import paritree

from .reference import CHOSEN, EXPERTS, FACTOR, HIDDEN, WIDTH
from .reference import Experts as Reference

FAULTS = {
    "softmax": r"(?i)softmax|renormal|router|sum to|top",
    "cast": r"(?i)bfloat16|rounded|cast|precision",
    "gate": r"(?i)sigmoid|gate",
    "skip": r"(?i)skip|residual",
}


class Experts(nnx.Module):
    def __init__(self, fault: str, rngs: nnx.Rngs) -> None:
        self.fault = fault
        self.norm = nnx.LayerNorm(WIDTH, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.router = nnx.Linear(WIDTH, EXPERTS, rngs=rngs)
        draw = nnx.initializers.lecun_normal(batch_axis=(0,))
        self.wi = nnx.Param(draw(rngs.params(), (EXPERTS, WIDTH, HIDDEN)))
        self.bi = nnx.Param(jnp.zeros((EXPERTS, HIDDEN)))
        self.wo = nnx.Param(draw(rngs.params(), (EXPERTS, HIDDEN, WIDTH)))
        self.bo = nnx.Param(jnp.zeros((EXPERTS, WIDTH)))
        self.shared_in, self.shared_out = nnx.Linear(WIDTH, HIDDEN, rngs=rngs), nnx.Linear(HIDDEN, WIDTH, rngs=rngs)
        self.shared_gate = nnx.Linear(WIDTH, 1, rngs=rngs)
        self.out = nnx.Linear(WIDTH, 3, rngs=rngs)

    def shares(self, h: jax.Array) -> jax.Array:
        """How much each expert counts for each token, zero for those that are not chosen: (batch, length, experts)."""
        logits = self.router(h)
        best, chosen = jax.lax.top_k(logits, CHOSEN)
        best = best.astype(jnp.bfloat16).astype(h.dtype) if self.fault == "cast" else best  # fault: cast
        if self.fault == "softmax":
            share = jnp.take_along_axis(jax.nn.softmax(logits, -1), chosen, -1)  # fault: softmax
        else:
            share = jax.nn.softmax(best, -1)  # fault: softmax, cast
        return jnp.einsum("btk,btke->bte", share * FACTOR, jax.nn.one_hot(chosen, EXPERTS, dtype=h.dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.norm(x)
        y = jnp.einsum("btd,edf->btef", h, self.wi[...]) + self.bi[...]
        y = jnp.square(jax.nn.relu(y))
        y = jnp.einsum("btef,efd->bted", y, self.wo[...]) + self.bo[...]
        mixed = jnp.einsum("bted,bte->btd", y, self.shares(h))
        gate = self.shared_gate(h) if self.fault == "gate" else jax.nn.sigmoid(self.shared_gate(h))  # fault: gate
        shared = self.shared_out(jnp.square(jax.nn.relu(self.shared_in(h))))
        mixed = mixed + gate * shared  # fault: gate
        return self.out(mixed + (h if self.fault == "skip" else x))  # fault: skip


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype(np.float32)
    return paritree.Pair(Reference().eval(), Experts(fault, nnx.Rngs(0)), (x,))
