"""The contracts of structure: how many faults are measured, and that none is allowed."""

from __future__ import annotations

import pytest

from paritree.conformance.check import Examination, Wanted
from paritree.conformance.results import Result
from paritree.pairs.comparison import Bound

from ..faults import held
from ..faults.sides import arrays, network

FAULTS = {"names": held.names, "shapes": held.shapes, "ties": held.ties}


def judged(bound: Bound, contract: str) -> tuple[Result, ...]:
    examined = Examination(bound, Wanted((contract,), ("cpu",)))
    return examined.results(examined.units[0])


@pytest.mark.parametrize("contract", FAULTS)
def test_of_what_is_right_no_fault_is_measured(contract: str) -> None:
    for bound in (network("torch"), arrays("torch")):
        assert {(each.status, each.measured, each.allowed) for each in judged(bound, contract)} == {("pass", 0, 0)}


@pytest.mark.parametrize("contract", FAULTS)
def test_the_faults_are_counted_and_none_is_allowed(contract: str) -> None:
    """Of names and ties all together, of shapes those of one tensor; without a map there is nothing to count."""
    for fault in FAULTS[contract]("torch"):
        found = judged(fault.pair(), contract)
        failed = [each for each in found if each.status == "fail"]
        counts = {path: sum(each.path == path for each in failed) for path in {each.path for each in failed}}
        if fault.cause == "no map":
            continue
        for each in failed:
            count = counts[each.path] if contract == "shapes" else len(failed)
            assert (each.measured, each.allowed) == (count, 0), str(fault)
        assert all(each.measured == each.allowed == 0 for each in found if each.status == "pass")
