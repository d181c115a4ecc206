"""Freedoms that cancel: orders and factors that one program makes up for, and what no weights make up for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree import AlignmentError, Pair
from paritree.migration.align.freedoms import known_factor, regrouped, turned

D, HEADS, GROUPS, LENGTH, V = 24, 4, 2, 5, 9
WIDTH = D // HEADS


@dataclass(frozen=True)
class Way:
    """How a program treats what its layers give.

    rotary: `halves`, `pairs` or none. inner: heads come after what is in them. striped: query head i belongs to group
    i % GROUPS. scale: of the scores. word: what embedded words are multiplied by.
    """

    rotary: str = ""
    inner: bool = False
    striped: bool = False
    scale: float = WIDTH**-0.5
    word: float = 1.0
    base: float = 100.0


def attended(np_: Any, way: Way, q: Any, k: Any, v: Any) -> Any:
    """Of (batch, place, features), in either framework's functions."""
    angles = np.outer(np.arange(LENGTH), way.base ** (-np.arange(0, WIDTH, 2) / WIDTH)).astype(np.float32)
    cos, sin = (np_.asarray(each)[:, None] for each in (np.cos(angles), np.sin(angles)))
    q, k, v = (_heads(np_, way, each) for each in (q, k, v))
    if way.rotary:
        q, k = (_rotated(np_, way, each, cos, sin) for each in (q, k))
    of = [head % GROUPS if way.striped else head * GROUPS // HEADS for head in range(HEADS)]
    k, v = k[:, :, of], v[:, :, of]
    scores = np_.einsum("bqhd,bkhd->bhqk", q, k) * way.scale
    weights = torch.softmax(scores, -1) if np_ is torch else jax.nn.softmax(scores, -1)
    mixed = np_.einsum("bhqk,bkhd->bqhd", weights, v)
    return np_.swapaxes(mixed, -1, -2).reshape(*mixed.shape[:2], D) if way.inner else mixed.reshape(*mixed.shape[:2], D)


def _heads(np_: Any, way: Way, x: Any) -> Any:
    if way.inner:
        return np_.swapaxes(x.reshape(*x.shape[:2], WIDTH, -1), -1, -2)
    return x.reshape(*x.shape[:2], -1, WIDTH)


def _rotated(np_: Any, way: Way, x: Any, cos: Any, sin: Any) -> Any:
    half = WIDTH // 2
    one, two = (x[..., ::2], x[..., 1::2]) if way.rotary == "pairs" else (x[..., :half], x[..., half:])
    both = one * cos - two * sin, two * cos + one * sin
    if way.rotary == "pairs":
        return np_.stack(both, -1).reshape(x.shape)
    return np_.concatenate(both, -1)


class TorchBlock(torch.nn.Module):
    def __init__(self, way: Way, bias: bool) -> None:
        super().__init__()
        self.way = way
        self.norm = torch.nn.LayerNorm(D)
        self.q_proj, self.o_proj = torch.nn.Linear(D, D, bias=bias), torch.nn.Linear(D, D, bias=bias)
        self.k_proj, self.v_proj = (torch.nn.Linear(D, GROUPS * WIDTH, bias=bias) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.o_proj(attended(torch, self.way, self.q_proj(y), self.k_proj(y), self.v_proj(y)))


class Torch(torch.nn.Module):
    def __init__(self, way: Way, bias: bool = False, layers: int = 2) -> None:
        super().__init__()
        self.word = way.word
        self.embed = torch.nn.Embedding(V, D)
        self.layers = torch.nn.ModuleList(TorchBlock(way, bias) for _ in range(layers))
        self.head = torch.nn.Linear(D, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) * self.word
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class NnxBlock(nnx.Module):
    def __init__(self, way: Way, bias: bool, rngs: nnx.Rngs) -> None:
        self.way, self.norm = way, nnx.LayerNorm(D, epsilon=1e-5, rngs=rngs)
        self.query, self.out = (nnx.Linear(D, D, use_bias=bias, rngs=rngs) for _ in range(2))
        self.key, self.value = (nnx.Linear(D, GROUPS * WIDTH, use_bias=bias, rngs=rngs) for _ in range(2))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm(x)
        return x + self.out(attended(jnp, self.way, self.query(y), self.key(y), self.value(y)))


class Nnx(nnx.Module):
    def __init__(self, way: Way, bias: bool = False, layers: int = 2) -> None:
        rngs = nnx.Rngs(0)
        self.word = way.word
        self.embed = nnx.Embed(V, D, rngs=rngs)
        self.layers = nnx.List([NnxBlock(way, bias, rngs) for _ in range(layers)])
        self.head = nnx.Linear(D, 3, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embed(ids) * self.word
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Linen(linen.Module):
    """Kernels of queries, keys and values have an axis for the heads."""

    way: Way
    bias: bool = False

    @linen.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        x = linen.Embed(V, D, name="embed")(ids) * self.way.word
        for layer in range(2):
            y = linen.LayerNorm(epsilon=1e-5, name=f"norm_{layer}")(x)
            sizes = {"wq": (HEADS, WIDTH), "wk": (GROUPS, WIDTH), "wv": (GROUPS, WIDTH)}
            q, k, v = (
                linen.DenseGeneral(size, use_bias=self.bias, name=f"{name}_{layer}")(y).reshape(*y.shape[:2], -1)
                for name, size in sizes.items()
            )
            x = x + linen.Dense(D, use_bias=self.bias, name=f"wo_{layer}")(attended(jnp, self.way, q, k, v))
        return linen.Dense(3, name="head")(x)


IDS = np.random.default_rng(0).integers(0, V, (2, LENGTH)).astype(np.int32)


def torch_model(way: Way, bias: bool = False) -> Torch:
    torch.manual_seed(0)
    return Torch(way, bias)


def nnx_model(way: Way, bias: bool = False) -> Nnx:
    return Nnx(way, bias)


def linen_model(way: Way, bias: bool = False) -> Any:
    module = Linen(way, bias)
    return module, module.init(jax.random.key(0), IDS)


HALVES, PAIRS = Way("halves"), Way("pairs")
RIGHT = {
    "halves to pairs": (torch_model, HALVES, nnx_model, PAIRS),
    "pairs to halves": (torch_model, PAIRS, nnx_model, HALVES),
    "halves to pairs, from nnx": (nnx_model, HALVES, torch_model, PAIRS),
    "halves to pairs, linen": (torch_model, HALVES, linen_model, PAIRS),
    "heads inside": (torch_model, Way(), nnx_model, Way(inner=True)),
    "heads inside, back": (nnx_model, Way(inner=True), torch_model, Way()),
    "striped groups": (torch_model, Way(), nnx_model, Way(striped=True)),
    "striped groups, linen": (torch_model, Way(striped=True), linen_model, Way()),
    "scale in the query": (torch_model, Way(), nnx_model, Way(scale=1.0)),
    "scale in the query, linen": (torch_model, Way(), linen_model, Way(scale=1.0)),
    "scale of the port alone": (torch_model, Way(scale=1.0), nnx_model, Way()),
    "a quarter": (torch_model, Way(scale=0.25), nnx_model, Way(scale=1.0)),
    "words times sqrt(d)": (torch_model, Way(word=D**0.5), nnx_model, Way()),
    "words times sqrt(d) in the port": (nnx_model, Way(), torch_model, Way(word=D**0.5)),
}


# Each with biases or without them; the thorough suite has both.
CASES = [
    pytest.param(name, bias, marks=() if bias == bool(number % 2) else pytest.mark.thorough)
    for number, name in enumerate(RIGHT)
    for bias in (False, True)
]


@pytest.mark.parametrize(("name", "bias"), CASES)
def test_what_cancels_is_found_and_proved(name: str, bias: bool) -> None:
    make, way, make_port, other = RIGHT[name]
    pair = Pair(make(way, bias), make_port(other, bias), (IDS,))
    found = paritree.align(pair)
    assert found.verified
    report = paritree.check(pair, found, contracts=("names", "shapes", "forward", "gradients"), devices=("cpu",))
    assert report.ok, str(report)
    is_factor = way.scale != other.scale or way.word != other.word
    assert any(row.transform for row in found.rows) == is_factor


WRONG = {
    "another base": (HALVES, Way("pairs", base=50.0)),
    "no rotation": (HALVES, Way()),
    "a scale that is no root": (Way(), Way(scale=WIDTH**-0.5 * 0.7311)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_weights_make_up_for_is_refused(name: str) -> None:
    way, other = WRONG[name]
    with pytest.raises(AlignmentError, match="The programs differ"):
        paritree.align(Pair(torch_model(way), nnx_model(other), (IDS,)))


def test_factors_that_a_program_has() -> None:
    assert [known_factor(value) for value in (8**0.5, 0.25, 24**-0.5, 2.0, 0.7311, 1.0)] == [
        "* 2.8284271247461903",
        "/ 4.0",
        "/ 4.898979485566356",
        "* 2.0",
        "",
        "",
    ]


def test_ways_say_what_an_axis_consists_of() -> None:
    assert [way(24) for way in turned(12)][:1] == [((6, 2, 2), (0, 2, 1))]
    assert ((4, 2, 3), (0, 2, 1)) in [way(24) for way in turned(12)]
    for length in (12, 16, 24):
        for way in (*turned(length), *regrouped(length)):
            lengths, order = way(length) or ((length,), (0,))
            assert sorted(np.arange(length).reshape(lengths).transpose(order).ravel()) == list(range(length))
