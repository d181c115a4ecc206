"""A model with an initializer of each usual kind, ports that draw alike, and what goes wrong in drawing.

The ports are one program over two sets of modules, with names of their own. What is drawn is told by `Draws`; a mutant
draws one thing in another way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

import paritree

from .frame import Clean, Mutant

WIDTH, WORDS, PLACES, INNER, BLOCKS = 32, 24, 20, 64, 2
# As GPT-2 of that many blocks draws its residual projections.
RESIDUAL_STD = 0.02 / math.sqrt(2 * 5)
TANH_GAIN = 5 / 3
# None of them is the index that pads, whose row the reference does not train.
TOKENS = np.array([[3, 8, 12, 7], [1, 5, 23, 11]], np.int32)

Init = Callable[[Any, tuple[int, ...], Any], Any]
scaled = nnx.initializers.variance_scaling
normal = nnx.initializers.normal


class Drawn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.places = nn.Parameter(nn.init.trunc_normal_(torch.empty(PLACES, WIDTH), std=0.02))
        self.norm = nn.LayerNorm(WIDTH)
        self.fused, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mixes = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2)])
        self.rotation = nn.Linear(WIDTH, WIDTH, bias=False)
        self.stack = nn.Parameter(torch.randn(BLOCKS, WIDTH, WIDTH) / math.sqrt(WIDTH))
        self.up, self.slope, self.down = nn.Linear(WIDTH, INNER), nn.PReLU(), nn.Linear(INNER, WIDTH)
        self.gates = nn.Linear(WIDTH, 4 * WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight
        nn.init.xavier_uniform_(self.fused.weight)
        nn.init.normal_(self.project.weight, std=RESIDUAL_STD)
        for mix in self.mixes:
            nn.init.normal_(mix.weight, std=1 / math.sqrt(WIDTH))
        nn.init.orthogonal_(self.rotation.weight)
        nn.init.kaiming_normal_(self.down.weight)
        nn.init.xavier_normal_(self.gates.weight, TANH_GAIN)
        for layer in (self.fused, self.project, self.up, self.down, self.gates):
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            # LSTM's forget gate is open at first.
            self.gates.bias[WIDTH : 2 * WIDTH] = 1.0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.words(tokens) + self.places[: tokens.shape[1]])
        query, key, value = self.fused(h).chunk(3, -1)
        h = h + self.project(torch.tanh(query) * torch.sigmoid(key) + value)
        h = torch.sin(self.mixes[1](torch.tanh(self.mixes[0](h)))) + self.rotation(h)
        for block in range(BLOCKS):
            h = torch.tanh(h @ self.stack[block])
        h = h + self.down(self.slope(self.up(h)))
        write, forget, made, read = self.gates(h).chunk(4, -1)
        cell = torch.sigmoid(forget) * h + torch.sigmoid(write) * torch.tanh(made)
        return self.head(torch.sigmoid(read) * torch.tanh(cell))


def uniform(bound: float) -> Init:
    """On both sides of zero, unlike Flax's."""
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def padded(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.random.normal(key, shape, dtype).at[0].set(0.0)


def forget_open(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return jnp.zeros(shape, dtype).at[WIDTH : 2 * WIDTH].set(1.0)


def alone(rngs: nnx.Rngs, first: Any) -> Init:
    """The second mix's own draw."""
    return MIX


LINEAR = scaled(1 / 3, "fan_in", "uniform")
MIX = normal(1 / math.sqrt(WIDTH))


@dataclass(frozen=True)
class Draws:
    """What is drawn. `again` gives the second mix's initializer from the first."""

    words: Init
    places: Init
    fused: Init
    project: Init
    again: Callable[[nnx.Rngs, Any], Init]
    rotation: Init
    stack: Init
    up: Init
    up_bias: Init
    slope: Init
    down: Init
    gates: Init
    gates_bias: Init
    scale: Init
    shift: Init


USUAL = Draws(
    words=padded,
    places=normal(0.02),
    fused=scaled(1.0, "fan_avg", "uniform"),
    project=normal(RESIDUAL_STD),
    again=alone,
    rotation=nnx.initializers.orthogonal(),
    stack=normal(1 / math.sqrt(WIDTH)),
    up=LINEAR,
    up_bias=nnx.initializers.zeros,
    slope=nnx.initializers.constant(0.25),
    down=scaled(2.0, "fan_in", "normal"),
    gates=scaled(TANH_GAIN**2, "fan_avg", "normal"),
    gates_bias=forget_open,
    scale=nnx.initializers.ones,
    shift=nnx.initializers.zeros,
)


def run(model: Any, tokens: Any) -> Any:
    h = model.ln(model.tok(tokens) + model.pos[: tokens.shape[1]])
    query, key, value = jnp.split(model.qkv(h), 3, -1)
    h = h + model.proj(jnp.tanh(query) * jax.nn.sigmoid(key) + value)
    h = jnp.sin(model.mix_b(jnp.tanh(model.mix_a(h)))) + model.turn(h)
    for block in range(BLOCKS):
        h = jnp.tanh(h @ model.stack[block])
    inner = model.fc(h)
    h = h + model.back(jnp.where(inner >= 0, inner, model.negative[0] * inner))
    write, forget, made, read = jnp.split(model.gate(h), 4, -1)
    cell = jax.nn.sigmoid(forget) * h + jax.nn.sigmoid(write) * jnp.tanh(made)
    return model.tok.attend(jax.nn.sigmoid(read) * jnp.tanh(cell))


class NnxDrawn(nnx.Module):
    def __init__(self, draws: Draws, rngs: nnx.Rngs) -> None:
        def linear(into: int, out: int, init: Init, bias_init: Init | None = None) -> nnx.Linear:
            use_bias = bias_init is not None
            bias_init = bias_init or nnx.initializers.zeros
            return nnx.Linear(into, out, use_bias=use_bias, kernel_init=init, bias_init=bias_init, rngs=rngs)

        zeros = nnx.initializers.zeros
        self.tok = nnx.Embed(WORDS, WIDTH, embedding_init=draws.words, rngs=rngs)
        self.pos = nnx.Param(draws.places(rngs.params(), (PLACES, WIDTH), jnp.float32))
        self.ln = nnx.LayerNorm(
            WIDTH, epsilon=1e-5, use_fast_variance=False, scale_init=draws.scale, bias_init=draws.shift, rngs=rngs
        )
        self.qkv, self.proj = (linear(WIDTH, 3 * WIDTH, draws.fused, zeros), linear(WIDTH, WIDTH, draws.project, zeros))
        self.mix_a = linear(WIDTH, WIDTH, MIX)
        self.mix_b = linear(WIDTH, WIDTH, draws.again(rngs, self.mix_a.kernel[...]))
        self.turn = linear(WIDTH, WIDTH, draws.rotation)
        self.stack = nnx.Param(draws.stack(rngs.params(), (BLOCKS, WIDTH, WIDTH), jnp.float32))
        self.fc, self.back = linear(WIDTH, INNER, draws.up, draws.up_bias), linear(INNER, WIDTH, draws.down, zeros)
        self.negative = nnx.Param(draws.slope(rngs.params(), (1,), jnp.float32))
        self.gate = linear(WIDTH, 4 * WIDTH, draws.gates, draws.gates_bias)

    def __call__(self, tokens: Any) -> Any:
        return run(self, tokens)


class Layers(nn.Module):
    """As PyTorch initializes it, the tied head being the words' table."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(WORDS, WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.slope = nn.Linear(WIDTH, WIDTH), nn.PReLU()
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.slope(self.up(self.norm(self.words(tokens)))))


class LinenLayers(linen.Module):
    draws: Draws

    def setup(self) -> None:
        draws = self.draws
        self.tok = linen.Embed(WORDS, WIDTH, embedding_init=draws.words)
        self.ln = linen.LayerNorm(epsilon=1e-5, use_fast_variance=False, scale_init=draws.scale, bias_init=draws.shift)
        self.fc = linen.Dense(WIDTH, kernel_init=draws.up, bias_init=draws.up_bias)
        self.negative = self.param("negative", draws.slope, (1,), jnp.float32)

    def __call__(self, tokens: Any) -> Any:
        inner = self.fc(self.ln(self.tok(tokens)))
        return self.tok.attend(jnp.where(inner >= 0, inner, self.negative[0] * inner))


def seeded(model: type[nn.Module]) -> Callable[[int], nn.Module]:
    def factory(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return model()

    return factory


def in_nnx(draws: Draws = USUAL) -> paritree.Pair:
    return paritree.Pair(seeded(Drawn), lambda seed: NnxDrawn(draws, nnx.Rngs(seed)), (TOKENS,))


DEFAULTS = replace(USUAL, words=normal(1.0), up_bias=uniform(1 / math.sqrt(WIDTH)))


def in_linen(draws: Draws = DEFAULTS) -> paritree.Pair:
    module = LinenLayers(draws)
    init = jax.jit(module.init)
    return paritree.Pair(seeded(Layers), lambda seed: (module, init(jax.random.key(int(seed)), TOKENS)), (TOKENS,))


NNX, LINEN = "draws in NNX", "draws in Linen"
PAIRS = {NNX: in_nnx, LINEN: in_linen}
CLEAN = [Clean(name, pair) for name, pair in PAIRS.items()]


def planted(name: str, clean: str, draws: Draws, module: str, *causes: str) -> Mutant:
    return Mutant(name, clean, lambda: PAIRS[clean](draws), ("initialization",), module, causes, "initialization")


def per_block(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Each of the three fused blocks drawn by itself."""
    parts = [USUAL.fused(each, (shape[0], shape[1] // 3), dtype) for each in jax.random.split(key, 3)]
    return jnp.concatenate(parts, 1)


def without_sign_fix(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return jnp.linalg.qr(jax.random.normal(key, shape, dtype))[0]


def all_random(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.random.normal(key, shape, dtype)


def flax_embedding(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return scaled(1.0, "fan_in", "normal", out_axis=0)(key, shape, dtype).at[0].set(0.0)


def one_key(rngs: nnx.Rngs, first: Any) -> Init:
    return lambda key, shape, dtype: first


def dependent(rngs: nnx.Rngs, first: Any) -> Init:
    return lambda key, shape, dtype: 0.6 * first + 0.8 * MIX(key, shape, dtype)


def value_at_zero(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return USUAL.fused(key, shape, dtype).at[:, 2 * WIDTH :].set(0.0)


LECUN = nnx.initializers.lecun_normal()
ZEROS, ONES = nnx.initializers.zeros, nnx.initializers.ones


def in_drawn(name: str, module: str, *causes: str, **other: Any) -> Mutant:
    return planted(name, NNX, replace(USUAL, **other), module, *causes)


def in_layers(name: str, module: str, *causes: str, **other: Any) -> Mutant:
    return planted(name, LINEN, replace(DEFAULTS, **other), module, *causes)


MUTANTS = [
    in_layers("Flax's kernel default", "up", "initializer family", up=LECUN),
    in_layers("Flax's bias default", "up", "constant", up_bias=ZEROS),
    in_drawn("fan_out for fan_in", "down", "fan", down=scaled(2.0, "fan_out", "normal")),
    in_drawn("fans of a third of the fused kernel", "fused", "fan", fused=per_block),
    in_drawn("Glorot for He", "down", "fan", down=scaled(1.0, "fan_avg", "normal")),
    in_drawn("std 10 % too large", "places", "std", places=normal(0.022)),
    in_drawn("the variance for the std", "down", "std", "fan", down=normal(2 / INNER)),
    in_drawn("the std for the bound", "fused", "std", "fan", fused=uniform(math.sqrt(2 / (4 * WIDTH)))),
    in_drawn("He truncated", "down", "truncation", down=nnx.initializers.he_normal()),
    in_drawn("cut at two sigma", "places", "truncation", places=nnx.initializers.truncated_normal(0.02)),
    in_layers(
        "uniform on one side of zero", "up", "mean", "initializer family", up=nnx.initializers.uniform(WIDTH**-0.5)
    ),
    in_drawn("a stack without batch_axis", "stack", "std", "fan", stack=scaled(1.0, "fan_in", "normal")),
    in_drawn("one key for two layers", "mixes", "reused key", again=one_key),
    in_drawn("draws that depend on each other", "mixes", "reused key", again=dependent),
    in_layers("a shift of ones", "norm", "constant", shift=ONES),
    in_drawn("a scale of zeros", "norm", "constant", scale=ZEROS),
    in_drawn("a scale that is drawn", "norm", "constant", scale=normal(0.02)),
    in_layers("the head's initializer for the tie", "words", "tie direction", words=LINEAR),
    in_drawn("Flax's embedding default", "words", "std", words=flax_embedding),
    in_drawn("the padding row drawn", "words", "constant", "zeros", words=all_random),
    in_drawn("no sign fix", "rotation", "orthogonal", rotation=without_sign_fix),
    in_drawn("not orthogonal", "rotation", "orthogonal", rotation=MIX),
    in_drawn("orthogonal of another gain", "rotation", "orthogonal", rotation=nnx.initializers.orthogonal(TANH_GAIN)),
    in_drawn("no scale by depth", "project", "depth", project=normal(0.02)),
    in_drawn("the gain lost", "gates", "std", gates=scaled(1.0, "fan_avg", "normal")),
    in_layers("Flax's slope", "slope", "constant", slope=nnx.initializers.constant(0.01)),
    in_drawn("the forget gate closed", "gates", "constant", gates_bias=ZEROS),
    in_drawn("one block at zero", "fused", "constant", "zeros", fused=value_at_zero),
]
