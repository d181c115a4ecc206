"""Access to models that were not built here: tables, arrays one by one and all at once, outputs and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from paritree.common.errors import DtypeError, PathError, ShapeError, WeightsError
from paritree.conformance import load_wing

from . import foreign
from .conftest import assert_close, assert_same, exactly, normal
from .foreign import BUFFERS, SHAPES, STRANGERS, Stranger, as_stored, as_weights, letters


class Case(NamedTuple):
    """A stranger's live model with known values in it."""

    stranger: Stranger
    wing: Any
    model: Any
    values: dict[str, np.ndarray]

    def path(self, letter: str) -> str:
        return self.stranger.names[letter].path


def loaded(name: str, dtype: str) -> Case:
    stranger, values = STRANGERS[name], letters(dtype=dtype)
    wing = load_wing(stranger.wing)
    return Case(stranger, wing, wing.load(stranger.make(dtype), as_weights(stranger, values)), values)


@pytest.fixture(params=STRANGERS)
def case(request: pytest.FixtureRequest) -> Case:
    return loaded(request.param, "float32")


@pytest.fixture(params=STRANGERS)
def precise(request: pytest.FixtureRequest) -> Iterator[Case]:
    with load_wing(STRANGERS[request.param].wing).running(dtype="float64"):
        yield loaded(request.param, "float64")


X = (normal(5, 3, seed=50),)
COTANGENT = normal(5, 2, seed=51)


def test_the_table_lists_what_the_framework_has(case: Case) -> None:
    found = [
        (row.path, row.native_path, row.shape, row.dtype, row.kind, row.layer, row.layout.pattern, row.tie)
        for row in case.wing.table(case.model)
    ]
    expected = []
    for letter, name in case.stranger.names.items():
        shape = SHAPES.get(letter, ())
        shape = shape[::-1] if as_stored(case.stranger, letter) else shape
        kind = "buffer" if letter in (*BUFFERS, "batches") else "parameter"
        dtype = "int64" if letter == "batches" else "float32"
        expected.append((name.path, name.native, shape, dtype, kind, name.layer, name.layout, None))
    assert found == expected


@pytest.mark.parametrize("name", ["linen, setup", "linen, compact"])
def test_a_call_shows_a_linen_modules_layers(name: str) -> None:
    case = loaded(name, "float32")
    table = case.wing.table(case.model, X)
    kernel = table[case.path("W1").replace("kernel", "weight")]
    assert (kernel.shape, kernel.layer, kernel.layout.pattern) == ((4, 3), "Linear", "o i -> i o")
    assert kernel.native_path == case.stranger.names["W1"].native
    norm = case.path("gamma").rpartition(".")[0]
    assert table[f"{norm}.weight"].layer == "BatchNorm"
    ours = {"mean": "running_mean", "var": "running_var", "kernel": "weight", "scale": "weight"}
    renamed = {
        f"{layer}.{ours.get(name, name)}" if layer else name
        for layer, _, name in (path.rpartition(".") for path in case.wing.table(case.model).paths)
    }
    assert set(table.paths) == renamed


def test_weights_and_load_are_inverse_bit_for_bit(case: Case) -> None:
    assert_same(case.wing.weights(case.model), as_weights(case.stranger, case.values))
    other = as_weights(case.stranger, letters(seed=20))
    assert_same(case.wing.weights(case.wing.load(case.model, other)), other)


@pytest.mark.parametrize("letter", ["W1", "b2", "scale", "mean"])
def test_one_array_is_got_and_set(case: Case, letter: str) -> None:
    path, before = case.path(letter), case.wing.weights(case.model)
    held = case.wing.get_parameter(case.model, path)
    native = {"torch": lambda: held.detach().numpy(), "linen": lambda: held, "nnx": lambda: held[...]}[case.wing.NAME]()
    turned = case.wing.NAME != "torch" and letter == "W1"
    np.testing.assert_array_equal(native, case.values[letter].T if turned else case.values[letter])

    value = before[path] + 1
    after = case.wing.weights(case.wing.set_parameter(case.model, path, value))
    assert_same(after, {**before, path: value})


def test_getting_and_setting_in_place_or_not(case: Case) -> None:
    path, before = case.path("b1"), case.wing.weights(case.model)
    held = case.wing.get_parameter(case.model, path)
    after = case.wing.set_parameter(case.model, path, before[path] + 1)
    if case.wing.NAME == "linen":
        assert_same(case.wing.weights(case.model), before)
    else:
        assert after is case.model
        assert case.wing.get_parameter(case.model, path) is held


def wrong(case: Case) -> dict[str, tuple[dict[str, Any], str]]:
    """Sets of weights with something wrong at the very end, and what is said of them."""
    good = as_weights(case.stranger, letters(seed=20))
    last = list(good)[-1]
    short = {path: array for path, array in good.items() if path != last}
    shape = good[last].shape
    return {
        "missing": (short, f"{last} is missing"),
        "extra": ({**good, "nowhere": good[last]}, "nowhere is not in the model"),
        "shape": ({**short, last: np.zeros(9)}, f"{last} has shape (9,) and needs ({shape[0]},)"),
        "dtype": ({**short, last: good[last].astype("f8")}, f"{last} is float64 and needs float32"),
    }


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "dtype"])
def test_loading_is_all_or_nothing(case: Case, fault: str) -> None:
    weights, said = wrong(case)[fault]
    before = case.wing.weights(case.model)
    text = (
        f"expected one array for each of {len(before)} owners, in the canonical layout, "
        f"found 1 that does not fit: {said}. Nothing was loaded."
    )
    with pytest.raises(WeightsError, match=exactly(text)):
        case.wing.load(case.model, weights)
    assert_same(case.wing.weights(case.model), before)


