"""Sides that are one object, calls that change what only an optimizer should, inputs that reach a part alone."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx

import paritree
from paritree import Pair, PairError

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


class Changing(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        with torch.no_grad():
            self.layer.weight.add_(0.1)
        return y


class NnxChanging(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, changes: bool = True) -> None:
        self.layer, self.changes = nnx.Linear(4, 3, rngs=rngs), changes

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.layer(x)
        if self.changes:
            self.layer.kernel[...] = self.layer.kernel[...] + 0.1
        return y


class Half(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.pooler = torch.nn.Linear(4, 3), torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.used(x)
        return y if len(x) > 2 else self.pooler(y)


class NnxHalf(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.used, self.pooler = nnx.Linear(4, 3, rngs=rngs), nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.used(x)
        return y if len(x) > 2 else self.pooler(y)


def test_sides_that_are_one_object() -> None:
    model = torch.nn.Linear(4, 3)
    for ask in (paritree.align, paritree.check):
        with pytest.raises(PairError) as raised:
            ask(Pair(model, model, (X,)))
        assert str(raised.value) == (
            "port: expected another model than the reference, found the reference itself, so that nothing could "
            "differ. Give the port; of a model that is held against itself, two builds."
        )


@pytest.mark.parametrize(
    ("reference", "port", "path"),
    [
        (torch.nn.Linear(4, 3), NnxChanging(nnx.Rngs(0)), "layer.kernel"),
        (nnx.Linear(4, 3, rngs=nnx.Rngs(0)), Changing(), "layer.weight"),
    ],
    ids=["nnx", "torch"],
)
def test_a_port_whose_call_changes_its_parameters(reference: Any, port: Any, path: str) -> None:
    (failure,) = paritree.check(Pair(reference, port, (X,)), contracts=("modes",), devices=("cpu",)).failures
    assert failure.cause == "changed by the call"
    assert failure.message == (
        f"{path}: the call of the port changes this parameter, which only an optimizer should: a second call gives "
        "something else"
    )


def test_a_port_whose_call_changes_nothing() -> None:
    pair = Pair(torch.nn.Linear(4, 3), NnxChanging(nnx.Rngs(0), changes=False), (X,))
    assert paritree.check(pair, contracts=("modes",), devices=("cpu",)).ok


def test_inputs_that_reach_a_part_of_the_model() -> None:
    pair = Pair(Half(), NnxHalf(nnx.Rngs(0)), (X,))
    found = paritree.align(pair)
    expected = "the inputs do not reach pooler.weight, pooler.bias: these have no gradient on either side"
    assert [note.startswith(expected) for note in found.notes] == [True]
    report = paritree.check(pair, found, contracts=("forward",), devices=("cpu",))
    assert [note.startswith(expected) for note in report.facts["notes"]] == [True]


def test_a_reference_in_training_mode_is_judged_in_inference_mode_and_stays_as_it_was() -> None:
    reference = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5)).train()
    pair = Pair(reference, nnx.Linear(4, 3, rngs=nnx.Rngs(0)), (X,))
    assert paritree.align(pair).verified
    assert reference.training
