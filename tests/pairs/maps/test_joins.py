"""Maps one after the other, and transforms: whole tensors, packed, interleaved, stacked and summed ones."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paritree import Map, MapError, MapRow
from paritree.pairs.maps.pieces import parsed
from paritree.pairs.maps.transforms import transform_of


def row(reference: str, port: str, shape: Any, port_shape: Any, layout: str, **more: Any) -> MapRow:
    pieces = {name: parsed(more.pop(name, "")) for name in ("reference_piece", "port_piece")}
    sizes = tuple(more.pop("sizes", {}).items())
    evidence = more.pop("evidence", "fingerprint")
    return MapRow(reference, port, shape, port_shape, layout, evidence, sizes, **pieces, **more)


def both(*rows: MapRow, **more: Any) -> Map:
    return Map(rows, more.pop("direction", ("torch", "linen")), verified=True, **more)


def weights(made: Map) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {path: random.integers(0, 99, rows[0].shape).astype(float) for path, rows in made.by_reference.items()}


def composed(first: Map, second: Map) -> Map:
    """Both as one, which carries as they do in turn."""
    made = first.compose(second)
    expected, found = second.arrays(first.arrays(weights(first))), made.arrays(weights(first))
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array)
    return made


ATTENTION = both(
    *(
        row("in_proj", f"{name}.kernel", (12, 4), (4, 2, 2), "(h d) i -> i h d", sizes={"h": 2},
            reference_piece=f"[{4 * number}:{4 * number + 4}]")
        for number, name in enumerate("qkv")
    )
)  # fmt: skip
TO_NNX = both(
    *(row(f"{name}.kernel", f"nnx.{name}", (4, 2, 2), (4, 4), "e n k -> e (n k)") for name in "qkv"),
    direction=("linen", "nnx"),
)
FUSED = both(
    *(
        row(f"nnx.{name}", "fused", (4, 4), (12, 4), "i (h d) -> h d i", sizes={"h": 2},
            port_piece=f"(2 3 2 4)[:, {number}]")
        for number, name in enumerate("qkv")
    ),
    direction=("nnx", "torch"),
)  # fmt: skip


def test_a_packed_attention_through_three_maps() -> None:
    there = composed(ATTENTION, TO_NNX)
    assert (there.direction, there.verified) == (("torch", "nnx"), True)
    first = there.rows[0]
    assert (first.reference, str(first.reference_piece), first.layout, first.port) == (
        "in_proj", "[0:4]", "h i -> i h", "nnx.q",
    )  # fmt: skip
    fused = composed(there, FUSED)
    assert [str(each.port_piece) for each in fused.rows] == [f"(2 3 2 4)[:, {n}]" for n in range(3)]
    assert [str(each.reference_piece) for each in fused.rows] == ["[0:4]", "[4:8]", "[8:12]"]
    same = composed(fused, fused.inverse())
    assert [(str(each.reference_piece), str(each.port_piece)) for each in same.rows] == [
        (f"[{n}:{n + 4}]", f"[{n}:{n + 4}]") for n in (0, 4, 8)
    ]


def test_a_whole_tensor_that_is_only_then_taken_apart() -> None:
    first = both(row("w", "p", (4, 12), (12, 4), "i o -> o i"))
    there = composed(first, ATTENTION_OF_P)
    assert [str(each.reference_piece) for each in there.rows] == ["[:, 0:4]", "[:, 4:8]", "[:, 8:12]"]
    back = composed(ATTENTION_OF_P.inverse(), first.inverse())
    assert [str(each.port_piece) for each in back.rows] == ["[:, 0:4]", "[:, 4:8]", "[:, 8:12]"]
    assert {each.layout for each in there.rows} == {"i (o0 o1) -> i o0 o1"}


ATTENTION_OF_P = both(
    *(
        row("p", each.port, each.shape, each.port_shape, each.layout, sizes=dict(each.sizes),
            reference_piece=str(each.reference_piece))
        for each in ATTENTION.rows
    )
)  # fmt: skip


def _cut(whole: str, *lengths: int) -> Map:
    """A tensor of 8 whose parts are tensors of their own."""
    bounds = np.cumsum([0, *lengths])
    return both(
        *(
            row(whole, f"{n}", (8,), (length,), "a -> a", reference_piece=f"[{start}:{start + length}]")
            for n, (start, length) in enumerate(zip(bounds, lengths, strict=False))
        )
    )


ALTERNATING = both(*(row("w", f"{n}", (8,), (4,), "a -> a", reference_piece=f"[{n}::2]") for n in range(2)))


@pytest.mark.parametrize("second", [_cut("w", 3, 4, 1), _cut("w", 8), ALTERNATING])
@pytest.mark.parametrize("first", [_cut("w", 2, 2, 2, 2), _cut("w", 5, 3), ALTERNATING])
def test_pieces_that_are_cut_elsewhere(first: Map, second: Map) -> None:
    composed(first.inverse(), second)


def test_the_sum_of_two_biases_and_its_gates() -> None:
    summed = both(*(row(name, "b", (8,), (8,), "a -> a", summed=True) for name in ("ih", "hh")))
    there_and_back = composed(summed, summed.inverse())
    assert [each.summed for each in there_and_back.rows] == [True] * 4
    composed(there_and_back, there_and_back.inverse())
    gates = both(
        *(
            row("b", gate, (8,), (2,), "a -> a", reference_piece=f"[{2 * n}:{2 * n + 2}]")
            for n, gate in enumerate("ifgo")
        )
    )
    composed(composed(summed, gates), gates.inverse())


def test_layers_in_a_stack() -> None:
    stacked = both(*(row(f"l.{n}", "all", (2, 3), (3, 3, 2), "o i -> i o", port_piece=f"[{n}]") for n in range(3)))
    assert {each.layout for each in composed(stacked, stacked.inverse()).rows} == {"o i -> o i"}
    transposed = both(row("all", "last", (3, 3, 2), (3, 2, 3), "l i o -> i o l"))
    assert [str(each.port_piece) for each in composed(stacked, transposed).rows] == [
        "[:, :, 0]",
        "[:, :, 1]",
        "[:, :, 2]",
    ]


def test_evidence_and_transforms_and_aliases_of_both() -> None:
    first = both(row("a", "b", (2,), (2,), "a -> a", evidence="value", transform="x + 1", reference_aliases=("a2",)))
    second = both(
        row("b", "c", (2,), (1, 2), "a -> 1 a", transform="x / 8", port_aliases=("c2",)), direction=("linen", "nnx")
    )
    (made,) = composed(first, second).rows
    assert (made.evidence, made.transform, made.layout) == ("value", "(x + 1) / 8", "a -> 1 a")
    assert (made.reference_aliases, made.port_aliases) == (("a2",), ("c2",))
    assert composed(first, first.inverse()).rows[0].transform == ""


def test_a_tensor_of_which_a_part_goes_on_to_nothing_has_no_row() -> None:
    rest = row("x", "y", (2,), (2,), "a -> a")
    first = both(*ATTENTION.rows, rest, unmatched_port=("other",))
    second = both(
        *(each for each in TO_NNX.rows if each.reference != "k.kernel"),
        row("y", "z", (2,), (2,), "a -> a"),
        row("other", "o", (1,), (1,), "a -> a"),
        unmatched_reference=("k.kernel",),
        direction=("linen", "nnx"),
    )
    made = first.compose(second)
    assert [each.reference for each in made.rows] == ["x"]
    assert made.unmatched_reference == ("in_proj",)
    assert made.unmatched_port == ("nnx.q", "nnx.v", "o")


def test_maps_that_do_not_meet_are_refused() -> None:
    first = both(row("a", "b", (3, 4), (4, 3), "a b -> b a"), row("c", "d", (), (), " -> "))
    second = both(row("b", "w", (3, 4), (4, 3), "a b -> b a"), row("q", "q", (), (), " -> "))
    with pytest.raises(MapError) as caught:
        first.compose(second)
    assert str(caught.value) == (
        "expected a map that starts where this one ends, found 3 differences: d is only where the first ends; q is "
        "only where the second starts; b has shape (4, 3) and then (3, 4). Compose maps whose middle is one model."
    )


REFUSED: dict[str, tuple[Map, Map, str]] = {
    "pieces of no common axes": (
        both(*(row(f"{n}", "w", (2, 3), (6, 2), "o i -> i o", port_piece=f"[{3 * n}:{3 * n + 3}]") for n in range(2))),
        both(row("w", "v", (6, 2), (3, 2, 2), "(a b) c -> a b c", sizes={"b": 2})),
        "w: expected rows that make one from 0 to v, found the pieces [0:3] and whole. Align the two outer models "
        "directly.",
    ),
    "a sum and then a shift": (
        both(*(row(name, "b", (2,), (2,), "a -> a", summed=True) for name in ("ih", "hh"))),
        both(row("b", "c", (2,), (2,), "a -> a", transform="x - 1")),
        "b: expected rows that make one from ih to c, found a sum and a transform that moves zero. Align the two outer "
        "models directly.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_do_not_make_one_are_refused(name: str) -> None:
    first, second, expected = REFUSED[name]
    with pytest.raises(MapError) as caught:
        first.compose(second)
    assert str(caught.value) == expected


@st.composite
def _layouts(draw: st.DrawFn) -> tuple[MapRow, MapRow]:
    """Two rows that meet in one tensor, each with a piece, a split or a merge of axes."""
    sizes = [draw(st.integers(1, 3)) for _ in range(3)]
    names = list("abc")
    shapes, sides = [], []
    for _ in range(3):
        order = draw(st.permutations(names))
        cut = draw(st.integers(1, 3))
        groups = [order[:cut], *[[name] for name in order[cut:]]]
        sides.append(" ".join(f"({' '.join(group)})" if len(group) > 1 else group[0] for group in groups))
        shapes.append(tuple(int(np.prod([sizes["abc".index(name)] for name in group])) for group in groups))
    lengths = {name: size for name, size in zip(names, sizes, strict=True)}
    return (
        row("x", "y", shapes[0], shapes[1], f"{sides[0]} -> {sides[1]}", sizes=lengths),
        row("y", "z", shapes[1], shapes[2], f"{sides[1]} -> {sides[2]}", sizes=lengths),
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(_layouts(), st.integers(0, 2))
def test_any_two_layouts(rows: tuple[MapRow, MapRow], axis: int) -> None:
    first, second = rows
    composed(both(first), both(second))
    axis %= len(first.shape)
    places = [f"[{':, ' * axis}{n}]" for n in range(first.shape[axis])]
    kept = first.shape[:axis] + first.shape[axis + 1 :]
    taken = both(
        *(row(f"{n}", "x", kept, first.shape, "... -> ...", port_piece=place) for n, place in enumerate(places))
    )
    composed(composed(taken, both(first)), both(second))


TRANSFORMS = {
    "": "",
    "x": "",
    "x + 1": "x - 1",
    "x - 1.5": "x + 1.5",
    "x * 8.0": "x / 8.0",
    "x / 1e-3": "x * 1e-3",
    "x * -2": "x / -2",
    "x * 2 - 1": "(x + 1) / 2",
    "(x + 1) / 2": "x * 2 - 1",
    "x * 2 / 3 + 1 - .5": "(x + .5 - 1) * 3 / 2",
}


@pytest.mark.parametrize("text", TRANSFORMS)
def test_a_transform_and_its_inverse(text: str) -> None:
    there, back = transform_of(text), transform_of(TRANSFORMS[text])
    assert str(there.inverse) == TRANSFORMS[text]
    assert str(there) == ("" if text == "x" else text)
    assert there.then(back) == transform_of("")
    for array in (np.linspace(0, 1, 5, dtype=np.float32), torch.linspace(0, 1, 5), jnp.linspace(0, 1, 5)):
        expected = eval(text or "x", {"x": np.linspace(0, 1, 5)})
        assert there.of(array).dtype == array.dtype
        np.testing.assert_allclose(np.asarray(there.of(array)), expected, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(back.of(there.of(array))), np.asarray(array), atol=1e-6)
    slope = eval(text or "x", {"x": 1.0}) - eval(text or "x", {"x": 0.0})
    assert there.slope == pytest.approx(slope)


def test_a_transform_keeps_small_types_and_arrays_without_axes() -> None:
    for array in (np.ones(2, ml_dtypes.bfloat16), np.ones((), np.float32)):
        made = transform_of("x * 2").of(array)
        assert (type(made), made.dtype, made.shape) == (np.ndarray, array.dtype, array.shape)


@pytest.mark.parametrize(
    "text",
    ["y", "x +", "x ** 2", "2 * x", "x + y", "(x + 1", "x + 1)", "x * 0", "x / 0.0", "x + 1e999", "x x", "1", "+", "()",
     "__import__('os')", "x + nan", "x / -0"],
)  # fmt: skip
def test_a_text_that_is_no_transform_is_refused(text: str) -> None:
    with pytest.raises(MapError) as caught:
        transform_of(text)
    assert str(caught.value) == (
        f"expected a transform such as 'x + 1', 'x / 8.0' or 'x * 2 - 1', which has an inverse, found {text!r}."
    )
