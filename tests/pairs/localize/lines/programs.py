"""A small attention block in PyTorch and as a function of arrays, which goes another way at one or two lines."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import paritree

WIDTH, HEAD, LENGTH = 16, 8, 5
FREQUENCIES = np.arange(0, HEAD, 2) / HEAD


class Reference(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.outer(torch.arange(LENGTH).to(x), 100.0 ** -torch.tensor(FREQUENCIES).to(x))  # base positions

        def turned(y: torch.Tensor) -> torch.Tensor:
            one, two = y.transpose(1, 2).chunk(2, -1)
            return torch.cat([one * angles.cos() - two * angles.sin(), two * angles.cos() + one * angles.sin()], -1)

        q, k, v = (each(x).unflatten(-1, (2, HEAD)) for each in (self.q, self.k, self.v))
        scores = turned(q) @ turned(k).mT * HEAD**-0.5  # turns
        hidden = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)  # mask
        shares = scores.masked_fill(hidden, -1e30).softmax(-1)  # axis
        mixed = (shares @ v.transpose(1, 2)).transpose(1, 2).flatten(2)  # cast order
        return x + self.out(torch.tanh(mixed))  # skip activation


def port(tree: dict[str, Any], inputs: Any, fault: str) -> jax.Array:
    (x,) = inputs
    base = 10_000.0 if "base" in fault else 100.0
    places = jnp.arange(LENGTH, dtype=x.dtype) * (2 if "positions" in fault else 1)  # positions
    angles = places[:, None] * base ** -jnp.asarray(FREQUENCIES, x.dtype)  # base positions
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]

    def turned(y: jax.Array) -> jax.Array:
        one, two = jnp.split(y, 2, -1)
        return jnp.concatenate([one * cos - two * sin, two * cos + one * sin], -1)

    q, k, v = ((x @ tree[name]).reshape(*x.shape[:2], 2, HEAD) for name in "qkv")
    q, k = turned(q), k if "turns" in fault else turned(k)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * HEAD**-0.5  # turns
    shown = jnp.tri(LENGTH, k=1 if "mask" in fault else 0, dtype=bool)  # mask
    scores = jnp.where(shown, scores, -jnp.inf)
    shares = jax.nn.softmax(scores, -2 if "axis" in fault else -1)  # axis
    mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, v).reshape(x.shape)
    mixed = mixed.astype(jnp.bfloat16).astype(x.dtype) if "cast" in fault else mixed  # cast
    mixed = mixed[:, ::-1] if "order" in fault else mixed  # order
    made = mixed if "activation" in fault else jnp.tanh(mixed)  # activation
    return (made if "skip" in fault else x) + made @ tree["out"]  # skip activation


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tree = {name: rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) for name in ("q", "k", "v", "out")}
    x = rng.normal(size=(2, LENGTH, WIDTH)).astype(np.float32)
    return paritree.Pair(Reference(), tree, (x,), port_call=lambda tree, inputs: port(tree, inputs, fault))
