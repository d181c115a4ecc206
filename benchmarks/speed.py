"""A model built from a spec against the module that a person would write: forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx

import paritree
from paritree import Linear, ReLU, Sequential

from .measure import Action, ratio, row

WIDTH, BATCH = 256, 64
SPEC = Sequential(Linear(WIDTH, WIDTH), ReLU(), Linear(WIDTH, WIDTH), ReLU(), Linear(WIDTH, 10))


class HandWrittenTorch(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, WIDTH),
            torch.nn.ReLU(),
            torch.nn.Linear(WIDTH, WIDTH),
            torch.nn.ReLU(),
            torch.nn.Linear(WIDTH, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class HandWrittenNnx(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.second = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.third = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.third(jax.nn.relu(self.second(jax.nn.relu(self.first(x)))))


def torch_pass(model: torch.nn.Module, x: np.ndarray) -> Action:
    inputs = torch.from_numpy(x)

    def run() -> None:
        model.zero_grad()
        model(inputs).sum().backward()

    return run


def linen_pass(model: tuple[linen.Module, Any], x: np.ndarray) -> Action:
    module, variables = model
    gradient = jax.jit(jax.grad(lambda variables: module.apply(variables, x).sum()))
    return lambda: jax.block_until_ready(gradient(variables))


def nnx_pass(model: nnx.Module, x: np.ndarray) -> Action:
    graph, state = nnx.split(model)
    gradient = jax.jit(jax.grad(lambda state: nnx.merge(graph, state)(x).sum()))  # type: ignore[operator]
    return lambda: jax.block_until_ready(gradient(state))


def hand_written_linen() -> tuple[linen.Module, Any]:
    layers = [linen.Dense(WIDTH), linen.relu, linen.Dense(WIDTH), linen.relu, linen.Dense(10)]
    module = linen.Sequential(layers)
    return module, module.init(jax.random.key(0), jnp.zeros((1, WIDTH)))


PASSES: dict[str, tuple[Callable[..., Action], Callable[[], Any]]] = {
    "torch": (torch_pass, HandWrittenTorch),
    "linen": (linen_pass, hand_written_linen),
    "nnx": (nnx_pass, HandWrittenNnx),
}


def main() -> None:
    print("Forward and backward of a model built from a spec over a hand-written one")
    x = np.random.default_rng(0).normal(size=(BATCH, WIDTH)).astype(np.float32)
    for name, (make, hand_written) in PASSES.items():
        ours, theirs = make(paritree.build(SPEC, name), x), make(hand_written(), x)
        row(name, ratio(ours, theirs, pairs=31, calls=20))
