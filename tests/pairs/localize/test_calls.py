"""Calls: a module that one side calls more often is named where its call is measured to be missing, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree

IDS = np.random.default_rng(0).integers(0, 11, (2, 7)).astype(np.int32)
X = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)


class Tied(torch.nn.Module):
    """A tied head as a product with the table, or by a layer that is called for it; `cap` bounds the logits."""

    def __init__(self, cap: bool = True) -> None:
        super().__init__()
        self.tok, self.up, self.cap = torch.nn.Embedding(11, 8), torch.nn.Linear(8, 8), cap

    def forward(self, ids: Any) -> Any:
        logits = torch.tanh(self.up(self.tok(ids.long()))) @ self.tok.weight.T
        return 5 * torch.tanh(logits / 5) if self.cap else logits


class LinenTied(linen.Module):
    cap: bool

    @linen.compact
    def __call__(self, ids: Any) -> Any:
        tok = linen.Embed(11, 8, name="tok")
        logits = tok.attend(jnp.tanh(linen.Dense(8, name="up")(tok(ids))))
        return 5 * jnp.tanh(logits / 5) if self.cap else logits


class NnxTied(nnx.Module):
    def __init__(self, cap: bool) -> None:
        rngs = nnx.Rngs(0)
        self.tok, self.up, self.cap = nnx.Embed(11, 8, rngs=rngs), nnx.Linear(8, 8, rngs=rngs), cap

    def __call__(self, ids: Any) -> Any:
        logits = self.tok.attend(jnp.tanh(self.up(self.tok(ids))))
        return 5 * jnp.tanh(logits / 5) if self.cap else logits


def linen_tied(cap: bool) -> Any:
    module = LinenTied(cap)
    return module, module.init(jax.random.key(0), IDS)


class Repeated(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.out = torch.nn.Linear(8, 8), torch.nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.out(torch.tanh(self.block(torch.tanh(self.block(x)))))


class NnxRepeated(nnx.Module):
    """`plain`: the second use of the block is written out; `times`: how often it is used."""

    def __init__(self, times: int = 2, plain: bool = False, scale: float = 1.0) -> None:
        rngs = nnx.Rngs(0)
        self.block, self.out = nnx.Linear(8, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        self.times, self.plain, self.scale = times, plain, scale

    def __call__(self, x: Any) -> Any:
        for number in range(self.times):
            is_written_out = self.plain and number
            y = x @ self.block.kernel[...] + self.block.bias[...] if is_written_out else self.block(x)
            x = jnp.tanh(y)
        return self.out(x) * self.scale


def failures(reference: Any, wrong: Any, right: Any, inputs: Any) -> list[str]:
    """What `forward` says of the wrong port under the map of the right one."""
    found = paritree.align(paritree.Pair(reference, right, inputs))
    report = paritree.check(paritree.Pair(reference, wrong, inputs), found, contracts=("forward",), devices=("cpu",))
    return [f"{each.cause}: {each.message}" for each in report.failures]


@pytest.mark.parametrize("made", [linen_tied, NnxTied])
def test_of_a_tied_head_that_one_side_calls_and_the_other_writes_out_nothing_is_said(made: Callable[..., Any]) -> None:
    (said,) = failures(Tied(), made(cap=False), made(cap=True), (IDS,))
    assert "between" in said or "after" in said
    assert "calls '" not in said


def test_nor_where_it_is_the_port_that_writes_it_out() -> None:
    (said,) = failures(linen_tied(True), Tied(cap=False), Tied(), (IDS,))
    assert "calls '" not in said


def test_of_a_second_use_that_is_written_out_nothing_is_said() -> None:
    right = NnxRepeated(plain=True)
    (said,) = failures(Repeated(), NnxRepeated(plain=True, scale=1.5), right, (X,))
    assert "calls '" not in said


@pytest.mark.parametrize(("times", "count"), [(1, "1 time"), (3, "3 times")])
def test_a_layer_that_is_run_too_often_or_too_rarely_is_named(times: int, count: str) -> None:
    (said,) = failures(Repeated(), NnxRepeated(times=times), NnxRepeated(), (X,))
    assert said.startswith("calls: ")
    assert f"Likely cause: the reference calls 'block' (Linear) 2 times and the port 'block' (Linear) {count}." in said
