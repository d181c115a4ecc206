"""A small encoder in torch, with rotary positions, grouped queries and a gated unit, and a port of it to NNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn
from torch.nn import functional as F

import paritree

from .frame import Clean, Mutant
from .parts import drawn_normal, identity, in_dtype, scaled_gradient

WIDTH, HEADS, GROUPS, WORDS, KINDS, INNER, CLASSES = 8, 4, 2, 13, 3, 12, 3
HEAD = 4
EPS, BASE, STD = 1e-6, 1e4, 0.3
TOKENS = np.array([[3, 0, 12, 7, 5], [1, 5, 9, 11, 11], [2, 4, 6, 8, 10], [12, 3, 3, 1, 0]], np.int32)
SHOWN = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], np.int32)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, HEADS * HEAD, bias=False)
        self.key, self.value = (nn.Linear(WIDTH, GROUPS * HEAD, bias=False) for _ in range(2))
        self.out = nn.Linear(HEADS * HEAD, WIDTH, bias=False)

    def forward(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            each(x).unflatten(-1, (-1, HEAD)).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        query, key = turned(query), turned(key)
        key, value = (each.repeat_interleave(HEADS // GROUPS, 1) for each in (key, value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(HEAD)
        hidden = (shown == 0)[:, None, None]
        return self.out((scores.masked_fill(hidden, -1e9).softmax(-1) @ value).transpose(1, 2).flatten(2))


def turned(x: torch.Tensor) -> torch.Tensor:
    rates = BASE ** (-torch.arange(0, HEAD, 2, dtype=x.dtype) / HEAD)
    angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * rates
    one, other = x.chunk(2, -1)
    return torch.cat([one * angles.cos() - other * angles.sin(), other * angles.cos() + one * angles.sin()], -1)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(WIDTH, INNER, bias=False), nn.Linear(WIDTH, INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(WORDS, WIDTH), nn.Embedding(KINDS, WIDTH)
        self.norm1, self.attention = nn.RMSNorm(WIDTH, eps=EPS), Attention()
        self.norm2, self.unit = nn.RMSNorm(WIDTH, eps=EPS), Gated()
        self.norm, self.head = nn.RMSNorm(WIDTH, eps=EPS), nn.Linear(WIDTH, CLASSES)
        self.register_buffer("offsets", torch.tensor([0.5, -0.25, 0.125]))

    def forward(self, tokens: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens) + self.kinds(torch.zeros_like(tokens))
        x = x + self.attention(self.norm1(x), shown)
        x = self.norm(x + self.unit(self.norm2(x)))
        weights = shown[..., None].to(x.dtype)
        return self.head((x * weights).sum(1) / weights.sum(1)) + self.offsets


def rotated(x: Any, base: float = BASE, first: int = 0) -> Any:
    cosines, sines = _angles(x, base, first)
    one, other = jnp.split(x, 2, -1)
    return jnp.concatenate([one * cosines - other * sines, other * cosines + one * sines], -1)


def _angles(x: Any, base: float, first: int) -> tuple[Any, Any]:
    rates = base ** (-jnp.arange(0, HEAD, 2, dtype=x.dtype) / HEAD)
    angles = (jnp.arange(x.shape[-2], dtype=x.dtype)[:, None] + first) * rates
    return jnp.cos(angles), jnp.sin(angles)


def by_padding(shown: Any) -> Any:
    """What a position sees: (batch, 1, from, to)."""
    return (shown != 0)[:, None, None]


def of_shown(x: Any, shown: Any) -> Any:
    weights = shown[..., None].astype(x.dtype)
    return (x * weights).sum(1) / weights.sum(1)


def normed(x: Any, scale: Any, eps: float) -> Any:
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + eps) * scale


@dataclass(frozen=True)
class Ways:
    """What the port does and how; by default as the reference does."""

    eps: float = EPS
    norm: Callable[[Any, Any, float], Any] = normed
    turn: Callable[[Any], Any] = rotated
    turn_keys: Callable[[Any], Any] | None = None
    repeat: Callable[[Any], Any] = lambda x: jnp.repeat(x, HEADS // GROUPS, 1)
    scale: float = 1 / math.sqrt(HEAD)
    seen: Callable[[Any], Any] = by_padding
    hidden_score: float = -1e9
    offsets: Callable[[Any], Any] = identity
    act: Callable[[Any], Any] = jax.nn.silu
    inner: Callable[[Any], Any] = identity
    gate_first: bool = True
    swaps_projections: bool = False
    kind: int = 0
    kinds: Callable[[Any], Any] = identity
    pool: Callable[[Any, Any], Any] = of_shown
    head: Callable[[Any, Any], Any] = lambda layer, x: layer(x)
    weights: Callable[[Any], Any] = identity
    order: Callable[[Any, Any], tuple[Any, Any]] = lambda tokens, shown: (tokens, shown)
    skips_last_norm: bool = False


class Norm(nnx.Module):
    def __init__(self, ways: Ways, eps: float) -> None:
        self.ways, self.eps, self.g = ways, eps, nnx.Param(jnp.ones(WIDTH))

    def __call__(self, x: Any) -> Any:
        return self.ways.norm(x, self.g[...], self.eps)


def linear(width: int, inner: int, rngs: nnx.Rngs, bias: bool = False) -> nnx.Linear:
    return nnx.Linear(width, inner, use_bias=bias, kernel_init=nnx.initializers.normal(STD), rngs=rngs)


class Attending(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        self.q, self.k = linear(WIDTH, HEADS * HEAD, rngs), linear(WIDTH, GROUPS * HEAD, rngs)
        self.v, self.o = linear(WIDTH, GROUPS * HEAD, rngs), linear(HEADS * HEAD, WIDTH, rngs)

    def __call__(self, x: Any, shown: Any) -> Any:
        ways = self.ways
        query, key, value = (
            each(x).reshape(*x.shape[:2], -1, HEAD).swapaxes(1, 2) for each in (self.q, self.k, self.v)
        )
        key, value = (value, key) if ways.swaps_projections else (key, value)
        query, key = ways.turn(query), (ways.turn_keys or ways.turn)(key)
        key, value = ways.repeat(key), ways.repeat(value)
        scores = query @ key.swapaxes(-1, -2) * ways.scale
        weights = jax.nn.softmax(jnp.where(ways.seen(shown), scores, ways.hidden_score))
        mixed = (ways.weights(weights) @ value).swapaxes(1, 2)
        return self.o(mixed.reshape(*mixed.shape[:2], -1))


class Unit(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        self.w1, self.w3, self.w2 = linear(WIDTH, INNER, rngs), linear(WIDTH, INNER, rngs), linear(INNER, WIDTH, rngs)

    def __call__(self, x: Any) -> Any:
        gate, up = self.w1(x), self.w3(x)
        gate, up = (gate, up) if self.ways.gate_first else (up, gate)
        return self.w2(self.ways.inner(self.ways.act(gate) * up))


class Port(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        init = nnx.initializers.normal(STD)
        self.table = nnx.Embed(WORDS, WIDTH, embedding_init=init, rngs=rngs)
        self.segments = nnx.Embed(KINDS, WIDTH, embedding_init=init, rngs=rngs)
        self.first, self.mix = Norm(Ways(), EPS), Attending(ways, rngs)
        self.second, self.mlp = Norm(ways, ways.eps), Unit(ways, rngs)
        self.third, self.classes = Norm(Ways(), EPS), linear(WIDTH, CLASSES, rngs, bias=True)
        self.shift = nnx.BatchStat(jnp.array([0.5, -0.25, 0.125]))

    def __call__(self, tokens: Any, shown: Any) -> Any:
        ways = self.ways
        tokens, shown = ways.order(tokens, shown)
        x = self.table(tokens) + ways.kinds(self.segments(jnp.full_like(tokens, ways.kind)))
        x = x + self.mix(self.first(x), shown)
        x = x + self.mlp(self.second(x))
        x = x if ways.skips_last_norm else self.third(x)
        return ways.head(self.classes, ways.pool(x, shown)) + ways.offsets(self.shift[...])


def pair(ways: Ways = Ways()) -> paritree.Pair:
    def port(seed: int) -> Port:
        return Port(ways, nnx.Rngs(seed))

    return paritree.Pair(lambda seed: drawn_normal(Encoder(), STD, seed), port, (TOKENS, SHOWN))


NAME = "encoder in NNX"
CLEAN = [Clean(NAME, pair)]


def planted(
    name: str, ways: Ways, module: str, *causes: str, trap: str = "forward", contracts: tuple[str, ...] = ("forward",)
) -> Mutant:
    return Mutant(name, NAME, lambda: pair(ways), contracts, module, causes, trap)


def interleaved(x: Any) -> Any:
    """The pairs that are turned are neighbours, as in GPT-J, and not half a head apart, as in GPT-NeoX."""
    cosines, sines = _angles(x, BASE, 0)
    one, other = x[..., ::2], x[..., 1::2]
    return jnp.stack([one * cosines - other * sines, other * cosines + one * sines], -1).reshape(x.shape)


def turned_back(x: Any) -> Any:
    cosines, sines = _angles(x, BASE, 0)
    one, other = jnp.split(x, 2, -1)
    return jnp.concatenate([one * cosines + other * sines, other * cosines - one * sines], -1)


def head_without_bias(layer: nnx.Linear, x: Any) -> Any:
    return x @ layer.kernel[...]


def centred(x: Any, scale: Any, eps: float) -> Any:
    centre = x - x.mean(-1, keepdims=True)
    return centre * jax.lax.rsqrt(jnp.square(centre).mean(-1, keepdims=True) + eps) * scale


def eps_outside(x: Any, scale: Any, eps: float) -> Any:
    return x / (jnp.sqrt(jnp.square(x).mean(-1, keepdims=True)) + 0.01) * scale


MUTANTS = [
    planted("key and value swapped", Ways(swaps_projections=True), "attention", "wiring", "swapped", trap="layout"),
    planted("gate and up swapped", Ways(gate_first=False), "unit", "activation", "wiring", "swapped", trap="layout"),
    planted(
        "groups repeated in turns",
        Ways(repeat=lambda x: jnp.tile(x, (1, HEADS // GROUPS, 1, 1))),
        "attention",
        "heads",
        "axis order",
        trap="layout",
    ),
    planted("rotary of neighbours", Ways(turn=interleaved), "attention", "rotary", trap="layout"),
    planted("rotary turned back", Ways(turn=turned_back, turn_keys=rotated), "attention", "rotary"),
    planted("rotary of another base", Ways(turn=lambda x: rotated(x, base=5e5)), "attention", "rotary"),
    planted(
        "rotary of the queries from one",
        Ways(turn=lambda x: rotated(x, first=1), turn_keys=rotated),
        "attention",
        "rotary",
    ),
    planted("no rotary", Ways(turn=identity), "attention", "rotary"),
    planted("RMSNorm with an eps of 1e-5", Ways(eps=1e-5), "norm2", "eps"),
    planted("RMSNorm with eps outside of the root", Ways(norm=eps_outside), "norm2", "eps", "statistics"),
    planted(
        "RMSNorm that scales by 1 + w", Ways(norm=lambda x, scale, eps: normed(x, 1 + scale, eps)), "norm2", "scale"
    ),
    planted("RMSNorm that takes the mean off", Ways(norm=centred), "norm2", "statistics"),
    planted("mask of the other polarity", Ways(seen=lambda shown: (shown == 0)[:, None, None]), "attention", "mask"),
    planted("mask left out", Ways(seen=lambda shown: jnp.ones_like(shown, bool)[:, None, None]), "attention", "mask"),
    planted("mask of the queries", Ways(seen=lambda shown: (shown != 0)[:, None, :, None]), "attention", "mask"),
    planted("mask of a mild score", Ways(hidden_score=-1.0), "attention", "mask"),
    planted(
        "a mask that is causal too",
        Ways(seen=lambda shown: (shown != 0)[:, None, None] & jnp.tri(5, dtype=bool)),
        "attention",
        "mask",
    ),
    planted("a buffer left out", Ways(offsets=lambda x: 0.0 * x), "head", "bias", "buffer"),
    planted("a buffer taken off", Ways(offsets=lambda x: -x), "head", "bias", "buffer"),
    planted("attention scaled by the width", Ways(scale=WIDTH**-0.5), "attention", "scale"),
    planted("GELU for SiLU", Ways(act=jax.nn.gelu), "unit", "activation"),
    planted("another kind by default", Ways(kind=1), "kinds", "default input"),
    planted("no kinds", Ways(kinds=lambda x: 0.0 * x), "kinds", "wiring"),
    planted("pooled over the padding too", Ways(pool=lambda x, shown: x.mean(1)), "head", "mask", "pooling", "wiring"),
    planted("the first position in the mean's place", Ways(pool=lambda x, shown: x[:, 0]), "head", "pooling", "wiring"),
    planted(
        "summed and not averaged",
        Ways(pool=lambda x, shown: (x * shown[..., None]).sum(1)),
        "head",
        "pooling",
        "scale",
        "wiring",
    ),
    planted(
        "pooled over the features",
        Ways(pool=lambda x, shown: jnp.broadcast_to(x.mean(-1)[:, :1], (x.shape[0], WIDTH))),
        "head",
        "pooling",
        "wiring",
    ),
    planted("logits without a bias", Ways(head=head_without_bias), "head", "bias"),
    planted(
        "arguments in another order",
        Ways(order=lambda tokens, shown: (shown, tokens)),
        "words",
        "default input",
        "argument order",
    ),
    planted(
        "the last norm left out",
        Ways(skips_last_norm=True),
        "norm",
        "calls",
        "no gradient",
        contracts=("forward", "gradients"),
    ),
    planted("weights in bfloat16", Ways(weights=in_dtype(jnp.bfloat16)), "attention", "dropped dtype"),
    planted(
        "a gated unit's gradient cut off",
        Ways(inner=jax.lax.stop_gradient),
        "unit",
        "no gradient",
        trap="gradients",
        contracts=("gradients",),
    ),
    planted(
        "a gradient of the attention's weights doubled",
        Ways(weights=scaled_gradient(2.0)),
        "attention",
        "gradient scale",
        trap="gradients",
        contracts=("gradients",),
    ),
]
