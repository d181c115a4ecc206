"""The contract of values: every way of loading wrongly is named, and what was never loaded is no failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import paritree
from paritree import Map, Pair
from paritree.conformance.results import Result
from paritree.pairs.maps import MapRow
from paritree.pairs.maps.pieces import parsed

Arrays = dict[str, np.ndarray]
D = 8
# Without equal axes, since a kernel is reshaped where it should be transposed.
SHAPES = {"a.weight": (D, D), "b.weight": (D, D), "c.weight": (6, D), "norm.weight": (D,), "c.bias": (6,)}


class Held(torch.nn.Module):
    """Parameters under dotted paths, and buffers."""

    def __init__(self, arrays: Arrays, buffers: tuple[str, ...] = ()) -> None:
        super().__init__()
        for path, array in arrays.items():
            *modules, name = path.split(".")
            place: torch.nn.Module = self
            for each in modules:
                if each not in dict(place.named_children()):
                    place.add_module(each, torch.nn.Module())
                place = place.get_submodule(each)
            value = torch.from_numpy(np.array(array))
            if path in buffers:
                place.register_buffer(name, value)
            else:
                place.register_parameter(name, torch.nn.Parameter(value))


def drawn(shapes: dict[str, tuple[int, ...]], seed: int) -> Arrays:
    """Kernels drawn, gains of ones, biases of zeros: as they are initialized in either framework."""
    random = np.random.default_rng(seed)
    made = {path: random.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
    constants = {"norm.weight": np.ones, "c.bias": np.zeros}
    return {
        path: constants[path](array.shape, np.float32) if path in constants else array for path, array in made.items()
    }


def row(reference: str, port: str, shape: tuple[int, ...], piece: str = "", **more: Any) -> MapRow:
    layout, port_shape = {1: ("a -> a", shape), 2: ("a b -> b a", shape[::-1])}[len(shape)]
    return MapRow(
        reference, port, shape, more.pop("port_shape", port_shape), layout, "rule", port_piece=parsed(piece), **more
    )


ROWS = tuple(row(path, path.replace("weight", "kernel"), shape) for path, shape in SHAPES.items())
GIVEN = drawn(SHAPES, 0)
RIGHT = {path.replace("weight", "kernel"): array.T for path, array in GIVEN.items()}
OWN = {path.replace("weight", "kernel"): array.T for path, array in drawn(SHAPES, 1).items()}
KERNELS = ("a.kernel", "b.kernel", "c.kernel")


def checked(reference: Any, port: Any, rows: tuple[MapRow, ...] = ROWS, **more: Any) -> tuple[Result, ...]:
    directions = ["torch" if isinstance(side, torch.nn.Module) else "pytree" for side in (reference, port)]
    pair = Pair(reference, port, (), port_call=lambda *_: None, reference_call=lambda *_: None, **more)
    made = Map(rows, (directions[0], directions[1]))
    return paritree.check(pair, made, contracts=("values",), devices=("cpu",)).results


def failures(found: tuple[Result, ...]) -> dict[str, str]:
    return {result.port_path: result.cause for result in found if result.status == "fail"}


def rounded(dtype: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array.astype(dtype).astype(np.float32)


def every_kernel(how: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    return {path: how(array) if path in KERNELS else array for path, array in RIGHT.items()}


def flat(array: np.ndarray) -> np.ndarray:
    """The reference's kernel in its own order, in the shape that the port wants."""
    return np.ascontiguousarray(array.T).reshape(array.shape)


