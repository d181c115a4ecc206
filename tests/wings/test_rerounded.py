"""Runs in which every operation rounds otherwise: close to the plain run, but for what rounding decides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

from paritree import NotExpressibleError, impl_torch
from paritree.common.arrays import rerounded
from paritree.impl_jax import linen as impl_linen
from paritree.impl_jax import nnx as impl_nnx
from paritree.impl_jax import pytrees

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
WIDTH = 5


class Torch(torch.nn.Module):
    def __init__(self, best: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.dense, self.best = torch.nn.Linear(6, WIDTH), best

    def forward(self, x: Any) -> Any:
        y = torch.nn.functional.gelu(self.dense(x)).clone()
        y += 0.5
        near = torch.softmax(y * 1e-9, -1)
        return near.argmax(-1) * 1.0 if self.best else (y, y.softmax(-1)[:, ::2], y.max(-1).values)


def jax_of(dense: Any, best: bool, x: Any) -> Any:
    y = jax.jit(jax.nn.gelu)(dense(x)) + 0.5
    near = jax.nn.softmax(y * 1e-9)
    return near.argmax(-1) * 1.0 if best else (y, jax.nn.softmax(y)[:, ::2], y.max(-1))


class Linen(linen.Module):
    best: bool

    @linen.compact
    def __call__(self, x: Any) -> Any:
        return jax_of(linen.Dense(WIDTH), self.best, x)


class Nnx(nnx.Module):
    def __init__(self, best: bool) -> None:
        self.dense, self.best = nnx.Linear(6, WIDTH, rngs=nnx.Rngs(0)), best

    def __call__(self, x: Any) -> Any:
        return jax_of(self.dense, self.best, x)


def probers(best: bool) -> dict[str, Any]:
    module = Linen(best)
    variables = module.init(jax.random.key(0), X)
    tree = {"w": jnp.asarray(np.random.default_rng(1).normal(size=(6, WIDTH)), jnp.float32)}
    return {
        "torch": impl_torch.prober(Torch(best), (X,)),
        "linen": impl_linen.prober((module, variables), (X,)),
        "nnx": impl_nnx.prober(Nnx(best), (X,)),
        "pytree": pytrees.prober(tree, (X,), lambda tree, inputs: jax_of(lambda x: x @ tree["w"], best, *inputs)),
    }


@pytest.mark.parametrize("wing", ["torch", "linen", "nnx", "pytree"])
def test_outputs_move_by_rounding_alone_and_other_ways_for_each_draw(wing: str) -> None:
    run = probers(best=False)[wing]
    plain = run({}, None, gradients=False).outputs
    first, again, other = (run({}, None, rounded=draw) for draw in (1, 1, 2))
    assert first.gradients == {}
    assert list(first.outputs) == list(plain)
    for name, array in plain.items():
        error = np.abs(first.outputs[name] / array - 1)
        assert 0 < error.max() < 1e-5, name
        np.testing.assert_array_equal(first.outputs[name], again.outputs[name])
        assert not np.array_equal(first.outputs[name], other.outputs[name])
    np.testing.assert_array_equal(run({}, None, gradients=False).outputs["0"], plain["0"])


@pytest.mark.parametrize("wing", ["torch", "linen", "nnx", "pytree"])
def test_what_is_equal_but_for_rounding_is_chosen_otherwise(wing: str) -> None:
    run = probers(best=True)[wing]
    chosen = {run({}, None, rounded=draw).outputs[""].tobytes() for draw in range(1, 7)}
    assert len(chosen) > 1


def test_what_moves_or_chooses_numbers_does_not_round() -> None:
    random = np.random.default_rng(0)
    operands = [X, np.float32(0.0)[None]]
    for made in (X.T, X[:, :2], np.maximum(X, 0), X.max(1), np.concatenate([X, X])):
        assert rerounded(made, operands, random) is made
    assert rerounded(X, [], random) is X
    moved = rerounded(X * 2, operands, random)
    assert moved.dtype == np.float32
    assert (moved != X * 2).all()


def test_a_program_that_jax_cannot_trace_is_not_run_so() -> None:
    def call(tree: Any, inputs: Any) -> Any:
        return tree["w"] * (1.0 if float(inputs[0].sum() * tree["w"][0]) > 0 else 2.0)

    run = pytrees.prober({"w": jnp.ones(3)}, (X,), call)
    with pytest.raises(NotExpressibleError, match="jit can trace"):
        run({}, None, rounded=1)
