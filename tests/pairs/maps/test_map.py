"""Maps: carried bit for bit and back, packed and split; and every way in which one can be wrong."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from flax import linen, nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from paritree import Map, MapError, MapRow, WeightsError
from paritree.pairs.maps import assemble
from paritree.pairs.maps.pieces import Piece, parsed

from ...steps import steps


def row(reference: str, port: str, shape: Any, port_shape: Any, layout: str, **more: Any) -> MapRow:
    """A row by fingerprint, unless told otherwise, whose pieces are texts."""
    pieces = {name: parsed(more.pop(name, "")) for name in ("reference_piece", "port_piece")}
    sizes = tuple(more.pop("sizes", {}).items())
    return MapRow(
        reference, port, shape, port_shape, layout, more.pop("evidence", "fingerprint"), sizes, **pieces, **more
    )


WHOLE_ROWS = (
    row("a.weight", "a.kernel", (3, 4), (4, 3), "a b -> b a", reference_aliases=("head.weight",)),
    row("conv.weight", "conv.kernel", (5, 1, 2, 3), (2, 3, 1, 5), "a 1 b c -> b c 1 a"),
    row("cls", "cls", (1, 1, 4), (4,), "1 1 a -> a", evidence="name"),
    row("a.bias", "a.bias", (3,), (3,), "a -> a", evidence="sibling", port_aliases=("b.bias",)),
)
MAP = Map(WHOLE_ROWS, ("torch", "pytree"), ("pooler.bias",), ("extra",), ("count",), verified=True)
PACKED = Map(
    (
        *(
            row("in_proj", f"params.{name}.kernel", (12, 4), (4, 2, 2), "(h d) i -> i h d", sizes={"h": 2},
                reference_piece=f"[{4 * number}:{4 * number + 4}]")
            for number, name in enumerate("qkv")
        ),
        row("bias_ih", "params.bias", (3,), (3,), "a -> a", summed=True),
        row("bias_hh", "params.bias", (3,), (3,), "a -> a", summed=True),
        row("norm", "params.norm.scale", (5,), (5,), "a -> a", transform="x + 1"),
        row("layers.0", "params.layers", (2, 3), (2, 3, 2), "o i -> i o", port_piece="[0]"),
        row("layers.1", "params.layers", (2, 3), (2, 3, 2), "o i -> i o", port_piece="[1]"),
    ),
    ("torch", "linen"),
)  # fmt: skip


def weights(made: Map, dtype: Any = "float32") -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {path: random.normal(size=rows[0].shape).astype(dtype) for path, rows in made.by_reference.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
def test_carry_and_its_inverse_give_every_bit_back(dtype: Any) -> None:
    given_ = weights(MAP, dtype)
    carried = MAP.carry(given_)
    assert {path: array.shape for path, array in carried.items()} == {
        "a.kernel": (4, 3), "conv.kernel": (2, 3, 1, 5), "cls": (4,), "a.bias": (3,), "b.bias": (3,)
    }  # fmt: skip
    np.testing.assert_array_equal(carried["a.kernel"], given_["a.weight"].T)
    np.testing.assert_array_equal(carried["conv.kernel"], given_["conv.weight"].transpose(2, 3, 1, 0))
    for path, array in MAP.inverse().arrays(carried).items():
        assert array.tobytes() == given_[path].tobytes()
        assert array.dtype == given_[path].dtype


def test_a_whole_row_is_a_view() -> None:
    given_ = weights(MAP)
    assert all(
        np.shares_memory(array, given_[row.reference])
        for row, array in zip(MAP.rows, MAP.arrays(given_).values(), strict=True)
    )


def test_packed_stacked_summed_and_shifted_tensors() -> None:
    given_ = weights(PACKED)
    carried = PACKED.carry(given_)["params"]
    for number, name in enumerate("qkv"):
        part = given_["in_proj"][4 * number : 4 * number + 4]
        np.testing.assert_array_equal(carried[name]["kernel"], part.reshape(2, 2, 4).transpose(2, 0, 1))
    np.testing.assert_array_equal(carried["bias"], given_["bias_ih"] + given_["bias_hh"])
    np.testing.assert_array_equal(carried["norm"]["scale"], given_["norm"] + 1)
    np.testing.assert_array_equal(carried["layers"], np.stack([given_["layers.0"].T, given_["layers.1"].T]))
    back = PACKED.inverse().carry({"params": carried})
    np.testing.assert_array_equal(back["in_proj"], given_["in_proj"])
    np.testing.assert_array_equal(back["bias_ih"], carried["bias"])
    np.testing.assert_array_equal(back["bias_hh"], np.zeros(3))
    np.testing.assert_allclose(back["norm"], given_["norm"], atol=1e-6)
    np.testing.assert_array_equal(back["layers.1"], given_["layers.1"])


def test_the_inverse_of_the_inverse_is_the_map() -> None:
    for made in (MAP, PACKED):
        assert made.inverse().inverse() == made
        assert [each.gives_zeros for each in made.inverse().inverse().rows] == [each.gives_zeros for each in made.rows]
    assert MAP.inverse().direction == ("pytree", "torch")
    assert MAP.inverse().unmatched_port == ("pooler.bias",)
    assert MAP.inverse().rows[3].reference_aliases == ("b.bias",)
    assert [each.gives_zeros for each in PACKED.inverse().rows[3:5]] == [False, True]


def test_coverage_is_the_share_of_both_sides_that_has_a_row() -> None:
    assert MAP.coverage == 8 / 10
    assert PACKED.coverage == 1.0
    assert Map(PACKED.rows, ("", ""), ("x",)).coverage == 12 / 13
    assert Map((), ("torch", "nnx")).coverage == 1.0


def test_tensors_of_torch_and_jax_and_nested_trees_are_taken() -> None:
    expected = PACKED.arrays(weights(PACKED))
    as_torch = {path: torch.nn.Parameter(torch.tensor(array)) for path, array in weights(PACKED).items()}
    as_jax = {path: jnp.asarray(array) for path, array in weights(PACKED).items()}
    as_jax["layers"] = [as_jax.pop("layers.0"), as_jax.pop("layers.1")]
    for given_ in (as_torch, as_jax):
        for path, array in PACKED.arrays(given_).items():
            assert type(array) is np.ndarray
            np.testing.assert_array_equal(array, expected[path])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_small_types_of_torch_keep_their_bits(dtype: torch.dtype) -> None:
    tensor = torch.arange(6.0).reshape(2, 3).to(dtype)
    made = Map((row("a", "b", (2, 3), (3, 2), "a b -> b a"),), ("torch", "pytree"))
    carried = made.carry({"a": tensor})["b"]
    assert str(carried.dtype) == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(carried.astype(np.float32), tensor.float().numpy().T)


def test_a_linen_port_applies_what_is_carried() -> None:
    ours, theirs = torch.nn.Linear(3, 4), linen.Dense(4)
    made = Map(
        (
            row("weight", "params.kernel", (4, 3), (3, 4), "o i -> i o"),
            row("bias", "params.bias", (4,), (4,), "a -> a"),
        ),
        ("torch", "linen"),
    )
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    found = theirs.apply(made.carry(ours.state_dict()), x)
    np.testing.assert_allclose(found, ours(torch.tensor(x)).detach(), atol=1e-6)


def test_an_nnx_port_is_updated_by_what_is_carried_and_its_state_goes_back() -> None:
    model = nnx.Dict(layers=nnx.List([nnx.Linear(3, 3, rngs=nnx.Rngs(0)) for _ in range(2)]))
    made = Map(
        tuple(
            each
            for n in range(2)
            for each in (
                row(f"{n}.weight", f"layers.{n}.kernel", (3, 3), (3, 3), "o i -> i o"),
                row(f"{n}.bias", f"layers.{n}.bias", (3,), (3,), "a -> a"),
            )
        ),
        ("torch", "nnx"),
    )
    given_ = weights(made)
    carried = made.carry(given_)
    assert list(carried["layers"]) == [0, 1]
    nnx.update(model, nnx.State(carried))
    back = made.inverse().carry(nnx.state(model))
    for path, array in given_.items():
        np.testing.assert_array_equal(back[path], array)


def test_an_alias_may_be_given_with_its_owner_or_for_it() -> None:
    given_ = weights(MAP)
    for more in ({"head.weight": given_["a.weight"]}, {"head.weight": given_["a.weight"].copy()}):
        assert MAP.carry({**given_, **more}).keys() == MAP.carry(given_).keys()
    alone = {("head.weight" if path == "a.weight" else path): array for path, array in given_.items()}
    np.testing.assert_array_equal(MAP.carry(alone)["a.kernel"], given_["a.weight"].T)


def test_a_tie_of_two_values_is_refused() -> None:
    given_ = weights(MAP)
    with pytest.raises(WeightsError) as caught:
        MAP.carry({**given_, "head.weight": given_["a.weight"] + 1})
    assert str(caught.value) == (
        "expected one array for each of 4 tensors of the map, found 1 that does not fit: a.weight and head.weight are "
        "one tensor of the model and have two values: leave out the one that is not to be carried. Nothing was carried."
    )


def test_all_that_does_not_fit_is_listed() -> None:
    given_: dict[str, Any] = weights(MAP)
    del given_["cls"]
    given_ |= {
        "a.weight": given_["a.weight"].T,
        "a.bias": 3,
        "b": np.zeros(1),
        "count": np.zeros(2),
        "a": {"weight": np.zeros(1)},
    }
    with pytest.raises(WeightsError) as caught:
        MAP.carry(given_)
    assert str(caught.value) == (
        "expected one array for each of 4 tensors of the map, found 5 that do not fit: a.weight is given twice; "
        "a.weight has shape (1,) and needs (3, 4); cls is missing; a.bias is no array but int; b is not in the map. "
        "Nothing was carried."
    )
    with pytest.raises(WeightsError) as caught:
        MAP.carry(3)
    assert str(caught.value) == "expected a mapping from paths to arrays, or a tree of them, found int."


def test_of_a_tie_with_two_values_the_one_to_keep_is_carried() -> None:
    given_ = weights(MAP)
    other = given_["a.weight"] + 1
    for path, expected in (("a.weight", given_["a.weight"]), ("head.weight", other)):
        carried = MAP.arrays({**given_, "head.weight": other}, keep=[path])
        np.testing.assert_array_equal(carried["a.kernel"], expected.T)


def test_of_copies_with_two_values_the_one_to_keep_is_carried() -> None:
    made = Map(tuple(row(path, "c", (2,), (2,), "a -> a", copied=True) for path in ("a", "b")), ("torch", "torch"))
    held = {"a": np.ones(2), "b": np.full(2, 3.0)}
    with pytest.raises(WeightsError) as caught:
        made.carry(held)
    assert (
        "a and b are one tensor of the port, c, and have two values: choose one by keep=['a'] or keep=['b']"
    ) in str(caught.value)
    for path in held:
        np.testing.assert_array_equal(made.arrays(held, keep=[path])["c"], held[path])
    np.testing.assert_array_equal(made.arrays({**held, "b": held["a"]})["c"], held["a"])


def test_a_path_that_is_also_a_container_has_no_tree() -> None:
    both = tuple(row(name, name, (), (), " -> ") for name in ("a", "a.b"))
    for rows, path in ((both, "a.b"), (both[::-1], "a")):
        with pytest.raises(MapError) as caught:
            Map(rows, ("torch", "linen")).carry({"a": np.zeros(()), "a.b": np.zeros(())})
        assert str(caught.value) == (
            f"{path}: expected every path of the port a tensor or a container of some, found both in one place."
        )


def test_a_tensor_is_assembled_into_a_given_array() -> None:
    given_ = weights(PACKED)
    asked: list[str] = []

    def get(path: str) -> np.ndarray:
        asked.append(path)
        return given_[path]

    for path, rows in PACKED.by_port.items():
        expected = PACKED.arrays(given_)[path]
        for out in (np.empty(expected.shape, ml_dtypes.bfloat16), np.empty((2, *expected.shape), np.float64)[::2][0]):
            assert assemble(rows, get, out) is out
            np.testing.assert_array_equal(out, expected.astype(out.dtype))
    assert asked.count("layers.1") == 2
    tall = np.empty((2, 3, 2), np.float32).T
    assemble(PACKED.by_port["params.layers"], get, tall)
    np.testing.assert_array_equal(tall, PACKED.arrays(given_)["params.layers"])


def test_sources_of_several_types_become_one_that_holds_all() -> None:
    made = Map(tuple(row(f"{n}", "all", (1,), (2,), "a -> a", port_piece=f"[{n}:{n + 1}]") for n in range(2)), ("", ""))
    for types, expected in {("float32", "float64"): "float64", ("float16", "bfloat16"): "float32"}.items():
        given_ = {str(n): np.ones(1, np.dtype(getattr(ml_dtypes, kind, kind))) for n, kind in enumerate(types)}
        assert str(made.arrays(given_)["all"].dtype) == expected


@st.composite
def _packings(draw: st.DrawFn) -> Map:
    """A tensor cut along an axis, or interleaved, whose parts are transposed tensors of their own."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    order = draw(st.permutations(range(len(shape))))
    axis = draw(st.integers(0, len(shape) - 1))
    before: tuple[Any, ...] = ((None, None, None),) * axis
    letters = "abc"[: len(shape)]
    layout = f"{' '.join(letters)} -> {' '.join(letters[each] for each in order)}"
    kind = draw(st.sampled_from(["spans", "steps"]))
    cuts = sorted({0, shape[axis], *draw(st.lists(st.integers(0, shape[axis]), max_size=3))})
    spans: list[Any] = [(start, stop, None) for start, stop in pairwise(cuts)]
    steps = draw(st.integers(1, shape[axis]))
    pieces = [
        Piece((), (*before, each)) for each in (spans if kind == "spans" else [(n, None, steps) for n in range(steps)])
    ]
    rows = []
    for number, piece in enumerate(pieces):
        part = piece.shape(shape)
        port_shape = tuple(part[each] for each in order)
        rows.append(MapRow("all", f"part{number}", shape, port_shape, layout, "value", reference_piece=piece))
    return Map(tuple(rows), ("torch", "torch"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(_packings(), st.data())
def test_any_packing_is_carried_there_and_back(made: Map, data: st.DataObject) -> None:
    given_ = weights(made, data.draw(st.sampled_from(["float32", ml_dtypes.bfloat16])))
    parts = made.carry(given_)
    assert made.inverse().carry(parts)["all"].tobytes() == given_["all"].tobytes()
    again = made.carry(made.inverse().carry(parts))
    assert all(again[path].tobytes() == parts[path].tobytes() for path in parts)


@pytest.mark.parametrize(
    ("shape", "port_shape", "layout"),
    [((3, 1, 4), (4, 3), "a 1 b -> b a"), ((2,), (1, 2, 1), "a -> 1 a 1"), ((), (), " -> ")],
)
def test_an_axis_of_length_1_has_no_name(shape: Any, port_shape: Any, layout: str) -> None:
    made = row("a", "b", shape, port_shape, layout)
    assert made.to_port(np.zeros(shape)).shape == port_shape
    assert made.inverse().to_port(np.zeros(port_shape)).shape == shape


def test_any_number_of_axes_may_be_left_as_they_are() -> None:
    made = row("a", "b", (2, 3, 4), (4, 2, 3), "... a -> a ...")
    assert made.to_port(np.zeros((2, 3, 4))).shape == (4, 2, 3)
    assert row("a", "b", (), (), "... -> ...").inverse().to_port(np.zeros(())).shape == ()


def test_sizes_that_follow_are_added_and_others_asked_for() -> None:
    made = row("a", "b", (6, 5), (2, 3, 5), "(h d) i -> h d i", sizes={"h": 2})
    assert made.sizes == (("d", 3), ("h", 2))
    assert made.inverse().to_port(np.zeros((2, 3, 5))).shape == (6, 5)


FLAWS: dict[str, tuple[dict[str, Any], str]] = {
    "no layout": (
        {"layout": "a b"},
        "expected an einops pattern such as 'o i -> i o', with the same axes on both sides, found 'a b'.",
    ),
    "an axis lost": (
        {"layout": "a b -> a"},
        "expected an einops pattern such as 'o i -> i o', with the same axes on both sides, found 'a b -> a'.",
    ),
    "other axes": (
        {"layout": "a b c -> c b a"},
        "expected an einops pattern that fits the shape, with sizes for its bracketed axes, found 'a b c -> c b a' for "
        "the shape (3, 4).",
    ),
    "sizes that do not follow": (
        {"layout": "a (b c) -> a b c"},
        "expected an einops pattern that fits the shape, with sizes for its bracketed axes, found 'a (b c) -> a b c' "
        "for the shape (3, 4).",
    ),
    "sizes that do not divide": (
        {"layout": "a (b c) -> a b c", "sizes": {"b": 3}},
        "expected an einops pattern that fits the shape, with sizes for its bracketed axes, found 'a (b c) -> a b c' "
        "for the shape (3, 4) and the sizes {'b': 3}.",
    ),
    "a size of no axis": (
        {"sizes": {"q": 3}},
        "expected an einops pattern that fits the shape, with sizes for its bracketed axes, found 'a b -> b a' for the "
        "shape (3, 4) and the sizes {'q': 3}.",
    ),
    "another port's shape": (
        {"port_shape": (3, 4)},
        "expected a layout that leads to the port's tensor (3, 4), found (4, 3).",
    ),
    "another port's piece": (
        {"port_shape": (4, 6), "port_piece": "[:, 0:2]"},
        "expected a layout that leads to the port's piece [:, 0:2] (4, 2), found (4, 3).",
    ),
    "a piece that is not there": (
        {"reference_piece": "[5]"},
        "expected an array that has a piece [5], found one of shape (3, 4). Compare the two models.",
    ),
    "no transform": (
        {"transform": "x ** 2"},
        "expected a transform such as 'x + 1', 'x / 8.0' or 'x * 2 - 1', which has an inverse, found 'x ** 2'.",
    ),
    "a sum that moves zero": (
        {"transform": "x + 1", "summed": True},
        "expected a summed row whose transform leaves zero at zero, found 'x + 1'.",
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_row_that_does_not_hold_together_is_refused(flaw: str) -> None:
    changes, expected = FLAWS[flaw]
    with pytest.raises(MapError) as caught:
        row(**{"reference": "a", "port": "b", "shape": (3, 4), "port_shape": (4, 3), "layout": "a b -> b a", **changes})
    assert str(caught.value) == f"a -> b: {expected}"


def test_a_row_takes_no_array_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"^a.weight: expected the shape \(3, 4\), found \(4, 3\). Compare the two"):
        WHOLE_ROWS[0].to_port(np.zeros((4, 3)))


def _pieces(*texts: str, shape: Any = (4, 2)) -> tuple[MapRow, ...]:
    parts = [parsed(text).shape(shape) for text in texts]
    return tuple(
        row("all", f"p{n}", shape, part, "... -> ...", reference_piece=text)
        for n, (text, part) in enumerate(zip(texts, parts, strict=True))
    )


SETS: dict[str, tuple[tuple[MapRow, ...], str]] = {
    "a row twice": (
        (WHOLE_ROWS[0], WHOLE_ROWS[0]),
        "a.weight: expected every path of the reference once, found it twice. Drop one of the two rows.",
    ),
    "a gap": (
        _pieces("[0:2]", "[3:4]"),
        "all: expected every entry of the reference's tensor of shape (4, 2) in one row, found entries in no row, of 2 "
        "rows: [0:2], [3:4]. Correct the pieces.",
    ),
    "an overlap": (
        _pieces("[0:3]", "[2:4]"),
        "all: expected every entry of the reference's tensor of shape (4, 2) in one row, found entries in several "
        "rows, of 2 rows: [0:3], [2:4]. Correct the pieces.",
    ),
    "both": (
        _pieces("[0:3]", "[0:3]"),
        "all: expected every entry of the reference's tensor of shape (4, 2) in one row, found entries in no row and "
        "entries in several rows, of 2 rows: [0:3], [0:3]. Correct the pieces.",
    ),
    "eight pieces of one place": (
        _pieces(*["[0:1]"] * 8),
        "all: expected every entry of the reference's tensor of shape (4, 2) in one row, found entries in no row and "
        f"entries in several rows, of 8 rows: {', '.join(['[0:1]'] * 8)}. Correct the pieces.",
    ),
    "nine of them, of which eight are shown": (
        _pieces(*["[0:1]"] * 9),
        "all: expected every entry of the reference's tensor of shape (4, 2) in one row, found entries in no row and "
        f"entries in several rows, of 9 rows: {', '.join(['[0:1]'] * 8)}, and 1 more. Correct the pieces.",
    ),
    "one piece alone": (
        _pieces("[0:3]"),
        "all: expected every entry of the reference's tensor of shape (4, 2) in one row, found entries in no row, of 1 "
        "row: [0:3]. Correct the pieces.",
    ),
    "a gap in the port": (
        tuple(each.inverse() for each in _pieces("[0:1]", "[2:4]")),
        "all: expected every entry of the port's tensor of shape (4, 2) in one row, found entries in no row, of 2 "
        "rows: [0:1], [2:4]. Correct the pieces.",
    ),
    "two shapes": (
        (*_pieces("[0:2]"), *_pieces("[2:5]", shape=(5, 2))),
        "all: expected one shape of the reference's tensor in all of its rows, found (4, 2) and (5, 2).",
    ),
    "two sets of aliases": (
        (
            row("all", "x", (2,), (1,), "a -> a", reference_piece="[0:1]", reference_aliases=("y",)),
            row("all", "z", (2,), (1,), "a -> a", reference_piece="[1:2]"),
        ),
        "all: expected the same aliases of the reference's tensor in all of its rows, found ['y'] and [].",
    ),
    "a sum of one": (
        (row("a", "b", (2,), (2,), "a -> a", summed=True),),
        "a -> b: expected another summed row with the same piece of the reference or of the port, found none. Add the "
        "rows that it is summed with, or make it a row that is not summed.",
    ),
    "a sum of which one is none": (
        (
            row("a", "b", (2,), (2,), "a -> a", summed=True),
            row("c", "b", (2,), (2,), "a -> a", summed=True),
            row("d", "b", (2,), (2,), "a -> a"),
        ),
        "b: expected every path of the port once, found it twice. Drop one of the two rows.",
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_rows_that_make_no_map_are_refused(name: str) -> None:
    rows, expected = SETS[name]
    with pytest.raises(MapError) as caught:
        Map(rows, ("torch", "linen"))
    assert str(caught.value) == expected


def test_a_path_with_a_row_is_not_unmatched_or_aside_as_well() -> None:
    for name in ("unmatched_port", "aside_port"):
        with pytest.raises(MapError) as caught:
            Map(WHOLE_ROWS, ("torch", "linen"), **{name: ("cls",)})
        assert str(caught.value) == (
            "cls: expected every path of the port once, found it twice. Drop one of the two rows."
        )


def _stacked(count: int) -> Map:
    """Half of the tensors alone, the others in one stack."""
    rows = [row(f"h.{n}.w", f"h_{n}.k", (4, 4), (4, 4), "o i -> i o") for n in range(count)]
    rows += [row(f"e.{n}.w", "stack", (4, 4), (count, 4, 4), "o i -> i o", port_piece=f"[{n}]") for n in range(count)]
    return Map(tuple(rows), ("torch", "linen"))


def test_the_work_grows_with_the_number_of_tensors_and_no_faster() -> None:
    maps = [_stacked(count) for count in (500, 500, 1000)]
    # The first one finds out what is then known.
    _, one, two = (steps(lambda made=made: made.arrays(weights(made))) for made in maps)
    assert two < 2.2 * one


@pytest.mark.parametrize("made", [MAP, PACKED, PACKED.inverse()], ids=["whole", "packed", "split"])
def test_a_tensor_is_written_to_memory_of_any_strides(made: Map) -> None:
    """Of another order in memory, or every other entry of a larger one."""
    given_ = weights(made)
    for path, rows in made.by_port.items():
        right = made.arrays(given_)[path]
        for out in (np.zeros(right.shape, order="F"), np.zeros((*right.shape, 2))[..., 0], np.zeros(right.shape)):
            assert assemble(rows, given_.__getitem__, out) is out
            np.testing.assert_array_equal(out, right)


TEXT = """\
torch                   pytree             layout              evidence
a.weight = head.weight  a.kernel           a b -> b a          fingerprint
conv.weight             conv.kernel        a 1 b c -> b c 1 a  fingerprint
cls                     cls                1 1 a -> a          name
a.bias                  a.bias = b.bias    same                sibling

torch -> pytree: 4 rows (fingerprint 2, name 1, sibling 1), proved by runs of both sides; 2 tensors without a partner
no partner, in the reference (torch): pooler.bias
not mapped, since each side has its own, in the reference (torch): count
no partner, in the port (pytree): extra"""


def test_a_map_prints_as_a_table() -> None:
    squeezed = [" ".join(line.split()) for line in str(MAP).splitlines()]
    assert squeezed == [" ".join(line.split()) for line in TEXT.splitlines()]
    text = str(replace(PACKED, notes=("the port was run op by op",)))
    assert "in_proj[0:4]   params.q.kernel    (h d) i -> i h d  fingerprint" in text
    assert "bias_hh        params.bias        same, summed" in text
    assert "norm           params.norm.scale  same, x + 1" in text
    assert "not proved; every tensor has a partner\nnote: the port was run op by op" in text
    assert repr(MAP).startswith("Map(rows=(MapRow(reference='a.weight'")


def test_a_map_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paritree.pairs.maps.map.terminal_width", lambda: 44)
    lines = str(MAP).splitlines()
    assert lines[:3] == [
        "a.weight = head.weight  a.kernel  a b -> b a",
        "  fingerprint",
        "conv.weight  conv.kernel  a 1 b c -> b c 1 a",
    ]


def test_a_map_in_a_notebook() -> None:
    html = Map((row("<b>", "b", (3,), (3,), "a -> a"),), ("torch", "nnx"), verified=True)._repr_html_()
    cells = ["".join(each.itertext()).strip() for each in ElementTree.fromstring(html).iter("td")]
    assert cells == ["<b>", "b", "same", "fingerprint"]
    assert '<span class="mark pass">✓ proved</span>' in html
    assert "every tensor has a partner" in html
    assert "○ not proved" in PACKED._repr_html_()


def test_many_paths_without_a_row_are_counted() -> None:
    text = str(Map((), ("torch", "torch"), tuple(f"h.{number}" for number in range(11))))
    assert text.splitlines()[0].split() == ["torch", "torch", "(port)", "layout", "evidence"]
    assert text.endswith("no partner, in the reference (torch): h.0, h.1, h.2, h.3, h.4, h.5, h.6, h.7 and 3 more")
