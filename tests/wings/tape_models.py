"""Small programs to be taped, on lines that the tests know by the words in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen as nn
from flax import nnx

WIDTH = 4


def line_of(words: str) -> int:
    """The number of the line of this file that holds the words, the first one."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


class Torch(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.nn.functional.gelu(self.up(x))  # torch: gelu
        h[:, 0] = 1.0  # torch: written
        return h * 2


class InNNX(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jax.nn.gelu(self.up(x))  # nnx: first
        return jax.nn.gelu(h + 1)  # nnx: second


class InLinen(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(nn.Dense(WIDTH, name="up")(x))  # linen: tanh


@jax.jit
def squared(x: jax.Array) -> jax.Array:
    return x * x  # function: squared


def summed(tree: Any, inputs: Any) -> jax.Array:
    """A scan, a loop, a branch and a compiled function of one's own."""

    def step(state: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        new = jnp.tanh(state + now)  # function: scan
        return new, new

    _, states = jax.lax.scan(step, tree["start"], inputs[0])
    doubled = jax.lax.fori_loop(0, 2, lambda _, x: x * 2, states)  # function: loop
    return jax.lax.cond(doubled.sum() > 1e9, lambda x: -x, lambda x: squared(x), doubled)  # function: branch
