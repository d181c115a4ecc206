"""Contents: whatever a structure takes for granted, what it says are partners hold the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paritree.migration.align.axis_groupings import PLAIN, AxisGrouping, Group, Shape, Split, Structure, Tensor
from paritree.migration.align.fingerprints import orders, reordered
from paritree.migration.align.points import filled, symmetric
from paritree.migration.align.structures import finer, structures
from paritree.pairs.values import distinct, shape_class


def test_a_class_is_a_shape_sorted_without_ones() -> None:
    assert shape_class((4, 1, 3)) == shape_class((3, 4)) == (3, 4)
    assert shape_class((12, 4), {12: 4}) == (4, 4)
    assert shape_class((1, 1)) == shape_class(()) == ()


@pytest.mark.parametrize("of", [(), (5,), (3, 5), (4, 4), (2, 4, 4), (3, 3, 3)])
def test_content_is_symmetric_under_swapped_equal_axes(of: Shape) -> None:
    content = symmetric(of)
    assert (content.shape, content.dtype) == (of, np.float32)
    for order in orders(of, of):
        np.testing.assert_array_equal(content.transpose(order.axes), content)


def test_content_has_the_size_that_layers_keep_and_vectors_are_positive() -> None:
    assert abs(float(symmetric((64, 96)).std()) * (64 * 96) ** 0.25 - 1) < 0.05
    assert abs(float(symmetric((64, 64)).std()) * 8 - 1) < 0.05
    assert symmetric((200,)).min() >= 0.25
    assert not np.array_equal(symmetric((4, 5)).ravel()[:4], symmetric((4, 6)).ravel()[:4])


def test_plain_tensors_of_a_class_hold_the_same_whatever_they_are_called() -> None:
    one, other = filled("a.w", (5, 1, 3), PLAIN, 0), filled("b", (3, 5), PLAIN, 1)
    np.testing.assert_array_equal(one[:, 0], other.T)


SPLIT = Structure(splits=(Split(12, (4, 4, 4), 4),), periods={12: 4})


def test_slices_hold_what_a_tensor_of_their_shape_does() -> None:
    packed, apart = filled("w", (12, 5), SPLIT, 0), filled("q", (5, 4), SPLIT, 1)
    for start in (0, 4, 8):
        np.testing.assert_array_equal(packed[start : start + 4], apart.T)


def test_parts_that_take_turns_hold_what_a_tensor_of_their_shape_does() -> None:
    within = replace(SPLIT, splits=(Split(12, (4, 4, 4), 2),), periods={12: 2, 4: 2})
    packed, apart = filled("w", (12, 5), within, 0).reshape(2, 3, 2, 5), filled("q", (4, 5), within, 1)
    for turn in range(3):
        np.testing.assert_array_equal(packed[:, turn].reshape(4, 5), apart)


def test_unequal_parts_hold_what_tensors_of_their_shapes_do() -> None:
    made = Structure(splits=(Split(8, (4, 2, 2), 0),))
    packed = filled("w", (5, 8), made, 0)
    np.testing.assert_array_equal(packed[:, :4], filled("q", (4, 5), made, 1).T)
    np.testing.assert_array_equal(packed[:, 4:6], filled("k", (5, 2), made, 1))
    np.testing.assert_array_equal(packed[:, 6:], filled("v", (5, 2), made, 1))


def test_what_is_stacked_holds_the_same_in_every_entry() -> None:
    made = Structure(({}, {((3, 4, 5), ""): AxisGrouping(((0,), (1,), (2,)), frozenset({0}))}))
    stack = filled("w", (3, 4, 5), made, 1)
    for layer in range(3):
        np.testing.assert_array_equal(stack[layer], filled("layers.0.weight", (4, 5), made, 0))


def test_axes_that_are_one_hold_what_one_axis_does() -> None:
    made = Structure(({}, {((4, 3, 2), ""): AxisGrouping(((0,), (1, 2)))}))
    np.testing.assert_array_equal(filled("w", (4, 3, 2), made, 1).reshape(4, 6), filled("w", (6, 4), made, 0).T)


@st.composite
def packed(draw: st.DrawFn) -> tuple[list[Group], list[Group]]:
    """Shapes of two sides, of which one packs, stacks or merges what the other has apart."""
    lengths = st.sampled_from([2, 3, 4, 6])
    reference: list[Group] = []
    port: list[Group] = []
    for way in draw(
        st.lists(st.sampled_from(["plain", "fused", "unequal", "stacked", "merged"]), min_size=1, max_size=3)
    ):
        rows, columns = draw(lengths), draw(lengths)
        shapes: tuple[list[Shape], list[Shape]] = {
            "plain": ([(rows, columns)], [(columns, rows)]),
            "fused": ([(3 * rows, columns)], [(columns, rows)] * 3),
            "unequal": ([(4 * rows, columns)], [(columns, 2 * rows), (columns, rows), (columns, rows)]),
            "stacked": ([(rows, columns)] * 3, [(3, columns, rows)]),
            "merged": ([(rows * 2, columns)], [(columns, 2, rows)]),
        }[way]
        reference += [(shape, "") for shape in shapes[0]]
        port += [(shape, "") for shape in shapes[1]]
    return (port, reference) if draw(st.booleans()) else (reference, port)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(packed())
def test_every_part_of_a_proposed_structure_holds_what_a_tensor_of_its_shape_does(
    sides: tuple[Sequence[Group], Sequence[Group]],
) -> None:
    proposed = structures(*sides)
    for structure in [PLAIN, *proposed[:4], *(fine for each in proposed[:1] for fine in finer(each))]:
        for side in (0, 1):
            for shape, _ in sides[side]:
                check_parts(structure, side, shape)


def check_parts(structure: Structure, side: int, shape: Shape) -> None:
    """A part in whichever order of its axes is what a tensor that is the part alone is filled with."""
    plainly = replace(structure, groupings=({}, {}))
    if structure.unequal.keys() & structure.periods.keys():
        # One length that holds both: no tensor can be filled for either.
        return
    held = filled("w", shape, structure, side)
    assert (held.shape, held.dtype) == (shape, np.float32)
    for partition in structure.partitions(side, Tensor("w", "", shape)):
        for part in partition:
            for other in {part.shape, part.shape[::-1]}:
                alone = filled("alone", other, plainly, 1 - side)
                for order in orders(part.shape, other):
                    np.testing.assert_array_equal(reordered(part.of(held), order, other), alone)


def test_distinct_values_are_a_paths_own_and_the_same_in_every_process() -> None:
    own = np.ones((4, 5), np.float32)
    one = distinct("a.w", own, False)
    np.testing.assert_array_equal(one, distinct("a.w", own, False))
    assert (one.shape, one.dtype) == ((4, 5), np.float32)
    assert not np.isclose(one, distinct("b.w", own, False)).any()
    assert not np.isclose(one, distinct("a.w", own, True)).any()
    assert len(np.unique(one)) == prod(one.shape)


def test_distinct_vectors_stay_near_their_own_values_and_variances_positive() -> None:
    own = np.array([1.0, -2.0, 0.0, np.nan, np.inf], np.float32)
    found = distinct("norm.weight", own, False)
    assert (np.abs(found[:2] / own[:2] - 1) <= 0.25).all()
    assert ((found[2:] > 0) & (found[2:] <= 0.2)).all()
    quiet = distinct("norm.weight", own, True)
    assert (np.abs(quiet) < np.abs(found).max() / 4).all()
