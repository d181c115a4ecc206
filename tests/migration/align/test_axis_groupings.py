"""Readings: how axes may be understood, and the parts that a tensor then has, which cover it once."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paritree.migration.align.axis_groupings import (
    PLAIN,
    AxisGrouping,
    Split,
    Structure,
    Tensor,
    groupings,
    kind,
    partitions,
    plain,
)
from paritree.pairs.maps.pieces import coverage

SHAPES = st.lists(st.sampled_from([1, 2, 3, 4, 6, 8, 12]), min_size=0, max_size=3).map(tuple)


def keys(shape: tuple[int, ...], grouping: AxisGrouping, *splits: Split) -> list[list[str]]:
    return [[part.key for part in partition] for partition in partitions(Tensor("w", "m", shape), grouping, splits)]


def test_a_matrix_is_read_in_five_ways_the_plainest_first() -> None:
    assert groupings((2, 3)) == [
        AxisGrouping(((0,), (1,))),
        AxisGrouping(((0, 1),)),
        AxisGrouping(((0,), (1,)), frozenset({0})),
        AxisGrouping(((0,), (1,)), frozenset({1})),
        AxisGrouping(((0,), (1,)), frozenset({0, 1})),
    ]
    assert groupings((2, 3))[0] == plain((2, 3))
    assert groupings((5,)) == [AxisGrouping(((0,),)), AxisGrouping(((0,),), frozenset({0}))]


def test_of_two_counted_axes_one_is_the_leading_one_and_one_entry_is_not_counted() -> None:
    counted = {grouping.counted for grouping in groupings((2, 3, 4))}
    assert counted == {frozenset(places) for places in ((), (0,), (1,), (2,), (0, 1), (0, 2))}
    assert {grouping.counted for grouping in groupings((1, 3))} == {frozenset(), frozenset({1})}


def test_axes_may_be_one_around_others_of_up_to_four_that_do_not_count() -> None:
    assert AxisGrouping(((0, 2), (1,))) in groupings((2, 3, 4))
    assert AxisGrouping(((0, 1, 3), (2,))) in groupings((3, 2, 12, 6))
    assert AxisGrouping(((0,), (1,), (2, 4), (3,)), frozenset({0, 1})) in groupings((7, 3, 2, 12, 6))
    assert AxisGrouping(((0,), (1, 3), (2,), (4,)), frozenset({0})) in groupings((7, 2, 12, 6, 5))
    assert AxisGrouping(((0, 2), (1,), (3,), (4,))) not in groupings((7, 2, 12, 6, 5))


def test_what_a_grouping_takes_for_granted_and_what_it_costs() -> None:
    shape = (2, 3, 4, 5)
    assert plain(shape).assumptions(shape) == ()
    assert AxisGrouping(((0,), (1, 2), (3,)), frozenset({0})).assumptions(shape) == (
        (("counted", 2), 2.0),
        (("one", 3, 4), 1.0),
    )
    assert AxisGrouping(((0,), (1,), (2, 3)), frozenset({1})).assumptions(shape) == (
        (("counted inside", 3), 3.0),
        (("one", 4, 5), 1.0),
    )
    assert AxisGrouping(((0, 2), (1,), (3,))).assumptions(shape) == ((("one", 2, 4), 1.0), (("apart",), 1.0))
    # What counts is not there for the others.
    assert AxisGrouping(((0, 2), (1,), (3,)), frozenset({1})).assumptions(shape) == (
        (("one", 2, 4), 1.0),
        (("counted inside", 3), 3.0),
    )
    costs = [AxisGrouping((tuple(range(rank)),)).assumptions((2,) * rank)[0][1] for rank in (2, 3, 4, 5)]
    assert costs == [1.0, 4.0, 8.0, 8.0]


def test_lengths_are_those_of_the_runs_that_are_not_counted() -> None:
    grouping = AxisGrouping(((0,), (1, 2), (3,)), frozenset({0}))
    assert grouping.lengths((2, 3, 4, 5)) == (12, 5)
    assert not grouping.is_plain
    assert plain((2, 3)).is_plain


def test_a_whole_is_one_part_of_the_shape_that_the_grouping_gives() -> None:
    ((part,),) = partitions(Tensor("a.w", "a", (4, 3, 2)), AxisGrouping(((0,), (1, 2))), ())
    assert (part.key, part.path, part.module, part.factors, part.shape) == ("a.w", "a.w", "a", ((4,), (3, 2)), (4, 6))
    assert part.of(np.zeros((4, 3, 2))).shape == (4, 6)


def test_a_part_of_axes_that_are_one_around_another_has_them_side_by_side() -> None:
    ((part,),) = partitions(Tensor("w", "m", (2, 5, 3)), AxisGrouping(((0, 2), (1,))), ())
    assert (part.factors, part.axes, part.shape) == (((2, 3), (5,)), ((0, 2), (1,)), (6, 5))
    array = np.arange(30).reshape(2, 5, 3)
    np.testing.assert_array_equal(part.of(array), array.transpose(0, 2, 1).reshape(6, 5))
    empty = np.zeros_like(array)
    part.fill(empty, part.of(array))
    np.testing.assert_array_equal(empty, array)


def test_what_is_counted_are_parts_of_modules_of_their_own() -> None:
    (partition,) = partitions(Tensor("w", "m", (2, 3)), AxisGrouping(((0,), (1,)), frozenset({0})), ())
    assert [(part.key, part.module, part.shape) for part in partition] == [("w[0]", "m@0", (3,)), ("w[1]", "m@1", (3,))]
    (partition,) = partitions(Tensor("w", "m", (2, 2, 3)), AxisGrouping(((0,), (1,), (2,)), frozenset({0, 1})), ())
    assert [(part.key, part.module) for part in partition] == [
        ("w[0, 0]", "m@0,@0"),
        ("w[0, 1]", "m@0,@1"),
        ("w[1, 0]", "m@1,@0"),
        ("w[1, 1]", "m@1,@1"),
    ]


def test_a_split_gives_the_whole_and_then_the_parts() -> None:
    assert keys((6, 5), plain((6, 5)), Split(6, (2, 2, 2), 2)) == [["w"], ["w[0:2]", "w[2:4]", "w[4:6]"]]
    assert keys((5, 8), plain((5, 8)), Split(8, (4, 2, 2), 0)) == [["w"], ["w[:, 0:4]", "w[:, 4:6]", "w[:, 6:8]"]]
    assert keys((5, 7), plain((5, 7)), Split(6, (2, 2, 2), 2)) == [["w"]]


def test_parts_that_take_turns_one_by_one_are_every_so_manyth_entry() -> None:
    assert keys((6,), plain((6,)), Split(6, (3, 3), 1)) == [
        ["w"],
        ["w[0:3]", "w[3:6]"],
        ["w[0::2]", "w[1::2]"],
    ]


def test_parts_that_take_turns_in_runs_are_seen_in_a_view() -> None:
    assert keys((5, 12), plain((5, 12)), Split(12, (4, 4, 4), 2))[2] == [
        "w(5 2 3 2)[:, :, 0]",
        "w(5 2 3 2)[:, :, 1]",
        "w(5 2 3 2)[:, :, 2]",
    ]
    tensor = Tensor("w", "m", (12,))
    part = partitions(tensor, plain((12,)), [Split(12, (4, 4, 4), 2)])[2][1]
    assert part.factors == ((2, 2),)
    np.testing.assert_array_equal(part.of(np.arange(12)), [2, 3, 8, 9])


def test_of_axes_that_are_one_the_leading_one_is_cut_or_none() -> None:
    grouping = AxisGrouping(((0,), (1, 2)))
    assert keys((5, 6, 4), grouping, Split(24, (8, 8, 8), 8)) == [["w"], ["w[:, 0:2]", "w[:, 2:4]", "w[:, 4:6]"]]
    assert keys((5, 3, 8), grouping, Split(24, (12, 12), 12)) == [["w"]]


def test_two_splits_of_one_length_are_two_partitions() -> None:
    made = keys((12,), plain((12,)), Split(12, (6, 6), 6), Split(12, (4, 4, 4), 4))
    assert [len(partition) for partition in made] == [1, 2, 3]


def test_both_axes_of_a_square_are_cut_alone_and_together() -> None:
    made = keys((4, 4), plain((4, 4)), Split(4, (2, 2), 2))
    assert [len(partition) for partition in made] == [1, 2, 2, 4]
    assert made[3] == ["w[0:2, 0:2]", "w[0:2, 2:4]", "w[2:4, 0:2]", "w[2:4, 2:4]"]


@st.composite
def read(draw: st.DrawFn) -> tuple[tuple[int, ...], AxisGrouping, list[Split]]:
    """A shape, one of its axis groupings and splits of some of its lengths, equal or not."""
    shape = draw(SHAPES)
    grouping = draw(st.sampled_from([plain(shape), *groupings(shape)]))
    splits = []
    for length in sorted(set(grouping.lengths(shape))):
        counts = [count for count in (2, 3, 4) if length % count == 0 and count < length]
        if counts and draw(st.booleans()):
            part = length // draw(st.sampled_from(counts))
            within = draw(st.sampled_from([each for each in range(1, part + 1) if part % each == 0]))
            splits.append(Split(length, (part,) * (length // part), within))
        elif length >= 4 and draw(st.booleans()):
            first = draw(st.integers(1, length - 1))
            splits.append(Split(length, (first, length - first), 0))
    return shape, grouping, splits


@settings(max_examples=200, deadline=None, derandomize=True)
@given(read())
def test_the_parts_of_every_partition_cover_the_tensor_once(
    given: tuple[tuple[int, ...], AxisGrouping, list[Split]],
) -> None:
    shape, grouping, splits = given
    made = partitions(Tensor("w", "m", shape), grouping, splits)
    array = np.arange(prod(shape)).reshape(shape)
    assert [len(partition) for partition in made] == sorted(len(partition) for partition in made)
    for partition in made:
        assert len({part.key for part in partition}) == len(partition)
        assert coverage([part.piece for part in partition], shape) == (1, 1)
        held = [part.of(array) for part in partition]
        assert [each.shape for each in held] == [part.shape for part in partition]
        np.testing.assert_array_equal(np.sort(np.concatenate([each.ravel() for each in held])), array.ravel())
    of_keys = [part for partition in made for part in partition]
    pieces = {part.key: part.piece for part in of_keys}
    assert all(pieces[part.key] == part.piece for part in of_keys)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("layers.0.self_attn.weight_ih_l0", "weight_ih_l#"), ("w", "w"), ("params.block_12.b2", "b#"), ("", "")],
)
def test_the_kind_of_a_name_has_no_numbers(path: str, expected: str) -> None:
    assert kind(path) == expected


def test_a_structure_reads_a_group_by_its_shape_or_by_its_kind_too() -> None:
    merged, stacked = AxisGrouping(((0, 1),)), AxisGrouping(((0,), (1,)), frozenset({0}))
    made = Structure(({((2, 3), ""): merged}, {((2, 3), "bias#"): stacked}))
    assert made.grouping(0, "a.weight", (2, 3)) == merged
    assert made.grouping(1, "a.bias3", (2, 3)) == stacked
    assert made.grouping(1, "a.weight", (2, 3)) == plain((2, 3))
    assert PLAIN.grouping(0, "a.weight", (2, 3)) == plain((2, 3))


def test_only_unequal_parts_are_listed_by_their_length() -> None:
    made = Structure(splits=(Split(8, (4, 2, 2), 0), Split(6, (3, 3), 3)))
    assert made.unequal == {8: (4, 2, 2)}
