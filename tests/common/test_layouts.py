"""Layouts: every pattern has its inverse, and the shape that it promises is the array's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paritree.common import layers
from paritree.common.errors import ShapeError
from paritree.common.layouts import SAME, TRANSPOSED, Layout, inverted, sides

from .conftest import refused

# Each with a canonical shape and the native shape that it is to have.
EXAMPLES = [
    (SAME, (2, 3, 4), (2, 3, 4)),
    (SAME, (), ()),
    (Layout("o i -> o i"), (2, 3), (2, 3)),
    (TRANSPOSED, (8, 4), (4, 8)),
    (TRANSPOSED, (1, 1), (1, 1)),
    (Layout("o i k -> k i o"), (2, 3, 5), (5, 3, 2)),
    (Layout("o i h w -> h w i o"), (2, 3, 5, 7), (5, 7, 3, 2)),
    (Layout("(h d) i -> i h d", (("h", 4),)), (12, 5), (5, 4, 3)),
    (Layout("i (h d) -> h d i", (("h", 2), ("d", 3))), (5, 6), (2, 3, 5)),
    (Layout("h d i -> i (h d)", (("h", 4),)), (4, 3, 5), (5, 12)),
    (Layout("o i -> i o 1"), (2, 3), (3, 2, 1)),
    (Layout("o 1 i -> i o"), (2, 1, 3), (3, 2)),
    (Layout("o ... -> ... o"), (2, 3, 4), (3, 4, 2)),
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("o i -> i o", ((("o",), ("i",)), (("i",), ("o",)))),
        ("(h d)1 i->i h d", ((("h", "d"), (), ("i",)), (("i",), ("h",), ("d",)))),
        ("... a -> a ...", ((("...",), ("a",)), (("a",), ("...",)))),
        (" -> ()", ((), ((),))),
    ],
)
def test_a_side_is_its_axes_and_an_axis_its_names(pattern, expected):
    assert sides(pattern) == expected
    assert sides(inverted(pattern)) == expected[::-1]


@pytest.mark.parametrize("pattern", ["o i", "o-i -> i o", "(o (i)) -> o i", "(o i -> o i", "a -> b -> c", "(...) -> a"])
def test_a_text_that_is_no_pattern_has_no_sides(pattern):
    assert sides(pattern) is None


def numbered(shape):
    return np.arange(math.prod(shape)).reshape(shape)


@pytest.mark.parametrize(("layout", "canonical", "native"), EXAMPLES, ids=lambda value: str(value))
def test_a_layout_leads_to_the_native_array_and_back(layout, canonical, native):
    array = numbered(canonical)
    there = layout.to_native(array)
    assert there.shape == native
    assert sorted(there.ravel()) == sorted(array.ravel())
    assert np.array_equal(layout.to_canonical(there), array)
    assert np.array_equal(layout.inverse.to_native(there), array)
    assert layout.inverse.inverse == layout
    assert layout.native_shape(canonical) == native
    assert layout.canonical_shape(native) == canonical


@given(st.permutations("abcde"), st.lists(st.integers(1, 4), min_size=5, max_size=5))
def test_a_permutation_is_a_transposition(order, sizes):
    layout = Layout(f"a b c d e -> {' '.join(order)}")
    array = numbered(sizes)
    expected = array.transpose(["abcde".index(name) for name in order])
    assert np.array_equal(layout.to_native(array), expected)
    assert layout.native_shape(tuple(sizes)) == expected.shape
    assert layout.is_identity is (list(order) == list("abcde"))


def test_split_axes_go_where_the_pattern_says():
    layout = Layout("(h d) i -> i h d", (("h", 2),))
    array = numbered((6, 4))
    assert np.array_equal(layout.to_native(array)[3, 1], array[3:6, 3])


def test_the_shape_of_an_array_that_would_not_fit_in_memory_is_known():
    assert Layout("(h d) i -> i h d", (("h", 2),)).native_shape((2**20, 2**30)) == (2**30, 2, 2**19)


def test_an_axis_that_is_not_known_yet_is_carried_along():
    assert TRANSPOSED.native_shape((8, None)) == (None, 8)


@pytest.mark.parametrize(
    ("kind", "name", "native", "pattern"),
    [
        ("Linear", "weight", "kernel", "o i -> i o"),
        ("Linear", "bias", "bias", "="),
        ("Embedding", "weight", "embedding", "="),
        ("Decoder", "weight", "embedding", "="),
        ("FixedLinear", "weight", "kernel", "o i -> i o"),
    ],
)
def test_the_text_of_a_layer_s_layout_is_its_pattern_or_an_equals_sign(kind, name, native, pattern):
    found = layers.native(kind, name)
    assert found is not None
    assert (found.parts, str(found.layout)) == ((native,), pattern)


NOT_A_PATTERN = "expected an einops pattern such as 'o i -> i o', found {}."
NOT_ITS_AXES = "expected the axes of '{}', found an array of shape {}. Check the layer's kind."


@pytest.mark.parametrize("pattern", ["", "o i", "o i - > i o"])
def test_a_pattern_without_an_arrow_is_refused(pattern):
    with refused(ShapeError, NOT_A_PATTERN.format(repr(pattern))):
        Layout(pattern)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (TRANSPOSED, (2, 3, 4)),
        (TRANSPOSED, (2,)),
        (Layout("o i -> i k"), (2, 3)),
        (Layout("o i -> o"), (2, 3)),
        (Layout("o -> o i"), (2,)),
        (Layout("o o -> o"), (2, 2)),
        (Layout("(h d) i -> i h d"), (6, 4)),
        (Layout("(h d) i -> i h d", (("h", 4),)), (6, 4)),
    ],
    ids=lambda value: str(value),
)
def test_axes_that_are_not_the_pattern_s_are_refused_for_arrays_and_for_shapes(layout, shape):
    text = NOT_ITS_AXES.format(layout.pattern, shape)
    with refused(ShapeError, text):
        layout.to_native(numbered(shape))
    with refused(ShapeError, text):
        layout.native_shape(shape)


def test_the_way_back_names_the_inverse_pattern():
    text = NOT_ITS_AXES.format("i o -> o i", (2,))
    with refused(ShapeError, text):
        TRANSPOSED.to_canonical(numbered((2,)))
    with refused(ShapeError, text):
        TRANSPOSED.canonical_shape((2,))
