"""Faults in plain code: each is found, and bounded by lines of both files that hold it; the right forms are aligned."""

from __future__ import annotations

from functools import cache

import pytest

import paritree

from .planted import PROGRAMS, SIDES, Planted, made, marks, planted
from .planted.measuring import Measured, measured

FAULTS = {str(each): each for each in planted()}
# Those whose lines are not found. To be taken from here once they are: a test fails until it is done.
NOT_BOUND = frozenset(FAULTS)
# A bound is for a person to read.
MOST_LINES = 20


@cache
def measured_once(name: str) -> Measured:
    return measured(FAULTS[name])


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_right_form_is_aligned_and_its_forward_pass_holds(program: str) -> None:
    found = paritree.align(made(program))
    assert found.verified
    report = paritree.check(made(program), found, contracts=("forward", "gradients"), devices=("cpu",))
    assert report.ok, str(report)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str) -> None:
    assert measured_once(name).found


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - NOT_BOUND))
def test_the_bound_holds_the_fault_on_both_sides(name: str) -> None:
    found = measured_once(name)
    assert found.is_bound, found.said
    assert max(found.lines.values()) <= MOST_LINES


@pytest.mark.parametrize("name", sorted(NOT_BOUND))
def test_what_is_said_not_to_be_bound_is_not(name: str) -> None:
    assert not measured_once(name).is_bound, f"{name} is bound now: take it from NOT_BOUND"


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_marked_in_both_files(name: str) -> None:
    fault: Planted = FAULTS[name]
    assert all(1 <= len(fault.marked(side)) <= 4 for side in SIDES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_mark_is_of_a_fault_that_is_planted(program: str) -> None:
    known = {each.fault for each in FAULTS.values() if each.program == program}
    assert {fault for side in SIDES for _, faults in marks(program, side) for fault in faults} == known
