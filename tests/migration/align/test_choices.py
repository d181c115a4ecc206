"""Experts that a router chooses: where all are equal but for rounding nothing can be compared, and elsewhere all is."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen

import paritree
from paritree import AlignmentError, Pair

D, EXPERTS = 8, 4
X = np.random.default_rng(2).normal(size=(3, 5, D)).astype(np.float32)


class Reference(torch.nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.norm = kind, torch.nn.LayerNorm(D)
        self.router, self.out = torch.nn.Linear(D, EXPERTS, bias=False), torch.nn.Linear(D, D)
        self.weight = torch.nn.Parameter(torch.randn(EXPERTS, D, D) * 0.3)
        self.bias = torch.nn.Parameter(torch.randn(EXPERTS, D))

    def forward(self, x: Any) -> Any:
        h = self.norm(x)
        scores = self.router(h)
        probable = scores.sigmoid() if self.kind == "sigmoid" else scores.softmax(-1, dtype=torch.float32)
        share, chosen = probable.to(x.dtype).topk(2, -1)
        share = share if self.kind == "as they are" else share / share.sum(-1, keepdim=True)
        gates = torch.zeros(*x.shape[:-1], EXPERTS, dtype=x.dtype).scatter(-1, chosen, share)
        return self.out(x + torch.einsum("btd,edf,bte->btf", h, self.weight, gates) + gates @ self.bias)


class Port(linen.Module):
    kind: str

    @linen.compact
    def __call__(self, x: Any) -> Any:
        h = linen.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="norm")(x)
        scores = linen.Dense(EXPERTS, use_bias=False, name="router")(h)
        probable = jax.nn.sigmoid(scores) if self.kind == "sigmoid" else jax.nn.softmax(scores.astype(jnp.float32))
        share, chosen = jax.lax.top_k(probable.astype(x.dtype), 2)
        share = share if self.kind == "as they are" else share / share.sum(-1, keepdims=True)
        gates = (jax.nn.one_hot(chosen, EXPERTS, dtype=x.dtype) * share[..., None]).sum(-2)
        weight = self.param("weight", linen.initializers.normal(0.3), (EXPERTS, D, D))
        bias = self.param("bias", linen.initializers.normal(), (EXPERTS, D))
        return linen.Dense(D, name="out")(x + jnp.einsum("btd,edf,bte->btf", h, weight, gates) + gates @ bias)


def pair(ours: str, theirs: str) -> Pair:
    port = Port(theirs)
    return Pair(Reference(ours), (port, port.init(jax.random.key(0), X)), (X,))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "as they are"])
def test_a_choice_that_rounding_decides_is_no_difference(kind: str) -> None:
    made = pair(kind, kind)
    found = paritree.align(made)
    assert found.verified
    report = paritree.check(made, found, contracts=("forward", "gradients"), devices=("cpu",))
    assert report.ok
    if kind == "softmax":
        told = [result.message for result in report.results if result.status == "skip"]
        assert any(text.startswith("the output at faint vectors: nothing can be told, since rounding") for text in told)
        agreeing = [result.message for result in report.results if result.status == "pass"]
        assert "the output at less faint vectors agrees" in agreeing


def test_another_router_is_one() -> None:
    with pytest.raises(AlignmentError, match="The programs differ"):
        paritree.align(pair("softmax", "as they are"))
