"""Faults in plain code: each is found, and bounded by lines of both files that hold it; the right forms are aligned."""

from __future__ import annotations

import pytest

import paritree

from .planted import PROGRAMS, SIDES, Planted, made, marks, planted
from .planted.measuring import measured

FAULTS = {str(each): each for each in planted()}
# Two of each program are tried with every run of the suite, the others with the thorough ones.
QUICK = {str(each) for name in PROGRAMS for each in [fault for fault in planted() if fault.program == name][:2]}
# Those whose lines are not found. To be taken from here once they are: a test fails until it is done.
# A matrix with the opposite sign is its own transpose, and counts as equal in another order of its axes. The line in
# which a function is called makes no value: a gradient that stops right behind its last one is told of the next line.
NOT_BOUND = frozenset(("alibi-distance", "contrastive-detached"))
# A bound is for a person to read.
MOST_LINES = 20


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_right_form_is_aligned_and_its_forward_pass_holds(program: str) -> None:
    found = paritree.align(made(program))
    assert found.verified
    report = paritree.check(made(program), found, contracts=("forward",), devices=("cpu",))
    assert report.ok, str(report)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.thorough) for name in FAULTS]
)
def test_a_fault_is_found_and_bounded_on_both_sides(name: str) -> None:
    found = measured(FAULTS[name])
    assert found.found
    if name in NOT_BOUND:
        assert not found.is_bound, f"{name} is bound now: take it from NOT_BOUND"
    else:
        assert found.is_bound, found.said
        assert max(found.lines.values()) <= MOST_LINES


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_marked_in_both_files(name: str) -> None:
    fault: Planted = FAULTS[name]
    assert all(1 <= len(fault.marked(side)) <= 4 for side in SIDES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_mark_is_of_a_fault_that_is_planted(program: str) -> None:
    known = {each.fault for each in FAULTS.values() if each.program == program}
    assert {fault for side in SIDES for _, faults in marks(program, side) for fault in faults} == known
