"""Structures: what is proposed for the packings that are known, in the same order everywhere and in few steps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from paritree.migration.align.axis_groupings import AxisGrouping, Group, Shape, Split, Structure
from paritree.migration.align.structures import MOST_STRUCTURES, finer, reordered, structures

from ...steps import steps


def groups(*shapes: Shape) -> list[Group]:
    return [(shape, "") for shape in shapes]


def counts(structure: Structure, side: int) -> dict[Shape, frozenset[int]]:
    """The counted runs of each shape that is not read plainly."""
    return {shape: grouping.counted for (shape, _), grouping in structure.groupings[side].items()}


def test_sides_that_have_the_same_classes_need_none() -> None:
    assert structures(groups((3, 4), (5,)), groups((4, 3), (1, 5))) == []
    assert structures([], []) == []


def test_one_projection_in_against_heads_of_three() -> None:
    found = structures(groups((36, 12), (36,), (12, 12), (12,)), groups(*[(12, 3, 4), (3, 4)] * 3, (3, 4, 12), (12,)))
    first = found[0]
    assert first.splits == (Split(36, (12, 12, 12), 12),)
    assert first.periods == {36: 12}
    assert first.groupings[0] == {}
    assert first.groupings[1] == {
        ((12, 3, 4), ""): AxisGrouping(((0,), (1, 2))),
        ((3, 4), ""): AxisGrouping(((0, 1),)),
        ((3, 4, 12), ""): AxisGrouping(((0, 1), (2,))),
    }


@pytest.mark.parametrize("width", [5, 3])
def test_layers_stacked_for_a_scan_also_where_there_are_as_many_as_they_are_wide(width: int) -> None:
    first = structures(groups(*[(width, width), (width,)] * 3), groups((3, width, width), (3, width)))[0]
    assert (first.groupings[0], first.splits) == ({}, ())
    assert counts(first, 1) == {(3, width, width): frozenset({0}), (3, width): frozenset({0})}


def test_experts_stacked_in_the_reference() -> None:
    first = structures(groups((4, 7, 5), (4, 7), (4, 8)), groups(*[(5, 7), (7,)] * 4, (4, 8)))[0]
    assert counts(first, 0) == {(4, 7, 5): frozenset({0}), (4, 7): frozenset({0})}
    assert (first.groupings[1], first.splits) == ({}, ())


def test_unequal_parts_of_grouped_queries_in_every_order() -> None:
    found = structures(groups((24, 12), (24,), (12, 12)), groups((12, 12), (12,), (12, 12), *[(12, 6), (6,)] * 2))
    assert [each.splits for each in found[:3]] == [
        (Split(24, parts, 0),) for parts in ((12, 6, 6), (6, 12, 6), (6, 6, 12))
    ]
    assert found[0].unequal == {24: (12, 6, 6)}


def test_two_parts_of_a_fused_gate() -> None:
    first = structures(groups((14, 5), (14,), (5, 7)), groups(*[(5, 7), (7,)] * 2, (7, 5)))[0]
    assert (first.groupings, first.splits) == (({}, {}), (Split(14, (7, 7), 7),))


def test_a_kernel_of_an_einsum_has_its_features_between_heads_and_head_width() -> None:
    first = structures(groups((15, 12), (15,), (12, 15)), groups((3, 12, 5), (3, 5), (3, 5, 12)))[0]
    assert (first.groupings[0], first.splits) == ({}, ())
    assert first.groupings[1] == {
        ((3, 12, 5), ""): AxisGrouping(((0, 2), (1,))),
        ((3, 5), ""): AxisGrouping(((0, 1),)),
        ((3, 5, 12), ""): AxisGrouping(((0, 1), (2,))),
    }


def test_a_stack_between_axes_that_are_one() -> None:
    first = structures(groups(*[(12, 12), (10, 12)] * 2), groups((3, 2, 4, 12), (12, 2, 10)))[0]
    assert first.groupings[1] == {
        ((3, 2, 4, 12), ""): AxisGrouping(((0, 2), (1,), (3,)), frozenset({1})),
        ((12, 2, 10), ""): AxisGrouping(((0,), (1,), (2,)), frozenset({1})),
    }


def test_one_packed_projection_against_queries_and_the_only_head_of_keys_and_values() -> None:
    found = structures(groups((25, 12), (12, 15)), groups((3, 12, 5), (2, 1, 12, 5), (3, 5, 12)))
    apart, packed = ({each.splits: each for each in found}[Split(25, parts, 0),] for parts in ((15, 5, 5), (15, 10)))
    assert counts(apart, 1)[2, 1, 12, 5] == {0}
    assert packed.groupings[1][(2, 1, 12, 5), ""] == AxisGrouping(((0, 3), (1,), (2,)))
    assert {each.groupings[1][(3, 12, 5), ""] for each in (apart, packed)} == {AxisGrouping(((0, 2), (1,)))}


def test_numbers_one_by_one_in_a_vector_and_no_vector_is_taken_apart_without_them() -> None:
    first = structures(groups((), (), (), (5, 5)), groups((3,), (5, 5)))[0]
    assert counts(first, 1) == {(3,): {0}}
    first = structures(groups((1,), (1,), (5,)), groups((2,), (5,)))[0]
    assert counts(first, 1) == {(2,): {0}}
    vectors = structures(groups((12,), (12, 5)), groups(*[(4,), (4, 5)] * 3))
    assert vectors[0].splits == (Split(12, (4, 4, 4), 4),)
    assert all(counts(each, side).get((12,), set()) != {0} for each in vectors for side in (0, 1))


def test_no_split_is_proposed_that_makes_up_for_nothing() -> None:
    found = structures(groups((36, 12), (12, 12)), groups((3, 3, 12, 4), (3, 4, 12)))
    assert [each.splits for each in found[:2]] == [(), ()]
    assert len({str(each.groupings) for each in found}) == len(found)


def test_lengths_that_collide_leave_the_truth_among_the_first() -> None:
    # Three projections of width 4, and an inner width that is three times the width too.
    found = structures(
        groups((12, 4), (12,), (4, 4), (4,), (12, 4), (12,), (4, 12), (4,)),
        groups(*[(4, 4), (4,)] * 4, (4, 12), (12,), (12, 4), (4,)),
    )
    assert any(each.splits == (Split(12, (4, 4, 4), 4),) for each in found[:2])


def test_no_more_than_a_few_are_proposed_and_the_cheapest_first() -> None:
    found = structures(groups((36, 12), (36,), (12, 12)), groups(*[(12, 3, 4), (3, 4)] * 3, (3, 4, 12)))
    assert len(found) <= MOST_STRUCTURES
    assert [each.cost for each in found] == sorted(each.cost for each in found)


def test_finer_lets_equal_parts_take_turns_in_ever_shorter_runs() -> None:
    base = Structure(splits=(Split(12, (6, 6), 6), Split(8, (4, 2, 2), 0)), periods={12: 6}, cost=2.0)
    found = list(finer(base))
    assert [(each.splits[0].within, dict(each.periods)) for each in found] == [
        (3, {12: 3, 6: 3}),
        (2, {12: 2, 6: 2}),
        (1, {12: 1, 6: 1}),
    ]
    assert all(each.cost == 3.0 and each.splits[1] == base.splits[1] for each in found)


def test_reordered_takes_lengths_apart_that_are_there_in_parts_too() -> None:
    found = list(reordered(Structure(), {3, 4, 12}))
    assert [each.splits for each in found] == [(Split(12, (3,) * 4, 3),), (Split(12, (4,) * 3, 4),)]
    assert list(reordered(Structure(periods={12: 4}), {3, 4, 12})) == []


def test_periods_of_parts_that_are_split_themselves_go_on() -> None:
    (found,) = reordered(Structure(splits=(Split(6, (3, 3), 3),), periods={6: 3}), {6, 12})
    assert found.splits[1] == Split(12, (6, 6), 6)
    assert dict(found.periods) == {6: 3, 12: 3}


PROGRAM = """
from paritree.migration.align.structures import structures
def groups(*shapes): return [(shape, "") for shape in shapes]
reference = groups((36, 12), (36,), (12, 12), (12,), (24, 12), (24,), (3, 5, 7))
port = groups(*[(12, 3, 4), (3, 4)] * 3, (3, 4, 12), (12,), *[(12, 12), (12,)] * 2, *[(7, 5)] * 3)
print([(each.groupings, each.splits, dict(each.periods), each.cost) for each in structures(reference, port)])
"""


def run(seed: str) -> str:
    environment = {"PYTHONHASHSEED": seed, "PATH": ""}
    made = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    return made.stdout


def test_the_order_is_the_same_in_every_process() -> None:
    one, other = run("1"), run("2")
    assert one == other
    assert "Split(length=36" in one


def packed_in_three(count: int) -> tuple[list[Group], list[Group]]:
    """`count` projections of as many shapes, in the reference three at a time and in the port each by itself."""
    widths = [(3 + number, 60 + number) for number in range(count)]
    together = [(3 * rows, columns) for rows, columns in widths]
    return groups(*together), groups(*[shape for shape in widths for _ in range(3)])


def test_twice_as_many_uneven_groups_take_about_four_times_the_steps() -> None:
    few, many = packed_in_three(4), packed_in_three(8)
    assert structures(*many)
    # There are 256 times as many sets of assumptions about sixteen groups as about eight.
    assert steps(lambda: structures(*many)) < 5 * steps(lambda: structures(*few))
