"""Rows: the pattern between two parts is the order of the axes that was measured."""

from __future__ import annotations

from itertools import permutations
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paritree.common.layouts import Layout
from paritree.migration.align.errors import AlignmentError
from paritree.migration.align.fingerprints import Order, Shuffle, reordered
from paritree.migration.align.rows import Factors, carried, pattern
from paritree.pairs.maps import MapRow
from paritree.pairs.maps.pieces import parsed


@pytest.mark.parametrize(
    ("ours", "order", "theirs", "expected"),
    [
        (((4,), (3,)), Order((1, 0)), ((3,), (4,)), ("a b -> b a", ())),
        (((12,), (5,)), Order((1, 0)), ((5,), (3, 4)), ("(a b) c -> c a b", (("a", 3), ("b", 4)))),
        (((5,), (3, 4)), Order((1, 0)), ((12,), (5,)), ("a b c -> (b c) a", (("b", 3), ("c", 4)))),
        (((12,),), Order((0,)), ((12,),), ("a -> a", ())),
        (((4,), (1,), (3,)), Order((0, 1)), ((1,), (4,), (3,)), ("a 1 b -> 1 a b", ())),
        (((1,), (1,)), Order(()), ((),), ("1 1 -> ", ())),
        (((6, 4),), Order((0,)), ((3, 8),), ("(a b) c -> a (b c)", (("a", 3), ("b", 2), ("c", 4)))),
        (
            ((12,), (5,)),
            Order((1, 0), Shuffle(0, (3, 4), (1, 0))),
            ((5,), (12,)),
            ("(a b) c -> c (b a)", (("a", 3), ("b", 4))),
        ),
    ],
)
def test_patterns(
    ours: Factors, order: Order, theirs: Factors, expected: tuple[str, tuple[tuple[str, int], ...]]
) -> None:
    assert pattern(ours, order, theirs) == expected


def test_axes_that_are_one_around_another_stand_where_they_are_in_the_pattern() -> None:
    packed, heads = ((72,), (24,)), ((3, 3, 8), (24,))
    text, sizes = pattern(packed, Order((0, 1)), heads, ((), ((0, 1, 3), (2,))))
    assert (text, dict(sizes)) == ("(a b c) d -> a b d c", {"a": 3, "b": 3, "c": 8})
    text, _ = pattern(heads, Order((1, 0)), ((24,), (9, 8)), (((0, 1, 3), (2,)), ()))
    assert text == "a b d c -> d (a b) c"


def test_factors_that_cross_are_refused() -> None:
    with pytest.raises(AlignmentError) as caught:
        pattern(((6, 4),), Order((0,)), ((4, 6),))
    # 4 and 6 from the end: neither is a multiple of the other.
    assert (
        str(caught.value)
        == "expected one axis that is (6, 4) on one side and (4, 6) on the other, found lengths that cross."
    )


@st.composite
def measured(draw: st.DrawFn) -> tuple[Factors, Order, Factors]:
    """Two parts of the same axes in another order, each axis a product of a run of tensor axes of its own."""
    atoms = draw(st.lists(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3), min_size=1, max_size=3))
    ours = tuple(_joined(draw, axis) for axis in atoms)
    long = [place for place, axis in enumerate(atoms) if prod(axis) != 1]
    axes = draw(st.sampled_from(list(permutations(range(len(long))))))
    theirs = [_joined(draw, atoms[long[axis]]) for axis in axes]
    shuffle = None
    if long and draw(st.booleans()):
        axis = draw(st.integers(0, len(long) - 1))
        lengths = tuple(length for length in atoms[long[axis]] if length != 1)
        order = draw(st.sampled_from(list(permutations(range(len(lengths))))))
        shuffle = Shuffle(axis, lengths, order)
        # A shuffled axis is one axis of its tensor on both sides.
        ours = tuple((prod(each),) if place == long[axis] else each for place, each in enumerate(ours))
        theirs[axes.index(axis)] = (prod(lengths),)
    return ours, Order(axes, shuffle), tuple(theirs)


def _joined(draw: st.DrawFn, atoms: list[int]) -> tuple[int, ...]:
    """Adjacent ones as one, here and there."""
    found = [atoms[0]]
    for atom in atoms[1:]:
        if draw(st.booleans()):
            found[-1] *= atom
        else:
            found.append(atom)
    return tuple(found)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(measured())
def test_einops_makes_of_a_pattern_the_order_that_was_meant(given: tuple[Factors, Order, Factors]) -> None:
    ours, order, theirs = given
    text, sizes = pattern(ours, order, theirs)
    shapes = [tuple(length for axis in factors for length in axis) for factors in (ours, theirs)]
    array = np.arange(prod(shapes[0])).reshape(shapes[0])
    meant = reordered(array.reshape([prod(axis) for axis in ours]), order, tuple(prod(axis) for axis in theirs))
    layout = Layout(text, sizes)
    np.testing.assert_array_equal(layout.to_native(array), meant.reshape(shapes[1]))
    np.testing.assert_array_equal(layout.inverse.to_native(meant.reshape(shapes[1])), array)


def row(reference: str, port: str, piece: str = "", summed: bool = False, shape: tuple[int, ...] = (2,)) -> MapRow:
    return MapRow(reference, port, (2,), shape, "a -> a", "fingerprint", port_piece=parsed(piece), summed=summed)


def test_carried_values_stand_beside_those_of_the_base() -> None:
    base = {"w": np.array([7.0, 8, 9, 10], np.float32)}
    found = carried([row("a", "w", "[2:4]", shape=(4,))], {"a": np.array([1.0, 2])}, base)
    assert found["w"].tolist() == [7, 8, 1, 2]
    assert base["w"].tolist() == [7, 8, 9, 10]


def test_summed_rows_are_added_and_others_are_not() -> None:
    weights = {"a": np.array([1.0, 2]), "b": np.array([10.0, 20])}
    assert carried([row("a", "w", summed=True), row("b", "w", summed=True)], weights, {})["w"].tolist() == [11, 22]
    both = [row("a", "w", "[0:2]", shape=(4,)), row("b", "w", "[2:4]", shape=(4,))]
    assert carried(both, weights, {})["w"].tolist() == [1, 2, 10, 20]
