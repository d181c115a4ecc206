"""Mutants: each is killed, the module at fault is named, and mostly the cause.

Here a share of them, each with its own contracts: `make mutants` holds all of them against all contracts.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

from paritree.conformance import PAIR_CONTRACTS

from .mutants.catalogue import CLEAN, MUTANTS
from .mutants.frame import Mutant, Verdict, check, checked

# One of a kind, of those pairs whose maps are found in a moment.
QUICK = (
    "key and value swapped",
    "rotary of neighbours",
    "RMSNorm with an eps of 1e-5",
    "mask left out",
    "logits without a bias",
    "a gated unit's gradient cut off",
    "two layers swapped",
    "a norm at zero",
    "a tie not transposed",
    "the transposed use's share cut off",
)
CHOSEN = [mutant for mutant in MUTANTS if mutant.name in QUICK]
PAIRS = sorted({mutant.clean for mutant in CHOSEN})


@pytest.fixture(autouse=True, scope="module")
def hastily_compiled() -> Iterator[None]:
    """Programs that run once need no optimization."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    return {}


def judged(mutant: Mutant, verdicts: dict[str, Verdict]) -> Verdict:
    if mutant.name not in verdicts:
        verdicts[mutant.name] = check(mutant, CLEAN[mutant.clean], mutant.contracts)
    return verdicts[mutant.name]


def test_the_catalogue_is_large_and_every_name_in_it_is_one_of_a_kind() -> None:
    assert len(MUTANTS) >= 60
    assert len({(mutant.clean, mutant.name) for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.clean in CLEAN for mutant in MUTANTS)
    assert all(set(mutant.contracts) <= set(PAIR_CONTRACTS) for mutant in MUTANTS)
    assert len(CHOSEN) == len(QUICK)


@pytest.mark.parametrize("name", PAIRS)
def test_a_clean_pair_passes_what_its_mutants_fail(name: str) -> None:
    contracts = {contract for mutant in CHOSEN if mutant.clean == name for contract in mutant.contracts}
    report = checked(CLEAN[name].pair(), CLEAN[name], [each for each in PAIR_CONTRACTS if each in contracts])
    assert report.ok, str(report)


@pytest.mark.parametrize("mutant", CHOSEN, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed_and_its_module_named(mutant: Mutant, verdicts: dict[str, Verdict]) -> None:
    verdict = judged(mutant, verdicts)
    assert verdict.is_killed
    assert verdict.names_the_module, [(each.module, each.message) for each in verdict.failures]


def test_four_of_five_causes_are_named(verdicts: dict[str, Verdict]) -> None:
    named = [mutant.name for mutant in CHOSEN if judged(mutant, verdicts).names_the_cause]
    assert len(named) >= 0.8 * len(CHOSEN), sorted(set(QUICK) - set(named))
