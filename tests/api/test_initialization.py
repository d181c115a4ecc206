"""`paritree.initialize`: one model by rules in every wing, and both sides of a foreign pair in the same numbers."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx

import paritree
from paritree import Linear, Pair, PairError, Rule, UsageError
from paritree import initializers as init

INPUTS = (np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),)


class Reference(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, 6), torch.nn.Linear(6, 2)
        torch.nn.init.orthogonal_(self.last.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


class Port(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.a, self.b = nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.b(nnx.relu(self.a(x)))


def reference(seed: int) -> Reference:
    torch.manual_seed(seed)
    return Reference()


def port(seed: int) -> Port:
    return Port(nnx.Rngs(seed))


def test_both_sides_of_a_foreign_pair_get_the_numbers_of_the_reference() -> None:
    pair = Pair(reference, port, INPUTS)
    found = paritree.align(pair)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    ours, theirs = paritree.initialize(pair, found, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    own = reference(5)
    for mine, other, expected in ((ours.first, theirs.a, own.first), (ours.last, theirs.b, own.last)):
        assert torch.equal(mine.weight, expected.weight)
        np.testing.assert_array_equal(np.asarray(other.kernel[...]).T, expected.weight.detach().numpy())
        np.testing.assert_array_equal(np.asarray(other.bias[...]), expected.bias.detach().numpy())
    report = paritree.check(Pair(ours, theirs, INPUTS, loaded=True), found, contracts=("values", "forward"))
    assert report.ok, str(report)


def test_a_live_port_is_filled() -> None:
    live = port(0)
    found = paritree.align(Pair(reference, port, INPUTS))
    _, theirs = paritree.initialize(Pair(reference, live, INPUTS), found, seed=1)
    assert theirs is live
    np.testing.assert_array_equal(np.asarray(live.a.kernel[...]).T, reference(1).first.weight.detach().numpy())


def test_a_reference_that_is_live_tells_no_law() -> None:
    found = paritree.align(Pair(reference, port, INPUTS))
    text = (
        "reference: expected a factory, whose draws have its law, found a live model, which tells none. "
        "Give a factory, a function of a seed."
    )
    with pytest.raises(PairError, match=f"^{re.escape(text)}$"):
        paritree.initialize(Pair(reference(0), port, INPUTS), found)


def test_a_map_is_for_a_pair_and_rules_are_for_a_model() -> None:
    pair, rules = Pair(reference, port, INPUTS), Rule(init.Normal())
    found: Any = paritree.align(pair)
    text = "expected a Map, with a Pair, found Rule. paritree.align(pair) finds it."
    with pytest.raises(UsageError, match=f"^{re.escape(text)}$"):
        paritree.initialize(pair, rules)
    text = "expected a Pair, with a Map, found Port. One model is drawn by rules: Rule(Normal())."
    with pytest.raises(UsageError, match=f"^{re.escape(text)}$"):
        paritree.initialize(port(0), found)


def test_a_foreign_model_is_drawn_by_rules_in_the_same_numbers() -> None:
    rules = [Rule(init.Kaiming("normal"), name="weight"), Rule(init.Zeros(), name="bias")]
    ours = paritree.initialize(reference(0), rules, seed=3)
    spec = paritree.build(paritree.Block({"first": Linear(4, 6), "last": Linear(6, 2)}), "nnx")
    theirs = paritree.wing("nnx").weights(paritree.initialize(spec, rules, seed=3))
    for path, array in paritree.wing("torch").weights(ours).items():
        np.testing.assert_array_equal(array, theirs[path])


def test_what_is_drawn_is_told() -> None:
    lines: list[str] = []
    paritree.initialize(reference(0), Rule(init.Zeros(), name="bias"), echo=lines.append)
    assert lines == ["first.bias (6,) <- Zeros()", "last.bias (2,) <- Zeros()"]