RANDOM = np.random.default_rng(5)
WRONG: dict[str, tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...], str]] = {
    "flat": (flat, ("transposed",), "is the transpose of what it should be"),
    "scaled": (lambda x: 0.125 * x, ("scale",), "is 0.125 times what it should be"),
    "shifted": (lambda x: x + 1, ("shift",), "is +1 off everywhere"),
    "both": (lambda x: 2 * x - 1, ("transform",), "is 2 times what it should be, and -1 off everywhere"),
    "negative": (lambda x: 1 - x, ("transform",), "is -1 times what it should be, and +1 off everywhere"),
    "reversed": (lambda x: x[::-1], ("reversed",), "is what it should be, backwards along axis 0"),
    "halves": (lambda x: np.roll(x, 4, 0), ("block order",), "has its 2 blocks along axis 0 in the order [1, 0]"),
    "bfloat16": (rounded(ml_dtypes.bfloat16), ("dropped dtype",), "is what it should be, rounded to bfloat16"),
    "float16": (rounded(np.float16), ("dropped dtype",), "is what it should be, rounded to float16"),
    "cut off": (
        lambda x: (np.ascontiguousarray(x).view(np.uint32) & 0xFFFF0000).view(np.float32),
        ("dropped dtype",),
        "is what it should be, cut off to bfloat16",
    ),
    "shuffled": (
        lambda x: RANDOM.permutation(x.ravel()).reshape(x.shape),
        ("permuted",),
        "has the numbers that it should in another order",
    ),
    "flat and scaled": (
        lambda x: 0.5 * flat(x),
        ("transposed",),
        "is the transpose of what it should be",
    ),
    "flat and rounded": (
        lambda x: rounded(ml_dtypes.bfloat16)(flat(x)),
        ("transposed",),
        "rounded to bfloat16",
    ),
    "of other steps": (
        lambda x: x + 0.1 * RANDOM.normal(size=x.shape).astype(np.float32),
        ("close",),
        "with a correlation of 0.99",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_port_of_which_every_kernel_was_loaded_wrongly_fails_for_each(name: str) -> None:
    how, causes, words = WRONG[name]
    found = checked(Held(GIVEN), every_kernel(how))
    assert set(failures(found)) == {*KERNELS}
    assert set(failures(found).values()) <= {*causes}
    assert all(words in result.message for result in found if result.status == "fail")
    assert {result.port_path for result in found if result.status == "pass"} == {"norm.kernel", "c.bias"}


def test_a_failure_names_both_paths_the_relation_and_what_to_do() -> None:
    transposed = {**RIGHT, "a.kernel": GIVEN["a.weight"]}
    (result,) = (result for result in checked(Held(GIVEN), transposed) if result.status == "fail")
    assert (result.path, result.port_path, result.cause) == ("a.weight", "a.kernel", "transposed")
    assert result.message == (
        "a.kernel: what the port holds is the transpose of what it should be (a.weight as it is, where the map has "
        "'a b -> b a'). Carry it by the map: paritree.carry(reference, port, map)."
    )


def moved(order: dict[str, str], how: Callable[[np.ndarray], np.ndarray] = np.asarray) -> Arrays:
    return {**RIGHT, **{path: how(RIGHT[source]) for path, source in order.items()}}


def test_kernels_of_other_layers_are_told_by_name() -> None:
    around = {"a.kernel": "b.kernel", "b.kernel": "a.kernel"}
    found = {result.port_path: result for result in checked(Held(GIVEN), moved(around)) if result.status == "fail"}
    assert {path: result.cause for path, result in found.items()} == dict.fromkeys(around, "swapped")
    assert "a.kernel: what the port holds is that of b.kernel (by the map" in found["a.kernel"].message
    found = {result.port_path: result for result in checked(Held(GIVEN), moved(around, np.transpose))}
    assert found["b.kernel"].cause == "swapped"
    assert "has the numbers of a.kernel in another order" in found["b.kernel"].message


PACKED = {"q.weight": (D, D), "k.weight": (D, D), "v.weight": (D, D)}
IN_ONE = tuple(
    row(path, "attention.kernel", PACKED[path], f"[:, {start}:{start + D}]", port_shape=(D, 3 * D))
    for path, start in zip(PACKED, (0, D, 2 * D), strict=True)
)
NAMES = [f"attention.kernel[:, {start}:{start + D}]" for start in (0, D, 2 * D)]
SEPARATE = drawn(PACKED, 2)
Q, K, V = (array.T for array in SEPARATE.values())


def mixed(*parts: np.ndarray) -> np.ndarray:
    """The columns of the parts in turn, as of a projection that lies interleaved."""
    return np.stack(parts, -1).reshape(D, 3 * D)


PARTS = {
    "in order": (np.concatenate([Q, K, V], 1), {}),
    "one transposed": (np.concatenate([Q, K.T, V], 1), {1: ("transposed", "k.weight as it is")}),
    "one not loaded": (
        np.concatenate([Q, K, OWN["a.kernel"]], 1),
        {2: ("not carried", "it was not loaded (by the map v.weight with")},
    ),
    "in another order": (
        np.concatenate([V, K, Q], 1),
        {0: ("swapped", f"is that of {NAMES[2]}"), 2: ("swapped", f"is that of {NAMES[0]}")},
    ),
    "interleaved": (mixed(Q, K, V), dict.fromkeys(range(3), ("permuted", "is a part of what has the numbers"))),
}


@pytest.mark.parametrize("name", PARTS)
def test_of_a_packed_tensor_each_part_is_told(name: str) -> None:
    made, expected = PARTS[name]
    found = checked(Held(SEPARATE), {"attention.kernel": made}, IN_ONE)
    assert [result.path for result in found] == [*PACKED]
    wrong = {number: (result.cause, result.message) for number, result in enumerate(found) if result.status == "fail"}
    assert {number: cause for number, (cause, _) in wrong.items()} == {each: told[0] for each, told in expected.items()}
    for number, (_, words) in expected.items():
        assert words in wrong[number][1]
        assert wrong[number][1].startswith(f"{NAMES[number]}: ")


@pytest.mark.parametrize("is_interleaved", [False, True])
def test_a_reference_that_packs_and_a_port_that_cuts_it_wrongly(is_interleaved: bool) -> None:
    packed = np.concatenate([Q, K, V], 1).T
    cut = [packed[number::3] if is_interleaved else packed[number * D : number * D + D] for number in range(3)]
    rows = tuple(each.inverse() for each in IN_ONE)
    port = dict(zip(PACKED, cut, strict=True))
    found = checked(Held({"attention.kernel": packed.T}), port, rows)
    assert {result.cause for result in found} == ({"permuted"} if is_interleaved else {""})


# Sums: a port with one bias of two, and a reference whose bias is two of the port's.

BIASES = drawn({"ih": (16,), "hh": (16,)}, 4)
SUMMED = tuple(MapRow(path, "bias", (16,), (16,), "a -> a", "rule", summed=True) for path in BIASES)


def test_a_sum_of_which_a_summand_was_forgotten() -> None:
    given, right = {**GIVEN, **BIASES}, {**RIGHT, "bias": BIASES["ih"] + BIASES["hh"]}
    assert {result.status for result in checked(Held(given), right, ROWS + SUMMED)} == {"pass"}
    found = checked(Held(given), {**right, "bias": BIASES["hh"]}, ROWS + SUMMED)
    (result,) = (result for result in found if result.status == "fail")
    assert result.cause == "missing summand"
    words = "what the port holds is hh alone, without what is added to it (by the map ih + hh with 'a -> a')"
    assert result.message.startswith(f"bias: {words}. ")


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_sum_may_be_shared_out_in_any_way(share: float) -> None:
    given = {**GIVEN, "bias": BIASES["ih"]}
    rows = ROWS + tuple(each.inverse() for each in SUMMED)
    port = {**RIGHT, "ih": np.float32(share) * BIASES["ih"], "hh": np.float32(1 - share) * BIASES["ih"]}
    assert {result.status for result in checked(Held(given), port, rows)} == {"pass"}
    (result,) = (each for each in checked(Held(given), {**port, "hh": BIASES["hh"]}, rows) if each.status == "fail")
    assert (result.path, result.port_path) == ("bias", "ih")
    assert result.message.startswith("ih + hh: what the port holds ")


def test_a_summand_of_another_shape_is_told() -> None:
    rows = ROWS + tuple(each.inverse() for each in SUMMED)
    port = {**RIGHT, "ih": BIASES["ih"], "hh": BIASES["hh"][:8]}
    found = checked(Held({**GIVEN, "bias": BIASES["ih"] + BIASES["hh"]}), port, rows)
    (result,) = (each for each in found if each.status == "fail")
    assert result.message.startswith("ih + hh: what the port holds has shape (8,), expected (16,) ")


def test_a_port_that_keeps_copies_has_the_value_in_each() -> None:
    rows = tuple(row("a.weight", f"{name}.kernel", (D, D), copied=True) for name in ("a", "again"))
    port = {"a.kernel": RIGHT["a.kernel"], "again.kernel": RIGHT["a.kernel"]}
    reference = Held({"a.weight": GIVEN["a.weight"]})
    assert {result.status for result in checked(reference, port, rows)} == {"pass"}
    untied = {**port, "again.kernel": GIVEN["a.weight"]}
    assert failures(checked(reference, untied, rows, loaded=True)) == {"again.kernel": "transposed"}


# Never loaded.

NEVER = (
    "the port holds values of its own: {} of {} tensors that are no constants hold the reference's, in any order, "
    "scale or precision. If it was loaded, Pair(..., loaded=True) makes this a failure."
)
ANGLES = np.arange(D)[:, None] / 10.0 ** np.arange(D)
FORMULAS = {
    "positions": np.concatenate([np.sin(ANGLES), np.cos(ANGLES)], 1),
    "decay": np.log(np.tile(np.arange(1, 17), (D, 1))),
    "identity": np.eye(D),
    "slopes": 2.0 ** -np.arange(1, 17),
    "grid": np.linspace(-1, 1, 32),
}


@pytest.mark.parametrize("name", ["", *FORMULAS])
def test_what_both_sides_have_from_the_start_is_no_sign_of_loading(name: str) -> None:
    both = {name: FORMULAS[name].astype(np.float32)} if name else {}
    rows = tuple(
        MapRow(name, name, array.shape, array.shape, "a b -> a b" if array.ndim > 1 else "a -> a", "rule")
        for array in both.values()
    )
    (result,) = checked(Held({**GIVEN, **both}), {**OWN, **both}, ROWS + rows)
    assert (result.status, result.message) == ("skip", NEVER.format(len(both), 3 + len(both)))


def test_one_kernel_that_was_loaded_shows_that_the_others_were_not() -> None:
    found = {result.port_path: result for result in checked(Held(GIVEN), {**OWN, "c.kernel": RIGHT["c.kernel"]})}
    assert {path: found[path].status for path in KERNELS} == {
        "a.kernel": "fail",
        "b.kernel": "fail",
        "c.kernel": "pass",
    }
    assert found["a.kernel"].cause == "not carried"
    assert "has values of its own (their correlation with what they should be is" in found["a.kernel"].message


def test_in_one_framework_one_equal_tensor_may_come_of_one_seed() -> None:
    same = tuple(
        MapRow(path, path, shape, shape, "a b -> a b" if len(shape) > 1 else "a -> a", "rule")
        for path, shape in SHAPES.items()
    )
    half_loaded = {**drawn(SHAPES, 1), "a.weight": GIVEN["a.weight"]}
    (result,) = checked(Held(GIVEN), Held(half_loaded), same)
    assert (result.status, result.message) == ("skip", NEVER.format(1, 3))
    assert failures(checked(Held(GIVEN), Held(half_loaded), same, loaded=True)) == dict.fromkeys(
        ("b.weight", "c.weight"), "not carried"
    )


def test_a_buffer_that_a_seed_of_its_own_drew_is_no_sign_either() -> None:
    given = {**drawn(SHAPES, 3), "b.weight": GIVEN["b.weight"]}
    assert [
        result.status for result in checked(Held(given, ("b.weight",)), {**OWN, "b.kernel": RIGHT["b.kernel"]})
    ] == ["skip"]


def test_a_port_that_is_said_to_be_loaded_and_is_not_fails() -> None:
    (result,) = checked(Held(GIVEN), OWN, loaded=True)
    assert (result.status, result.cause) == ("fail", "not carried")
    assert result.message == (
        "the port is said to be loaded and holds values of its own: 0 of 3 tensors that are no constants hold the "
        "reference's, in any order, scale or precision. Carry it by the map: paritree.carry(reference, port, map)."
    )
    assert {each.status for each in checked(Held(GIVEN), RIGHT, loaded=True)} == {"pass"}


def test_a_factory_that_is_said_to_load_is_checked() -> None:
    (result,) = checked(lambda seed: Held(GIVEN), Held(GIVEN), tuple())
    assert (result.status, result.message) == ("skip", "a side is a factory, which draws values of its own")
    assert {each.status for each in checked(Held(GIVEN), RIGHT, loaded=True)} == {"pass"}
    assert set(failures(checked(Held(GIVEN), lambda seed: every_kernel(flat), loaded=True))) == {*KERNELS}


def test_values_that_are_not_finite_agree_where_they_are_the_same() -> None:
    masked = {**GIVEN, "c.bias": np.array([0, -np.inf, 0, 0, 0, 0], np.float32)}
    assert {each.status for each in checked(Held(masked), {**RIGHT, "c.bias": masked["c.bias"]})} == {"pass"}


@pytest.mark.parametrize("seed", range(20))
def test_draws_of_one_law_are_never_taken_for_one_another(seed: int) -> None:
    """Of a coarse grid, of few numbers, of equal bounds."""
    random = np.random.default_rng(seed)
    laws: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
        "normal": random.standard_normal,
        "uniform": lambda shape: random.uniform(-1, 1, shape),
        "grid": lambda shape: np.round(random.uniform(-1, 1, shape) * 2**10) / 2**10,
        "coarse": lambda shape: random.standard_normal(shape).astype(ml_dtypes.bfloat16),
    }
    shapes = {"square": (D, D), "cube": (4, 4, 4), "row": (1, 16), "small": (2, 2), "pair": (2,), "vector": (64,)}

    def made() -> Arrays:
        return {
            f"{law}-{name}": np.asarray(draw(shape), np.float32)
            for law, draw in laws.items()
            for name, shape in shapes.items()
        }

    given, own = made(), made()
    rows = tuple(
        MapRow(
            path,
            path,
            array.shape,
            array.shape,
            f"{' '.join('abc'[: array.ndim])} -> {' '.join('abc'[: array.ndim])}",
            "rule",
        )
        for path, array in given.items()
    )
    (result,) = checked(Held(given), own, rows)
    assert (result.status, result.message) == ("skip", NEVER.format(0, len(given)))


def test_a_tensor_of_one_value_is_held_like_any_other() -> None:
    """It is a constant: alone it shows no loading, and beside one that was loaded it must be right."""
    rows = (*ROWS, MapRow("scale", "scale", (), (), "->", "rule"), MapRow("one", "one", (1,), (1,), "a -> a", "rule"))
    given = {**GIVEN, "scale": np.float32(3.0), "one": np.array([2.0], np.float32)}
    found = checked(Held(given), {**RIGHT, "scale": np.float32(3.0), "one": np.array([2.0], np.float32)}, rows)
    assert {each.status for each in found} == {"pass"}
    found = checked(Held(given), {**RIGHT, "scale": np.float32(1.0), "one": np.array([2.0], np.float32)}, rows)
    assert [each.path for each in found if each.status == "fail"] == ["scale"]
