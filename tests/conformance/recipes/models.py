"""Three pairs to train: a net of matrices and norms, a tied language model, a block of convolutions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from flax import linen, nnx

import paritree

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
TOKENS = np.random.default_rng(1).integers(0, 16, (2, 5))
IMAGES = np.random.default_rng(2).normal(size=(2, 3, 6, 6)).astype(np.float32)


class Net(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.up, self.norm = nnx.Linear(4, 8, rngs=rngs), nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs)
        self.down = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(nnx.relu(self.norm(self.up(x))))


def net() -> paritree.Pair:
    torch.manual_seed(0)
    of = torch.nn
    reference = of.Sequential(of.Linear(4, 8), of.LayerNorm(8), of.ReLU(), of.Linear(8, 2))
    return paritree.Pair(reference, Net(), (X,))


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm = torch.nn.Embedding(16, 8), torch.nn.LayerNorm(8)
        self.mix, self.head = torch.nn.Linear(8, 8), torch.nn.Linear(8, 16, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        return self.head(x + torch.tanh(self.mix(self.norm(x))))


class TiedPort(linen.Module):
    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        embed = linen.Embed(16, 8, name="embed")
        x = embed(tokens)
        return embed.attend(x + linen.tanh(linen.Dense(8, name="mix")(linen.LayerNorm(epsilon=1e-5, name="norm")(x))))


def language_model() -> paritree.Pair:
    module = TiedPort()
    return paritree.Pair(Tied(), (module, module.init(jax.random.key(0), TOKENS)), (TOKENS,))


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4)
        self.out = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class BlockPort(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.conv, self.out = nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.norm(self.conv(x.transpose(0, 2, 3, 1)))).mean((1, 2)))


def block() -> paritree.Pair:
    return paritree.Pair(Block(), BlockPort(), (IMAGES,))


PAIRS: dict[str, Callable[[], paritree.Pair]] = {"net": net, "language model": language_model, "block": block}


class Mapped(NamedTuple):
    """A pair of PyTorch's and Flax's, with its map; turned, Flax's is the reference."""

    pair: paritree.Pair
    map: paritree.Map

    def trained(self, by_torch: Any, by_jax: Any, turned: bool = False, **steps: Any) -> paritree.Pair:
        """The pair with an optimizer for each side."""
        sides = self.pair.reference, self.pair.port
        ours, theirs = (by_jax, by_torch) if turned else (by_torch, by_jax)
        reference, port = sides[::-1] if turned else sides
        given = {"reference_optimizer": ours, "port_optimizer": theirs, **steps}
        return paritree.Pair(reference, port, self.pair.inputs, **given)

    def checked(self, by_torch: Any, by_jax: Any, turned: bool = False) -> paritree.Report:
        pair = self.trained(by_torch, by_jax, turned)
        made = self.map.inverse() if turned else self.map
        return paritree.check(pair, made, contracts=("recipe",), devices=("cpu",))


@cache
def mapped(name: str) -> Mapped:
    pair = PAIRS[name]()
    return Mapped(pair, paritree.align(pair))
