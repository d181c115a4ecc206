"""Each contract sees what no other one does: without it, faults would pass that it is there for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from paritree.common.wing import WINGS
from paritree.conformance import PAIR_CONTRACTS, check
from paritree.conformance.results import Finding

from .faults import held, recipes, runs
from .faults.fault import Fault, failures, missed
from .faults.sides import arrays, drawing, network

FAULTS: dict[str, Callable[[str], list[Fault]]] = {**held.FAULTS, **runs.FAULTS, "recipe": recipes.recipe}
# Of `layout`: a gradient that is transposed is wrong, so that `gradients` fails with it.
NEVER_ALONE = ("layout",)


def muted(contract: Callable[..., Iterator[Finding]]) -> Callable[..., Iterator[Finding]]:
    """The contract, whose failures are passes."""

    def passing(*given: Any) -> Iterator[Finding]:
        for finding in contract(*given):
            yield replace(finding, ok=True) if finding.ok is False else finding

    return passing


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Cuts a contract out of the check."""

    def cut(name: str) -> None:
        for table in (check.STRUCTURE, check.ARITHMETIC, check.RECIPES, check.ON_REQUEST, check.STORED):
            if name in table:
                monkeypatch.setitem(table, name, muted(table[name]))
        if name == "initialization":
            monkeypatch.setattr(check, "initialization", muted(check.initialization))

    return cut


@pytest.mark.parametrize("wing", WINGS)
def test_without_a_fault_nothing_fails(wing: str) -> None:
    assert [failures(each) for each in (network(wing), arrays(wing), drawing(network(wing)))] == [(), (), ()]


NOT_ASKED = ("initialization", "recipe", "sharded")
AGREE = ("agrees", "at faint vectors agrees", "at faint values agrees", "at large values of either sign agrees")
TOLD = {
    "ties": ["one parameter: first.weight = second.weight in the reference, params.a.kernel in the port"],
    "layout": ["", *["the shape allows no other order of the axes"] * 4],
    "forward": [f"the output {words}" for words in (*AGREE, "at faint first layers agrees")],
    "tied gradients": ["first.weight: the sum over 2 sites, of its norm: 1 (linear) 75%, 2 (linear) 65%"],
    "modes": [f"{role}: inference is not random" for role in ("reference", "port")] + [""] * 3,
    "determinism": [f"{role}: two runs at the same values are equal bit for bit" for role in ("reference", "port")],
    "round trip": [f"reference: {way}" for way in ("state_dict", "torch.save", "safetensors")]
    + [f"port: {way}" for way in ("state dict", "msgpack", "safetensors")],
    "recipe": [
        "the pair has no reference_optimizer and no port_optimizer: give both, and their steps are compared",
    ],
    "sharded": [
        "the pair does not say how the port is sharded: give it mesh=jax.make_mesh(...), or check(..., mesh=...), if "
        "JAX runs it; if PyTorch does, give it port_sharding=, a function that shards the module, and start the check "
        "by torchrun"
    ],
    "initialization": ["the reference is a live model: give a factory, a function of a seed, to have its draws"],
}


def test_what_is_told_of_a_right_pair() -> None:
    bound = network("linen")
    examined = check.Examination(bound, check.Wanted(devices=("cpu",)))
    ends = [(row.reference, row.port) for row in bound.map.rows]
    free = [end for end in ends if "running" not in end[0]]
    of = {"names": ends, "shapes": ends, "layout": free, "gradients": free, "training": ends * 2, "values": ends}
    for unit in examined.units:
        found = examined.results(unit)
        assert {each.status for each in found} == {"skip" if unit.contract in NOT_ASKED else "pass"}
        told = [each.message for each in found if "that dropout makes" not in each.message]
        assert told == TOLD.get(unit.contract, [""] * len(found)), unit.contract
        if unit.contract in of:
            assert [(each.path, each.port_path) for each in found] == of[unit.contract]


def test_each_contract_has_faults_in_each_wing() -> None:
    # Those of a sharded port need several devices or processes, and are planted in `sharded`.
    assert set(FAULTS) == set(PAIR_CONTRACTS) - {"sharded"}
    for contract, of in FAULTS.items():
        for wing in WINGS:
            found = of(wing)
            assert len({str(fault) for fault in found}) == len(found) >= 5
            assert {(fault.contract, fault.wing) for fault in found} == {(contract, wing)}
            assert contract in NEVER_ALONE or any(not fault.others for fault in found)


@pytest.mark.parametrize("wing", WINGS)
@pytest.mark.parametrize("contract", FAULTS)
def test_a_fault_fails_the_contracts_that_it_names_and_no_other(contract: str, wing: str) -> None:
    assert list(filter(None, map(missed, FAULTS[contract](wing)))) == []


@pytest.mark.parametrize("contract", FAULTS)
def test_without_a_contract_its_faults_are_missed(contract: str, mute: Callable[[str], None]) -> None:
    """Cut out, the assertion above is red for each of its faults; what it alone sees goes through the whole check."""
    mute(contract)
    for wing in WINGS:
        faults = FAULTS[contract](wing)
        assert [str(fault) for fault in faults if not missed(fault, (contract,))] == []
        alone = [fault for fault in faults if not fault.others]
        assert [failures(fault.pair()) for fault in alone[:1]] == [()] * (contract not in NEVER_ALONE)


def test_a_map_with_a_path_that_the_port_has_not_is_no_error_of_the_check() -> None:
    """The contract of values says why it does not look, and that of names fails."""
    (fault,) = (each for each in held.names("torch") if each.name == "a map of another port")
    found = check.Examination(fault.pair(), check.Wanted(("values",), ("cpu",)))
    (result,) = found.results(found.units[0])
    words = "norm.shift: the map has it and the port has no tensor of its own there, whose values could be told"
    assert (result.status, result.message) == ("skip", words)


def test_weights_that_the_map_cannot_carry_are_no_error_of_the_check() -> None:
    (fault,) = (each for each in held.shapes("torch") if each.name == "another shape in the reference")
    found = check.Examination(fault.pair(), check.Wanted(("values",), ("cpu",)))
    (result,) = found.results(found.units[0])
    assert result.status == "skip"
    assert result.message.startswith(
        "the weights cannot be carried: expected one array for each of 7 tensors of the map"
    )
