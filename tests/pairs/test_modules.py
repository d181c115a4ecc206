"""The modules of a live model, as one forward pass calls them: the same in every wing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree.common.errors import UsageError
from paritree.common.wing import PairError

X = np.ones((2, 4), np.float32)
SPEC = paritree.Sequential(
    paritree.Linear(4, 8), paritree.ReLU(), paritree.Linear(8, 8), paritree.Shared("2"), paritree.Linear(8, 1)
)


class Attending(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.MultiHeadDotProductAttention(2, name="attention")(linen.Dense(6, name="inner")(x)[None])


def attending_linen() -> Any:
    module = Attending()
    return module, module.init(jax.random.key(0), X)


class AttendingNnx(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.inner = nnx.Linear(4, 6, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.attention(self.inner(x)[None])


class AttendingTorch(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 6)
        self.attention = torch.nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)[None]
        return self.attention(y, y, y, need_weights=False)[0]


@pytest.mark.parametrize("wing", ["torch", "linen", "nnx"])
def test_a_spec_has_the_same_modules_in_every_wing(wing: str) -> None:
    model = paritree.build(SPEC, wing)
    found = paritree.table(model, (X,))
    shapes = [(each.outputs, each.scalars, each.calls) for each in found.modules if each.scalars]
    assert shapes == [(((2, 1),), 121, 1), (((2, 8),), 40, 1), (((2, 8),), 72, 2), (((2, 1),), 9, 1)]
    assert found == paritree.table(model)


@pytest.mark.parametrize("make", [AttendingTorch, attending_linen, AttendingNnx])
def test_foreign_models_have_their_own_modules_and_counts(make: Callable[[], Any]) -> None:
    found = paritree.table(make(), (X,))
    modules = {each.path: each for each in found.modules}
    assert [modules[name].outputs for name in ("", "inner", "attention")] == [((1, 2, 6),), ((2, 6),), ((1, 2, 6),)]
    assert [modules[name].scalars for name in ("", "inner", "attention")] == [198, 30, 168]
    assert [modules[name].depth for name in ("", "inner", "attention")] == [0, 1, 1]
    assert found.scalars == 198


def test_a_call_and_inputs_by_name() -> None:
    model = torch.nn.Linear(4, 3)
    by_name = paritree.table(model, {"input": X})
    by_call = paritree.table(model, (X, X), call=lambda model, inputs: model(inputs[0] + inputs[1]))
    assert [each.outputs for each in (*by_name.modules, *by_call.modules)] == [((2, 3),), ((2, 3),)]
    tree = {"w": np.ones((4, 2), np.float32)}
    assert paritree.table(tree, (X,), call=lambda tree, inputs: inputs[0] @ tree["w"]).modules == ()


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        paritree.table(SPEC, (X,))
    assert str(caught.value) == (
        "inputs: expected a live model, which can be called, found Sequential. Build the spec first: "
        'paritree.build(spec, "torch").'
    )
    with pytest.raises(PairError, match=r"^model: expected inputs that the model takes, found RuntimeError: "):
        paritree.table(torch.nn.Linear(3, 2), (X,))
