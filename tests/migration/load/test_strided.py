"""Every box of every kind of row: what the strides say is what the row makes, and no entry more."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paritree.pairs.maps import MapRow, bounds, boxes_of, parts_of, placed, runs, viewed, windows
from paritree.pairs.maps.pieces import parsed

HEADS = (("d", 3), ("h", 2))
ROWS: dict[str, tuple[Any, ...]] = {
    "transposed": ((6, 8), (8, 6), "o i -> i o"),
    "rolled": ((4, 6, 3), (3, 4, 6), "a b c -> c a b"),
    "split": ((6, 8), (8, 2, 3), "(h d) i -> i h d", HEADS),
    "merged": ((8, 2, 3), (6, 8), "i h d -> (h d) i", HEADS),
    "merged across": ((4, 3, 2), (8, 3), "a b c -> (a c) b"),
    "packed": ((18, 5), (5, 2, 3), "(h d) i -> i h d", HEADS, "[6:12]"),
    "stacked": ((18, 5), (4, 5, 2, 3), "(h d) i -> i h d", HEADS, "[6:12]", "[2]"),
    "stacked within": ((6, 5), (5, 2, 4, 3), "(h d) i -> i h d", HEADS, "", "[:, :, 1]"),
    "from interleaved": ((24, 5), (2, 4, 5), "h d i -> h d i", (), "(2 3 4 5)[:, 1]"),
    "to interleaved": ((2, 4, 5), (24, 5), "h d i -> h d i", (), "", "(2 3 4 5)[:, 1]"),
    "every second": ((3, 4), (6, 4), "a b -> a b", (), "", "[1::2]"),
    "from every second": ((6, 4), (3, 4), "a b -> a b", (), "[::2]"),
    "reversed": ((6, 4), (6, 4), "a b -> a b", (), "[::-1]"),
    "to reversed": ((6, 4), (4, 6), "a b -> b a", (), "", "[:, ::-1]"),
    "over the ends of axes": ((8,), (4, 6), "a -> a", (), "", "(24)[3:11]"),
    "over all axes": ((24,), (4, 6), "a -> a", (), "", "(24)[::-1]"),
    "to no axis": ((12,), (4, 6), "a -> a", (), "", "(12 2)[:, 1]"),
    "a number": ((), (3,), "->", (), "", "[1]"),
    "numbers": ((), (), "->"),
    "axes of length 1": ((4,), (1, 4, 1), "a -> 1 a 1"),
    "empty": ((0, 4), (4, 0), "a b -> b a"),
}


def row(name: str) -> MapRow:
    shape, port_shape, layout, *others = ROWS[name]
    sizes, one, other = (*others, *((), "", "")[len(others) :])
    return MapRow("r", "p", shape, port_shape, layout, "rule", sizes, parsed(one), parsed(other))


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_box_of_a_row(name: str, data: st.DataObject) -> None:
    made = row(name)
    reference = np.arange(1, prod(made.shape) + 1).reshape(made.shape)
    whole = np.zeros(made.port_shape, reference.dtype)
    made.port_piece.of(whole)[...] = made.to_port(reference)
    ends = [sorted(data.draw(st.tuples(*[st.integers(0, length)] * 2))) for length in made.port_shape]
    box = tuple((start, stop) for start, stop in ends)
    expected = whole[tuple(slice(*each) for each in box)]
    found = np.zeros(expected.shape, expected.dtype)
    count, most = 0, data.draw(st.integers(1, 30))
    for part in (each for larger in parts_of(made, box) for each in windows(larger, most)):
        assert part.size <= most
        placed(found, part)[...] = viewed(reference, part)
        around, inside = bounds(part, made.shape)
        there = np.ascontiguousarray(reference[tuple(slice(*each) for each in around)])
        np.testing.assert_array_equal(viewed(there, inside), viewed(reference, part))
        count += part.size
    np.testing.assert_array_equal(found, expected)
    assert count == np.count_nonzero(expected)


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_a_box_of_the_reference_becomes(name: str, data: st.DataObject) -> None:
    made = row(name)
    reference = np.arange(1, prod(made.shape) + 1).reshape(made.shape)
    box = tuple(sorted(data.draw(st.tuples(*[st.integers(0, length)] * 2))) for length in made.shape)
    inside = tuple(slice(*each) for each in box)
    expected, found, seen = (np.zeros(made.port_shape, reference.dtype) for _ in range(3))
    within = np.zeros_like(reference)
    within[inside] = reference[inside]
    made.port_piece.of(expected)[...] = made.to_port(within)
    held = np.ascontiguousarray(reference[inside])
    for there, part in boxes_of(made, box):
        found[tuple(slice(*each) for each in there)] = placed(held, part).reshape([stop - at for at, stop in there])
        length, starts = runs(part)
        for values, start in zip(placed(held, part).reshape(-1, length), starts, strict=True):
            seen.reshape(-1)[start : start + length] = values
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(seen, expected)