def test_setting_refuses_what_does_not_fit(case: Case) -> None:
    before, path = case.wing.weights(case.model), case.path("W1")
    rows, columns = before[path].shape
    # Where the layer is not known, neither is its layout, and there is no telling that an array is transposed.
    stored = "Give the array as it is stored: the layer is not known, and so its layout is not either."
    unknown = as_stored(case.stranger, "W1")
    turned = stored if unknown else "It is transposed: give arrays in the canonical layout, PyTorch's."
    other = stored if unknown else "Give the array in the canonical layout, PyTorch's."
    absent, shape = path[:-1], f"{path}: expected shape ({rows}, {columns})"
    refusals = [
        (
            *(PathError, absent, before[path]),
            f"{absent}: expected a path of the model, found none of that name. Did you mean {path!r}?",
        ),
        (*(ShapeError, path, before[path].T), f"{shape}, found shape ({columns}, {rows}). {turned}"),
        (*(ShapeError, path, before[path][0]), f"{shape}, found shape ({columns},). {other}"),
        (
            *(DtypeError, path, before[path].astype("float64")),
            f"{path}: expected float32, found float64. Cast it first: array.astype('float32').",
        ),
        (
            *(DtypeError, path, before[path].tolist()),
            f"{path}: expected an array of float32, found list. Make it one: np.asarray(...).",
        ),
    ]
    for error, where, value, text in refusals:
        with pytest.raises(error, match=exactly(text)) as caught:
            case.wing.set_parameter(case.model, where, value)
        assert caught.value.path == where
    assert_same(case.wing.weights(case.model), before)


def test_the_model_shares_no_memory_with_neutral_arrays(case: Case) -> None:
    values = as_weights(case.stranger, letters(seed=20))
    given = {path: aligned(array) for path, array in values.items()}
    model = case.wing.load(case.model, given)
    for array in (*given.values(), *case.wing.weights(model).values()):
        array[...] = 77
    assert_same(case.wing.weights(model), values)

    bias = aligned(values[case.path("b1")])
    model = case.wing.set_parameter(model, case.path("b1"), bias)
    bias[...] = 77
    assert_same(case.wing.weights(model), values)


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins where XLA likes an array to begin, so that it would be tempted to use it as it lies."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_arrays_may_be_read_only_or_run_backwards(case: Case) -> None:
    values = as_weights(case.stranger, letters(seed=20))
    backwards = {path: reversed_twice(array) for path, array in values.items()}
    for array in backwards.values():
        array.flags.writeable = False
    model = case.wing.load(case.model, backwards)
    model = case.wing.set_parameter(model, case.path("b1"), backwards[case.path("b1")])
    assert_same(case.wing.weights(model), values)
    ones = np.broadcast_to(np.float32(1), (5, 2))
    x = reversed_twice(X[0])
    value, _ = case.wing.value_and_gradients(model, (x,), ones)
    assert value == pytest.approx(float(case.wing.call(model, X).sum()), rel=1e-4)


def reversed_twice(array: np.ndarray) -> np.ndarray:
    """The same array, every axis of which runs backwards in memory."""
    index = (..., *[slice(None, None, -1)] * array.ndim)
    return array[index].copy()[index]


def test_the_output_is_the_one_on_paper(precise: Case) -> None:
    x = X[0].astype("float64")
    found = precise.wing.call(precise.model, (x,))
    np.testing.assert_allclose(found, foreign.output(precise.values, x), rtol=1e-12)


def test_the_gradients_are_those_on_paper(precise: Case) -> None:
    x, cotangent = X[0].astype("float64"), COTANGENT.astype("float64")
    value, found = precise.wing.value_and_gradients(precise.model, (x,), cotangent)
    assert value == pytest.approx(float((foreign.output(precise.values, x) * cotangent).sum()), rel=1e-12)
    expected = foreign.gradients(precise.values, x, cotangent)
    assert_close(
        {letter: found.pop(precise.path(letter)) for letter in expected},
        {letter: array.T if as_stored(precise.stranger, letter) else array for letter, array in expected.items()},
    )
    assert found == {}


def test_the_gradients_are_those_of_finite_differences(precise: Case) -> None:
    x, cotangent = X[0].astype("float64"), COTANGENT.astype("float64")
    weights = precise.wing.weights(precise.model)
    _, gradients = precise.wing.value_and_gradients(precise.model, (x,), cotangent)

    def value(path: str, change: np.ndarray) -> float:
        moved = precise.wing.load(precise.model, {**weights, path: weights[path] + change})
        return float((precise.wing.call(moved, (x,)) * cotangent).sum())

    for place, (path, gradient) in enumerate(gradients.items()):
        direction = 1e-5 * normal(*gradient.shape, seed=60 + place, dtype="float64")
        slope = (value(path, direction) - value(path, -direction)) / 2
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-6, abs=1e-14), path


def test_a_cotangent_of_another_shape_is_refused(case: Case) -> None:
    # It would broadcast, to another value than the one that is asked for.
    text = "expected a cotangent of the output's shape (5, 2), found shape (2,)."
    for asked in (case.wing.value_and_gradients, case.wing.site_gradients):
        with pytest.raises(ShapeError) as caught:
            asked(case.model, X, COTANGENT[0])
        # JAX adds a note of its own to what is raised within a trace.
        assert str(caught.value) == text


def test_the_state_is_the_frameworks_own(case: Case) -> None:
    state = case.wing.state(case.model)
    native = {
        "torch": lambda: state["hidden.first.weight"].numpy(),
        "linen": lambda: state["params"][case.stranger.names["W1"].native[0]]["kernel"].T,
        "nnx": lambda: state["hidden"][0]["kernel"][...].T,
    }[case.wing.NAME]()
    np.testing.assert_array_equal(native, case.values["W1"])
