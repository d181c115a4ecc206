"""`paritree.check` of factories: how many models are made, and how many programs are made ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx

import paritree
from paritree import Pair
from paritree.conformance import DEFAULT_CONTRACTS

INPUTS = (np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32),)
# About a second model of one seed, and about many draws.
OF_SEVERAL_MODELS = ("determinism", "initialization")


def counted(calls: Counter[Any], name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    def counting(*given: Any, **named: Any) -> Any:
        calls[(name, *(each for each in given if isinstance(each, int)))] += 1
        return make(*given, **named)

    return counting


def reference(seed: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def port(seed: int) -> nnx.Module:
    rngs = nnx.Rngs(jax.random.key(seed))
    return nnx.Sequential(nnx.Linear(6, 5, rngs=rngs), jax.nn.tanh, nnx.Linear(5, 3, rngs=rngs))


def test_a_check_without_a_map_makes_each_model_once() -> None:
    calls: Counter[Any] = Counter()
    pair = Pair(counted(calls, "reference", reference), counted(calls, "port", port), INPUTS)
    contracts = [each for each in DEFAULT_CONTRACTS if each not in OF_SEVERAL_MODELS]
    assert paritree.check(pair, contracts=contracts, devices=("cpu",)).ok
    assert calls == {("reference", 0): 1, ("port", 0): 1}
    # Two more of each, to hold one of them against the first.
    assert paritree.check(pair, contracts=("determinism",), devices=("cpu",)).ok
    assert calls == {("reference", 0): 4, ("port", 0): 4}


def test_a_failed_alignment_and_the_check_share_their_models() -> None:
    calls: Counter[Any] = Counter()

    def other(seed: int) -> nnx.Module:
        rngs = nnx.Rngs(jax.random.key(seed))
        return nnx.Sequential(nnx.Linear(6, 5, rngs=rngs), jax.nn.relu, nnx.Linear(5, 3, rngs=rngs))

    pair = Pair(counted(calls, "reference", reference), counted(calls, "port", other), INPUTS)
    report = paritree.check(pair, contracts=("forward", "gradients"), devices=("cpu",))
    assert "forward" in {failure.contract for failure in report.failures}
    assert calls == {("reference", 0): 1, ("port", 0): 1}


@pytest.mark.parametrize("role", ["reference", "port"])
def test_a_program_is_made_ready_once_for_the_alignment_and_all_contracts(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(reference(0), port(0), INPUTS)
    wing = paritree.wing(getattr(pair, role))
    made: Counter[Any] = Counter()
    monkeypatch.setattr(wing, "prober", counted(made, "prober", wing.prober))
    assert paritree.check(pair, contracts=("layout", "forward", "gradients", "determinism"), devices=("cpu",)).ok
    assert made == {("prober",): 1}
