"""A small causal language model in torch, a Flax port of it whose names say nothing, and a scrambler for any port."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, traverse_util
from torch import nn

WIDTH, WORDS, LAYERS = 8, 12, 2


class Layer(nn.Module):
    def __init__(self, key_bias: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH, bias=key_bias)
        self.value, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        scores = self.query(y) @ self.key(y).transpose(-1, -2) / math.sqrt(WIDTH)
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        x = x + self.out(scores.masked_fill(hidden, -math.inf).softmax(-1) @ self.value(y))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class LanguageModel(nn.Module):
    def __init__(self, key_bias: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList([Layer(key_bias) for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Port(linen.Module):
    """One flat module; its parameters are called by numbers, counted backwards. The fields plant the faults."""

    key_bias: bool = False
    gelu: Callable[[Any], Any] = lambda x: jax.nn.gelu(x, approximate=False)
    epsilons: tuple[float, ...] = (1e-5,) * (2 * LAYERS + 1)
    swapped: bool = False
    turned: bool = False
    tied: bool = True

    @linen.compact
    def __call__(self, tokens: Any) -> Any:
        count = iter(range(99, 0, -1))
        draw = linen.initializers.normal(1.0)

        def parameter(*shape: int) -> Any:
            return self.param(f"t{next(count)}", draw, shape)

        def norm(x: Any, place: int) -> Any:
            centred = x - x.mean(-1, keepdims=True)
            spread = jnp.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilons[place])
            return centred / spread * parameter(WIDTH) + parameter(WIDTH)

        words = parameter(WORDS, WIDTH)
        x = words[tokens]
        hidden = jnp.triu(jnp.ones((x.shape[1], x.shape[1]), bool), 1)
        for layer in range(LAYERS):
            y = norm(x, 2 * layer)
            query, key, value, out = (parameter(WIDTH, WIDTH) for _ in range(4))
            biases = [parameter(WIDTH) for _ in range(4 if self.key_bias else 3)]
            if self.swapped:
                query, out = out, query
            if self.turned:
                value = value.T
            keys = y @ key + (biases[3] if self.key_bias else 0)
            scores = (y @ query + biases[0]) @ keys.swapaxes(-1, -2) / math.sqrt(WIDTH)
            mixed = jax.nn.softmax(jnp.where(hidden, -jnp.inf, scores)) @ (y @ value + biases[1])
            x = x + mixed @ out + biases[2]
            inner = self.gelu(norm(x, 2 * layer + 1) @ parameter(WIDTH, 2 * WIDTH) + parameter(2 * WIDTH))
            x = x + inner @ parameter(2 * WIDTH, WIDTH) + parameter(WIDTH)
        x = norm(x, 2 * LAYERS)
        return x @ (words if self.tied else parameter(WORDS, WIDTH)).T


TOKENS = np.random.default_rng(0).integers(0, WORDS, (3, 5)).astype(np.int32)


def port(**planted: Any) -> Any:
    """The port with normal values, drawn without running it."""
    module, random = Port(**planted), np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), TOKENS)
    return module, jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), shapes)


class Scrambled(linen.Module):
    """Another Linen model behind names and axes that say nothing of it.

    places: for each parameter its collection and new native path, its collection and native path inside, and the
        order in which its axes are stored.
    """

    inner: linen.Module
    places: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]], ...]

    def __call__(self, *inputs: Any) -> Any:
        stored: dict[Any, Any] = traverse_util.flatten_dict(dict(self.variables))
        found = {inside: stored[outside].transpose(np.argsort(order)) for outside, inside, order in self.places}
        return self.inner.apply(traverse_util.unflatten_dict(found), *inputs)


def scrambled(model: Any, seed: int = 0) -> Any:
    """A Linen model with each module and each array renamed to a number, and the axes of each array shuffled.

    Also the way back: the new path by the old native path.
    """
    random = np.random.default_rng(seed)
    module, variables = model
    flat: dict[Any, Any] = traverse_util.flatten_dict(dict(variables))
    modules = {inside[1:-1]: None for inside in flat}
    numbers = dict(zip(modules, random.permutation(len(modules)), strict=True))
    leaves = dict(zip(flat, random.permutation(len(flat)), strict=True))
    places, arrays = [], {}
    for inside, array in flat.items():
        outside = (inside[0], f"m{numbers[inside[1:-1]]}", f"x{leaves[inside]}")
        order = tuple(int(axis) for axis in random.permutation(array.ndim))
        places.append((outside, inside, order))
        arrays[outside] = array.transpose(order)
    names = {inside[1:]: ".".join(outside[1:]) for outside, inside, _ in places}
    return (Scrambled(module, tuple(places)), traverse_util.unflatten_dict(arrays)), names
