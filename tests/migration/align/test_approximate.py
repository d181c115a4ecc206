"""The likely map of programs that differ: nothing is proved by it, and it names the partners all the same."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import paritree
from paritree import AlignmentError, Map

from . import small

NAMES = {
    "norm.weight": "gain",
    "norm.bias": "shift",
    "query.weight": "qw",
    "query.bias": "qb",
    "key.weight": "kw",
    "value.weight": "vw",
    "value.bias": "vb",
    "out.weight": "ow",
    "out.bias": "ob",
}
TRUTH = {
    (f"layers.{layer}.{ours}", f"block{layer}.{theirs}")
    for layer in range(small.LAYERS)
    for ours, theirs in NAMES.items()
}


def likely(**faults: Any) -> Map:
    with pytest.raises(AlignmentError) as caught:
        paritree.align(small.pair(**faults))
    assert caught.value.found_map is not None
    return caught.value.found_map


def test_a_small_difference_leaves_every_partner_known() -> None:
    found = likely(scale=0.5)
    assert {(row.reference, row.port) for row in found.rows} == TRUTH
    assert {row.layout for row in found.rows if len(row.shape) == 2} == {"a b -> b a"}
    assert {row.evidence for row in found.rows} == {"name"}
    assert not found.verified


def test_a_large_difference_leaves_most_of_them_known() -> None:
    found = likely(no_residual=True)
    assert len({(row.reference, row.port) for row in found.rows} & TRUTH) >= 0.75 * len(TRUTH)
    assert not found.verified


class Rows(torch.nn.Module):
    """Five square layers, of which nothing but the order tells which is which once the last step is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = torch.nn.ModuleList(torch.nn.Linear(4, 4, bias=False) for _ in range(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for row in self.rows:
            x = torch.tanh(row(x))
        return x


class Strange(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        # Defined in the order of their names, called in another one.
        self.ash, self.elm, self.fir, self.oak, self.yew = (
            nnx.Linear(4, 4, use_bias=False, rngs=rngs) for _ in range(5)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        for row in (self.yew, self.ash, self.oak, self.fir, self.elm):
            x = jnp.where(x > 9, 0, jnp.cos(3 * row(x)))
        return x


def test_the_order_of_the_calls_pairs_what_names_and_gradients_do_not() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    torch.manual_seed(0)
    with pytest.raises(AlignmentError) as caught:
        paritree.align(paritree.Pair(Rows(), Strange(nnx.Rngs(0)), (x,)))
    rows = caught.value.found_map.rows
    assert [row.port.partition(".")[0] for row in rows] == ["yew", "ash", "oak", "fir", "elm"]
