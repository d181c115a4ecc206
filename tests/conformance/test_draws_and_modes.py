"""Mutants of drawing, training, modes, conversion and storing: a share of them, each with its own contracts."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

from .mutants import draws, modes, stored
from .mutants.catalogue import CLEAN
from .mutants.frame import Mutant, check

# Of the others those whose maps are found in a moment; `make mutants` has all of them.
QUICK = (
    "Flax's bias default",
    "uniform on one side of zero",
    "the head's initializer for the tie",
    "torch's momentum as it is",
    "statistics that are not moved",
    "a scale in training alone",
    "a tie that training loses",
    "all but the last layer held",
)
SMALL = (draws.LINEN, modes.LINEN, modes.TORCH, stored.CELLS)
MUTANTS = [each for each in (*draws.MUTANTS, *modes.MUTANTS) if each.name in QUICK]
MUTANTS += [each for each in stored.MUTANTS if each.clean in SMALL]


@pytest.fixture(autouse=True, scope="module")
def hastily_compiled() -> Iterator[None]:
    """Programs that run once need no optimization."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_killed_with_its_module_and_its_cause(mutant: Mutant) -> None:
    verdict = check(mutant, CLEAN[mutant.clean], mutant.contracts)
    told = [(each.contract, each.module, each.cause, each.message) for each in verdict.failures]
    assert verdict.is_killed, told
    assert verdict.names_the_module, told
    assert verdict.names_the_cause, told


def test_the_share_has_every_one_that_it_names_and_pairs_with_small_maps_alone() -> None:
    assert {each.name for each in MUTANTS} > set(QUICK)
    assert {each.clean for each in MUTANTS} == set(SMALL)
