"""The attention as a function of arrays in JAX: no head is repeated, the queries have an axis for the group instead."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import paritree

from .reference import GROUPS, HEAD, HEADS, WIDTH
from .reference import Attention as Reference

FAULTS = {
    "distance": r"(?i)distance|alibi|\bbias|\bsign\b",
    "norm": r"(?i)norm",
    "groups": r"(?i)group|repeat|order|heads",
    "scale": r"(?i)scale|factor|sqrt|times",
}


def layer_norm(weights: dict[str, jax.Array], x: jax.Array, fault: str = "") -> jax.Array:
    mean = 0.0 if fault == "norm" else x.mean(-1, keepdims=True)  # fault: norm
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)  # fault: norm
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weights["scale"] + weights["offset"]


def attention(weights: dict[str, Any], x: jax.Array, fault: str) -> jax.Array:
    batch, length, _ = x.shape
    shared = HEADS // GROUPS
    h = layer_norm(weights["norm"], x) @ weights["qkv"]["w"] + weights["qkv"]["b"]
    q, k, v = jnp.split(h, [HEADS * HEAD, (HEADS + GROUPS) * HEAD], axis=-1)
    q = layer_norm(weights["q_norm"], q.reshape(batch, length, HEADS, HEAD))
    if fault == "groups":
        q = q.reshape(batch, length, shared, GROUPS, HEAD).swapaxes(2, 3)  # fault: groups
    q = q.reshape(batch, length, GROUPS, shared, HEAD)  # fault: groups
    k, v = k.reshape(batch, length, GROUPS, HEAD), v.reshape(batch, length, GROUPS, HEAD)
    k = layer_norm(weights["k_norm"], k, fault)  # fault: norm
    logits = jnp.einsum("bqgsd,bkgd->bgsqk", q, k)  # fault: groups
    logits = logits if fault == "scale" else logits / HEAD**0.5  # fault: scale
    powers = jnp.arange(1, HEADS + 1, dtype=x.dtype)
    slopes = jnp.exp2(-8.0 / HEADS * powers).reshape(GROUPS, shared, 1, 1)
    behind = jnp.arange(length)[:, None] - jnp.arange(length)
    logits = logits + slopes * behind if fault == "distance" else logits - slopes * behind  # fault: distance
    logits = logits / HEAD**0.5 if fault == "scale" else logits  # fault: scale
    logits = logits + jnp.where(behind < 0, -1e30, 0.0)
    y = jnp.einsum("bgsqk,bkgd->bqgsd", jax.nn.softmax(logits, axis=-1), v)
    return x + y.reshape(batch, length, HEADS * HEAD) @ weights["out"]["w"] + weights["out"]["b"]


def drawn(key: jax.Array) -> dict[str, Any]:
    packed = (HEADS + 2 * GROUPS) * HEAD
    first, second = jax.random.split(key)
    return {
        "norm": {"scale": jnp.ones(WIDTH), "offset": jnp.zeros(WIDTH)},
        "qkv": {"w": jax.random.normal(first, (WIDTH, packed)) * WIDTH**-0.5, "b": jnp.zeros(packed)},
        "q_norm": {"scale": jnp.ones(HEAD), "offset": jnp.zeros(HEAD)},
        "k_norm": {"scale": jnp.ones(HEAD), "offset": jnp.zeros(HEAD)},
        "out": {"w": jax.random.normal(second, (HEADS * HEAD, WIDTH)) * WIDTH**-0.5, "b": jnp.zeros(WIDTH)},
    }


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype(np.float32)
    call = partial(attention, fault=fault)
    return paritree.Pair(
        Reference().eval(), drawn(jax.random.key(0)), (x,), port_call=lambda weights, inputs: call(weights, inputs[0])
    )
