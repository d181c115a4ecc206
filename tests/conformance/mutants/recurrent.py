"""An LSTM and a GRU in torch over padded sequences, and a port of them to NNX with cells written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

import paritree

from .frame import Clean, Mutant
from .parts import drawn_normal, identity

WORDS, WIDTH, CELLS, LAST, CLASSES, STD = 13, 6, 5, 4, 3, 0.4
TOKENS = np.array([[3, 0, 12, 7], [1, 5, 9, 0]], np.int32)
LENGTHS = np.array([4, 3], np.int32)


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(WORDS, WIDTH), nn.LSTM(WIDTH, CELLS, batch_first=True)
        self.gru, self.head = nn.GRU(CELLS, LAST, batch_first=True), nn.Linear(LAST, CLASSES)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = self.gru(self.lstm(self.words(tokens))[0])[0]
        return self.head(x[torch.arange(len(x)), lengths.long() - 1])


Gates = Callable[[Any], Any]


def long_short(x: Any) -> list[Any]:
    return jnp.split(x, 4, -1)


def last_of(x: Any, lengths: Any) -> Any:
    return x[jnp.arange(x.shape[0]), lengths - 1]


@dataclass(frozen=True)
class Ways:
    """What the port does and how; by default as the reference does."""

    gates: Callable[[Any], list[Any]] = long_short
    forget: float = 0.0
    squash: Callable[[Any], Any] = jnp.tanh
    given_out: Callable[[Any, Any], Any] = lambda c, h: h
    swaps_carry: bool = False
    inside: bool = True
    resets_before: bool = False
    kept: Callable[[Any, Any, Any], Any] = lambda z, new, old: (1 - z) * new + z * old
    gru_gates: Callable[[Any], list[Any]] = lambda x: jnp.split(x, 3, -1)
    start: float = 0.0
    backwards: bool = False
    words: Callable[[Any], Any] = identity
    table: Callable[[Any], Any] = identity
    last: Callable[[Any, Any], Any] = last_of
    between: Callable[[Any], Any] = identity
    remembered: Callable[[Any], Any] = identity


def linear(width: int, inner: int, rngs: nnx.Rngs, bias: bool = True) -> nnx.Linear:
    return nnx.Linear(width, inner, use_bias=bias, kernel_init=nnx.initializers.normal(STD), rngs=rngs)


class LongShort(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        self.i2h, self.h2h = linear(WIDTH, 4 * CELLS, rngs), linear(CELLS, 4 * CELLS, rngs)

    def __call__(self, x: Any) -> Any:
        ways = self.ways
        memory = hidden = jnp.full((x.shape[0], CELLS), ways.start, x.dtype)
        found = []
        for step in jnp.unstack(self.i2h(x), axis=1):
            enter, forget, cell, leave = ways.gates(step + self.h2h(hidden))
            forget = jax.nn.sigmoid(forget + ways.forget)
            memory = forget * ways.remembered(memory) + jax.nn.sigmoid(enter) * jnp.tanh(cell)
            hidden = jax.nn.sigmoid(leave) * ways.squash(memory)
            memory, hidden = (hidden, memory) if ways.swaps_carry else (memory, hidden)
            found.append(ways.given_out(memory, hidden))
        return jnp.stack(found, 1)


class Gated(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        self.i2h, self.h2h = linear(CELLS, 3 * LAST, rngs), linear(LAST, 3 * LAST, rngs)

    def __call__(self, x: Any) -> Any:
        ways = self.ways
        hidden = jnp.zeros((x.shape[0], LAST), x.dtype)
        found = []
        for step in jnp.unstack(self.i2h(x), axis=1):
            (r, z, new), (r_, z_, old) = ways.gru_gates(step), ways.gru_gates(self._within(hidden))
            reset, update = jax.nn.sigmoid(r + r_), jax.nn.sigmoid(z + z_)
            if ways.resets_before:
                old = ways.gru_gates(self._within(reset * hidden))[2]
            new = jnp.tanh(new + (old if ways.resets_before else reset * old))
            hidden = ways.kept(update, new, hidden)
            found.append(hidden)
        return jnp.stack(found, 1)

    def _within(self, hidden: Any) -> Any:
        if self.ways.inside:
            return self.h2h(hidden)
        # No bias inside the reset gate's product, as in `nnx.GRUCell`.
        bias = self.h2h.bias[...]
        return hidden @ self.h2h.kernel[...] + jnp.where(jnp.arange(3 * LAST) < 2 * LAST, bias, 0)


class Port(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        self.table = nnx.Embed(WORDS, WIDTH, embedding_init=nnx.initializers.normal(STD), rngs=rngs)
        self.lower, self.upper = LongShort(ways, rngs), Gated(ways, rngs)
        self.classes = linear(LAST, CLASSES, rngs)

    def __call__(self, tokens: Any, lengths: Any) -> Any:
        ways = self.ways
        x = ways.table(self.table(ways.words(tokens)))
        x = x[:, ::-1] if ways.backwards else x
        return self.classes(ways.last(self.upper(ways.between(self.lower(x))), lengths))


def pair(ways: Ways = Ways()) -> paritree.Pair:
    def port(seed: int) -> Port:
        return Port(ways, nnx.Rngs(seed))

    return paritree.Pair(lambda seed: drawn_normal(Reader(), STD, seed), port, (TOKENS, LENGTHS))


NAME = "recurrent in NNX"
CLEAN = [Clean(NAME, pair)]


def planted(
    name: str, ways: Ways, module: str, *causes: str, trap: str = "forward", contracts: tuple[str, ...] = ("forward",)
) -> Mutant:
    return Mutant(name, NAME, lambda: pair(ways), contracts, module, causes, trap)


def in_order(order: tuple[int, ...]) -> Callable[[Any], list[Any]]:
    return lambda x: [jnp.split(x, len(order), -1)[place] for place in order]


def unpadded(tokens: Any) -> Any:
    return jnp.where(tokens == 0, WORDS, tokens)


LSTM, GATES = "lstm", ("block order", "gates", "swapped")
MUTANTS = [
    planted("gates in the order i f o g", Ways(gates=in_order((0, 1, 3, 2))), LSTM, *GATES, trap="layout"),
    planted("gates in the order i o f g", Ways(gates=in_order((0, 2, 3, 1))), LSTM, *GATES, trap="layout"),
    planted(
        "gates interleaved",
        Ways(gates=lambda x: [x[..., n::4] for n in range(4)]),
        LSTM,
        *GATES,
        "axis order",
        trap="layout",
    ),
    planted("reset and update swapped", Ways(gru_gates=in_order((1, 0, 2))), "gru", *GATES, trap="layout"),
    planted(
        "update gate turned over",
        Ways(kept=lambda z, new, old: z * new + (1 - z) * old),
        "gru",
        "gates",
        "wiring",
        "carry",
    ),
    planted("carry as (h, c)", Ways(swaps_carry=True), LSTM, "carry", "wiring", "swapped"),
    planted("the memory for the output", Ways(given_out=lambda c, h: c), LSTM, "carry", "wiring"),
    planted("one more for the forget gate", Ways(forget=1.0), LSTM, "bias", "gates"),
    planted("no tanh of the memory", Ways(squash=identity), LSTM, "activation"),
    planted("sigmoid of the memory", Ways(squash=jax.nn.sigmoid), LSTM, "activation"),
    planted("a carry that starts at one", Ways(start=1.0), LSTM, "carry"),
    planted("no bias inside of the reset", Ways(inside=False), "gru", "bias", "unused"),
    planted("reset before the product", Ways(resets_before=True), "gru", "gates", "reset", "wiring"),
    planted("read backwards", Ways(backwards=True), LSTM, "axis order", "reversed"),
    planted(
        "the last position for the last word",
        Ways(last=lambda x, lengths: x[:, -1]),
        "head",
        "pooling",
        "mask",
        "wiring",
    ),
    planted(
        "the last but one", Ways(last=lambda x, lengths: last_of(x, lengths - 1)), "head", "pooling", "mask", "wiring"
    ),
    planted("an index out of range", Ways(words=unpadded), "words", "default input", "not finite"),
    planted(
        "padding made zero", Ways(words=lambda tokens: jnp.where(tokens == 0, 1, tokens)), "words", "default input"
    ),
    planted(
        "batch and time swapped",
        Ways(between=lambda x: x.reshape(x.shape[1], x.shape[0], -1).swapaxes(0, 1)),
        "gru",
        "axis order",
    ),
    planted("embedding times sqrt(d)", Ways(table=lambda x: x * WIDTH**0.5), LSTM, "scale"),
    planted(
        "truncated through time",
        Ways(remembered=jax.lax.stop_gradient),
        LSTM,
        "no gradient",
        "missing site",
        "gradient scale",
        "gradient",
        trap="gradients",
        contracts=("gradients",),
    ),
    planted(
        "the lower layer's gradient cut off",
        Ways(between=jax.lax.stop_gradient),
        LSTM,
        "no gradient",
        trap="gradients",
        contracts=("gradients",),
    ),
]
