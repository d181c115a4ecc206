"""No false alarm: a few of the clean runs, at seeds that `make clean-runs` does not have, and what keeps them clean."""

from __future__ import annotations

from itertools import zip_longest

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import paritree
from paritree.conformance.check import Examination, Wanted
from paritree.conformance.contracts import arithmetic
from paritree.pairs.comparison import Bound, Comparison
from paritree.pairs.maps import Map, MapRow
from paritree.pairs.precision import Setting
from paritree.pairs.side import sides_of

from .mutants import catalogue, modes, stored
from .mutants.clean_runs import ONCE, PRECISIONS, RUNS, tallies
from .mutants.frame import checked

SEEDS = range(1001, 1004)


@pytest.mark.parametrize(("name", "precisions"), [(stored.CELLS, PRECISIONS[:1]), (modes.TORCH, PRECISIONS)])
def test_clean_runs_have_no_false_alarm(name: str, precisions: tuple[str, ...]) -> None:
    for tally, precision in zip_longest(tallies(catalogue.CLEAN[name], SEEDS, precisions), precisions):
        assert tally.alarms == (), str(tally)
        assert tally.precision == precision
        assert tally.checked["forward"] == tally.checked["gradients"] == len(SEEDS)
        assert tally.checked["modes"] == 1
        # Those that no seed changes once, and at the precision that they have; the sides are factories, without values.
        once = {contract for contract in ONCE if tally.checked.get(contract)}
        assert once == ({*ONCE} - {"values"} if precision == "float32" else {"training"})


def test_all_clean_runs_together_are_a_thousand() -> None:
    assert RUNS * len(PRECISIONS) * len(catalogue.CLEAN) >= 1000


def test_weights_that_were_converted_by_hand_are_the_reference_s() -> None:
    (clean,) = stored.CLEAN
    report = checked(stored.by_hand(), clean, ("values",))
    assert report.ok
    assert {each.status for each in report.results} == {"pass"}


class Largest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).unflatten(-1, (4, 16)).amax(-1)


class NnxLargest(nnx.Module):
    def __init__(self) -> None:
        self.layer = nnx.Linear(8, 64, rngs=nnx.Rngs(0))

    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        return self.layer(x).reshape(*x.shape[:-1], 4, 16).max(-1)


def test_gradients_that_jump_by_one_rounding_are_no_false_alarm() -> None:
    """In bfloat16 two of many values are the largest, or the order of a sum decides which of them is."""
    rows = (
        MapRow("layer.weight", "layer.kernel", (64, 8), (8, 64), "a b -> b a", "rule"),
        MapRow("layer.bias", "layer.bias", (64,), (64,), "a -> a", "rule"),
    )
    inputs = (np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32),)
    torch.manual_seed(0)
    pair = paritree.Pair(Largest(), NnxLargest(), inputs)
    examination = Examination(Bound(*sides_of(pair), Map(rows, ("torch", "nnx"))), Wanted())
    nudged = 0
    for seed in range(40):
        comparison = Comparison(examination.again(seed).bound, Setting("cpu", "bfloat16"))
        found = list(arithmetic.gradients(comparison))
        assert all(finding.ok for finding in found), (seed, found)
        nudged += "nudged" in vars(comparison.rounding)
    # It is for these that the reference is run again at weights that are a rounding away.
    assert nudged > 0
