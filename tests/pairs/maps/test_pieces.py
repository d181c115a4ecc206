"""Pieces: read and written as text, taken out of arrays of every framework, and counted over whole tensors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paritree.common.errors import ShapeError
from paritree.pairs.maps.pieces import WHOLE, Piece, coverage, parsed

TEXTS = {
    "": (),
    "[8:16]": ((8, 16, None),),
    "[3]": (3,),
    "[:, 1]": ((None, None, None), 1),
    "[::2]": ((None, None, 2),),
    "[1:7:3]": ((1, 7, 3),),
    "(2 3 4 8)[:, 1]": ((None, None, None), 1),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_and_written_again(text: str) -> None:
    piece = parsed(text)
    assert piece.index == TEXTS[text]
    assert piece.view == ((2, 3, 4, 8) if text.startswith("(") else ())
    assert str(piece) == text
    assert piece.is_whole == (not text)


@pytest.mark.parametrize(
    "text", ["8:16", "[8:16", "[-1]", "[a]", "(2 3)[:, 1", "[1,2]", "[1:2:3:4]", "[0:8:0]", "[::00]", "[\u0663]"]
)
def test_a_text_that_is_no_piece_is_refused(text: str) -> None:
    with pytest.raises(ShapeError) as caught:
        parsed(text)
    assert str(caught.value) == (f"expected a piece such as '[8:16]', '[:, 1]' or '(2 3 8)[:, 1]', found {text!r}.")


def test_a_number_without_end_is_refused() -> None:
    for text in (f"[{'1' * 5000}]", f"({'1' * 5000})[1]", "(" * 100_000):
        with pytest.raises(ShapeError, match=r"found '.*\.\.\..*'\.$"):
            parsed(text)


def test_pieces_that_would_fill_the_memory_are_not_counted() -> None:
    expected = "expected pieces that part an array into 67,108,864 boxes at most, found"
    for pieces in ([parsed("[::2]"), parsed("[1::2]")], [parsed(f"({2**40} 2)[::2]"), parsed(f"(2 {2**40})[1]")]):
        with pytest.raises(ShapeError, match=f"^{expected} "):
            coverage(pieces, (2**41,))


@pytest.mark.parametrize("framework", [np.asarray, torch.tensor, jnp.asarray])
def test_arrays_of_every_framework(framework: Any) -> None:
    values = np.arange(24).reshape(6, 4)
    array = framework(values)
    for text, expected in {
        "[2:4]": values[2:4],
        "[:, 3]": values[:, 3],
        "[1::3]": values[1::3],
        "(2 3 4)[:, 1]": values.reshape(2, 3, 4)[:, 1],
        "[1, 2]": values[1, 2],
    }.items():
        found = parsed(text).of(array)
        np.testing.assert_array_equal(np.asarray(found), expected)
        assert tuple(found.shape) == expected.shape == parsed(text).shape((6, 4))


@pytest.mark.parametrize("text", ["[2:4]", "(2 3 4)[:, 1]", "[1, 2]"])
def test_a_piece_is_a_view(text: str) -> None:
    array = np.zeros((6, 4))
    parsed(text).of(array)[...] = 1
    assert array.sum() == parsed(text).of(np.ones((6, 4))).sum()


@pytest.mark.parametrize("text", ["[8:16]", "[6]", "[:, :, 1]", "(5 5)[1]"])
def test_an_array_without_that_piece_is_refused(text: str) -> None:
    with pytest.raises(ShapeError) as caught:
        parsed(text).of(np.zeros((6, 4)))
    assert str(caught.value) == (
        f"expected an array that has a piece {text}, found one of shape (6, 4). Compare the two models."
    )


@pytest.mark.parametrize(
    ("text", "normal"),
    [("[0:6]", ""), ("[2:]", "[2:6]"), ("[:2]", "[0:2]"), ("[0:6:2]", "[::2]"), ("[1:5:3]", "[1::3]"),
     ("[1:4:3]", "[1:4:3]"), ("(6 4)[1]", "[1]"), ("(2 12)", ""), ("[:, :]", "")],
)  # fmt: skip
def test_one_piece_has_one_normal_spelling(text: str, normal: str) -> None:
    assert str(parsed(text).normal((6, 4))) == normal


@st.composite
def partitions(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Piece]]:
    """A shape, and pieces that cover it: cut along its axes, each part further."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    before: tuple[Any, ...] = ((None, None, None),) * axis
    kind = draw(st.sampled_from(["spans", "places", "steps"]))
    if kind == "places":
        return shape, [Piece((), (*before, place)) for place in range(shape[axis])]
    if kind == "steps":
        step = draw(st.integers(1, shape[axis]))
        return shape, [Piece((), (*before, (start, None, step))) for start in range(step)]
    cuts = sorted({0, shape[axis], *draw(st.lists(st.integers(0, shape[axis]), max_size=3))})
    return shape, [Piece((), (*before, (a, b, None))) for a, b in pairwise(cuts)]


def counted(pieces: list[Piece], shape: tuple[int, ...]) -> tuple[int, int]:
    counts = np.zeros(shape, int)
    for piece in pieces:
        piece.of(counts)[...] += 1
    return counts.min(), counts.max()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(partitions(), st.data())
def test_coverage_is_what_counting_every_entry_gives(
    made: tuple[tuple[int, ...], list[Piece]], data: st.DataObject
) -> None:
    shape, pieces = made
    assert coverage(pieces, shape) == (1, 1) == counted(pieces, shape)
    some = data.draw(st.lists(st.sampled_from(pieces), max_size=4))
    other = data.draw(st.sampled_from([*pieces, WHOLE]))
    assert coverage([*some, other], shape) == counted([*some, other], shape)
    seen = Piece((*shape, 1), other.index) if other.index else Piece((int(np.prod(shape)),), ((0, 1, None),))
    assert coverage([*some, seen], shape) == counted([*some, seen], shape)


def test_a_large_tensor_is_covered_without_an_array_of_its_size() -> None:
    shape = (1 << 20, 1 << 20)
    pieces = [parsed("[0:7]"), parsed("[7:1048576, 0:5]"), parsed("[7:1048576, 5:1048576]")]
    assert coverage(pieces, shape) == (1, 1)
    assert coverage([parsed("[0:7]"), parsed("[8:1048576]")], shape) == (0, 1)
    views = [parsed(f"({1 << 10} {1 << 10} {1 << 20})[0:1]"), parsed(f"[{1 << 10}:{1 << 20}]")]
    assert coverage(views, shape) == (1, 1)


def test_a_tensor_without_entries_is_covered() -> None:
    assert coverage([], (0, 3)) == (1, 1)
    assert coverage([], (2,)) == (0, 0)
