"""The encoder as a function of arrays in JAX: the sines are computed anew, the mask is added, einsum throughout."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import paritree

from .reference import HEAD, HEADS, HIDDEN, WIDTH, WORDS
from .reference import Encoder as Reference

FAULTS = {
    "offset": r"(?i)position|offset|shift|sinus|table|\bsin",
    "order": r"(?i)order|interleav|halves|sinus|position|table",
    "scale": r"(?i)scale|factor|times",
    "mask": r"(?i)mask|padding",
    "axis": r"(?i)axis|softmax",
    "count": r"(?i)mask|padding|mean|count|pool",
}


def waves(length: int, fault: str) -> jax.Array:
    """(length, width), a sine and a cosine in turn."""
    place = jnp.arange(length) + (1 if fault == "offset" else 0)  # fault: offset
    angles = jnp.outer(place, 10_000.0 ** (-jnp.arange(0, WIDTH, 2) / WIDTH))  # fault: offset
    both = jnp.sin(angles), jnp.cos(angles)
    return jnp.concatenate(both, -1) if fault == "order" else jnp.stack(both, -1).reshape(length, WIDTH)  # fault: order


def dense(weights: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jnp.einsum("...i,io->...o", x, weights["kernel"]) + weights["bias"]


def normed(weights: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * weights["scale"] + weights["bias"]


def attention(weights: dict[str, Any], x: jax.Array, shown: jax.Array, fault: str) -> jax.Array:
    q, k, v = jnp.moveaxis(dense(weights["qkv"], x).reshape(*x.shape[:2], 3, HEADS, HEAD), 2, 0)
    logits = jnp.einsum("bqhd,bkhd->bhqk", q * HEAD**-0.5, k)
    hidden = shown if fault == "mask" else 1.0 - shown  # fault: mask
    logits = logits - 1e9 * hidden[:, None, None, :]  # fault: mask
    attended = jax.nn.softmax(logits, axis=-2 if fault == "axis" else -1)  # fault: axis
    return dense(weights["out"], jnp.einsum("bhqk,bkhd->bqhd", attended, v).reshape(x.shape))


def encoded(weights: dict[str, Any], words: jax.Array, shown: jax.Array, fault: str) -> jax.Array:
    x, table = weights["embedding"][words], waves(words.shape[1], fault)
    x = (x + table) * WIDTH**0.5 if fault == "scale" else x * WIDTH**0.5 + table  # fault: scale
    for layer in weights["layers"]:
        x = normed(layer["norm1"], x + attention(layer, x, shown, fault))
        x = normed(layer["norm2"], x + dense(layer["ff2"], jax.nn.relu(dense(layer["ff1"], x))))
    counted = jnp.ones_like(shown) if fault == "count" else shown  # fault: count
    return jnp.einsum("btd,bt->bd", x, shown) / counted.sum(1)[:, None]  # fault: count


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    def linear(wide: int, out: int) -> dict[str, jax.Array]:
        return {"kernel": jnp.asarray(rng.normal(size=(wide, out)) * wide**-0.5, jnp.float32), "bias": jnp.zeros(out)}

    def layer() -> dict[str, Any]:
        norms = {name: {"scale": jnp.ones(WIDTH), "bias": jnp.zeros(WIDTH)} for name in ("norm1", "norm2")}
        attention = {"qkv": linear(WIDTH, 3 * WIDTH), "out": linear(WIDTH, WIDTH)}
        return {**norms, **attention, "ff1": linear(WIDTH, HIDDEN), "ff2": linear(HIDDEN, WIDTH)}

    table = jnp.asarray(rng.normal(size=(WORDS, WIDTH)), jnp.float32)
    return {"embedding": table, "layers": [layer(), layer()]}


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    words = rng.integers(0, WORDS, (3, 6))
    shown = (np.arange(6) < np.array([[6], [4], [3]])).astype(np.float32)
    call = partial(encoded, fault=fault)
    return paritree.Pair(
        Reference().eval(), drawn(rng), (words, shown), port_call=lambda weights, inputs: call(weights, *inputs)
    )
