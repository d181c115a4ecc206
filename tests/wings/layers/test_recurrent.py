"""Recurrent layers: what they refuse, their modes and sites, and the way to Flax's own cells and back."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn

from paritree.common.errors import NotExpressibleError, ParitreeError, ShapeError, SpecError, UsageError, WeightsError
from paritree.common.layers import Embedding, Linear
from paritree.common.layers.cells import CELLS, from_cell, to_cell
from paritree.common.layers.recurrent import GRU, LSTM, RNN, Recurrent
from paritree.common.models.reference import neutral_weights
from paritree.common.spec import UNKNOWN, Sequential, expansion
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.statistics import examine, judge, replicates
from paritree.pairs.closeness import allowed, relative_error

from .flax_cells import CLASSES, draws, output, shapes

FEATURES, HIDDEN = 5, 7
X = np.random.default_rng(1).normal(size=(3, 6, FEATURES)).astype(np.float32)
STOCK: dict[type[Recurrent], type[nn.RNNBase]] = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}
# NNX's GRUCell cannot hold a b_hn: what it can hold has none, or one of 0.
WHOLE = [name for name in CELLS if name != "nnx.GRUCell"]


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def stock(layer: type[Recurrent], *sizes: int, seed: int = 0, **settings: Any) -> nn.RNNBase:
    """PyTorch's own module at its default values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return STOCK[layer](*(sizes or (FEATURES, HIDDEN)), batch_first=True, **settings)  # type: ignore[call-overload]


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: array.detach().numpy().copy() for name, array in module.named_parameters()}


def exact(module: nn.Module, x: np.ndarray = X) -> np.ndarray:
    """The module's output sequence in float64."""
    sequence, _ = module.double()(torch.from_numpy(x).double())
    return sequence.detach().numpy()


# Flax's own cells


@pytest.mark.parametrize("cell", CELLS)
def test_the_arrays_are_those_that_flax_makes(cell: str) -> None:
    held = to_cell(cell, weights_of(stock(CELLS[cell].layer, bias=False)))
    assert {name: array.shape for name, array in held.items()} == shapes(cell, FEATURES, HIDDEN)


@pytest.mark.parametrize("cell", WHOLE)
def test_flax_cells_give_torchs_output(cell: str) -> None:
    module = stock(CELLS[cell].layer)
    found = np.asarray(output(cell, to_cell(cell, weights_of(module)), X, HIDDEN))
    assert relative_error(found, exact(module)) <= allowed(1)


@pytest.mark.parametrize("cell", CELLS)
def test_flax_cells_give_torchs_output_without_biases(cell: str) -> None:
    module = stock(CELLS[cell].layer, bias=False)
    found = np.asarray(output(cell, to_cell(cell, weights_of(module)), X, HIDDEN))
    assert relative_error(found, exact(module)) <= allowed(1)


@pytest.mark.parametrize("cell", ["linen.SimpleCell", "nnx.SimpleCell"])
def test_a_simple_cell_has_the_nonlinearity_as_a_setting(cell: str) -> None:
    module = stock(RNN, nonlinearity="relu")
    held = to_cell(cell, weights_of(module))
    found = np.asarray(output(cell, held, X, HIDDEN, activation_fn=jax.nn.relu))
    assert relative_error(found, exact(module)) <= allowed(1)
    assert relative_error(np.asarray(output(cell, held, X, HIDDEN)), exact(module)) > 0.1


@pytest.mark.parametrize("cell", ["nnx.OptimizedLSTMCell", "linen.GRUCell"])
def test_a_stack_of_cells_in_both_directions_is_one_module_of_torch(cell: str) -> None:
    spec = CELLS[cell].layer(FEATURES, HIDDEN, 2, bidirectional=True)
    module = stock(type(spec), FEATURES, HIDDEN, 2, bidirectional=True)
    weights, x = weights_of(module), X
    for layer in range(spec.layers):
        directions = (
            output(cell, to_cell(cell, weights, suffix), x, HIDDEN, reverse=suffix.endswith("reverse"))
            for suffix in spec.suffixes(layer)
        )
        x = np.concatenate([np.asarray(each) for each in directions], axis=-1)
    assert relative_error(x, exact(module)) <= allowed(2)


@pytest.mark.parametrize("cell", CELLS)
def test_the_way_back_has_all_of_a_sum_in_the_first_bias(cell: str) -> None:
    layer = CELLS[cell].layer
    weights = weights_of(stock(layer))
    if cell == "nnx.GRUCell":
        weights["bias_hh_l0"][2 * HIDDEN :] = 0
    back = from_cell(cell, to_cell(cell, weights))
    assert list(back) == list(weights)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        np.testing.assert_array_equal(back[name], weights[name])
    apart = slice(2 * HIDDEN, None) if layer is GRU else slice(0, 0)
    summed = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    summed[apart] = weights["bias_ih_l0"][apart]
    np.testing.assert_array_equal(back["bias_ih_l0"], summed)
    held = np.zeros_like(summed)
    held[apart] = weights["bias_hh_l0"][apart]
    np.testing.assert_array_equal(back["bias_hh_l0"], held)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_of_flax_is_a_layer_of_torch(cell: str) -> None:
    random = np.random.default_rng(2)
    made = shapes(cell, FEATURES, HIDDEN)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in made.items()}
    given = from_cell(cell, arrays, "l0")
    module = stock(CELLS[cell].layer)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in given.items()})
    assert relative_error(np.asarray(output(cell, arrays, X, HIDDEN)), exact(module)) <= allowed(1)
    again = to_cell(cell, given)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_the_conversion_shares_no_memory() -> None:
    weights = weights_of(stock(LSTM))
    held = to_cell("nnx.OptimizedLSTMCell", weights)
    back = from_cell("nnx.OptimizedLSTMCell", held)
    for array in held.values():
        assert not any(np.shares_memory(array, other) for other in (*weights.values(), *back.values()))


REFUSED_CONVERSIONS: dict[str, tuple[Any, type[ParitreeError], str]] = {
    "an unknown cell": (
        lambda: to_cell("linen.GRUcell", {}),
        UsageError,
        "expected the name of a cell of Flax's, found 'linen.GRUcell'. Did you mean 'linen.GRUCell'?",
    ),
    "an unknown cell on the way back": (
        lambda: from_cell("linen.MGUCell", {}),
        UsageError,
        "expected the name of a cell of Flax's, found 'linen.MGUCell'. Did you mean 'linen.GRUCell'?",
    ),
    "a projection": (
        lambda: to_cell("linen.LSTMCell", weights_of(stock(LSTM, proj_size=3))),
        NotExpressibleError,
        "weight_hr_l0: expected no projection in linen.LSTMCell, whose output is its hidden state, found one to 3. "
        "Use the LSTM of paritree, which has one.",
    ),
    "missing weights": (
        lambda: to_cell("linen.LSTMCell", {"weight_hh_l0": np.zeros((28, 7)), "bias_ih_l0": np.zeros(28)}),
        WeightsError,
        "expected the weights of one direction of LSTM, for linen.LSTMCell, found 2 that do not fit: "
        "weight_ih_l0 is missing; bias_hh_l0 is missing.",
    ),
    "weights that do not belong together": (
        lambda: to_cell(
            "nnx.LSTMCell",
            {
                "weight_ih_l1": np.zeros((20, 7)),
                "weight_hh_l1": np.zeros((20, 7)),
                "bias_ih_l1": np.zeros(28),
                "bias_hh_l1": np.zeros((28, 1)),
            },
            "l1",
        ),
        WeightsError,
        "expected the weights of one direction of LSTM, for nnx.LSTMCell, found 3 that do not fit: "
        "weight_ih_l1 has shape (20, 7) and needs (28, 7); weight_hh_l1 has shape (20, 7) and needs (28, 7); "
        "bias_hh_l1 has shape (28, 1) and needs (28,).",
    ),
    "weights without axes": (
        lambda: to_cell("nnx.LSTMCell", {"weight_ih_l0": np.zeros(28), "weight_hh_l0": np.zeros(())}),
        WeightsError,
        "expected the weights of one direction of LSTM, for nnx.LSTMCell, found 2 that do not fit: "
        "weight_ih_l0 has shape (28,) and needs two axes; weight_hh_l0 has shape () and needs two axes.",
    ),
    "arrays of another cell": (
        lambda: from_cell("nnx.SimpleCell", {"dense_i.kernel": np.zeros((5, 7)), "hi.bias": np.zeros(7)}),
        WeightsError,
        "expected the arrays of nnx.SimpleCell, found 3 that do not fit: dense_h.kernel is missing; "
        "dense_i.bias is missing; hi.bias is not the cell's.",
    ),
    "arrays that do not belong together": (
        lambda: from_cell(
            "nnx.SimpleCell",
            {"dense_i.kernel": np.zeros((5, 6)), "dense_h.kernel": np.zeros((7, 7)), "dense_i.bias": np.zeros(7)},
        ),
        WeightsError,
        "expected the arrays of nnx.SimpleCell, found 1 that does not fit: "
        "dense_i.kernel has shape (5, 6) and needs (5, 7).",
    ),
}


@pytest.mark.parametrize("name", REFUSED_CONVERSIONS)
def test_a_conversion_that_is_refused(name: str) -> None:
    attempt, error, text = REFUSED_CONVERSIONS[name]
    with pytest.raises(error, match=exactly(text)):
        attempt()


@pytest.mark.parametrize("cell", CELLS)
def test_flax_draws_its_cells_from_these_initializers(cell: str) -> None:
    """All draws of a cell are judged together, and a tenth more than the initializer says is seen."""
    arrays = [each for each in CELLS[cell].arrays if each.native.initializer is not None]
    assert len(arrays) == len(CELLS[cell].arrays)
    native = shapes(cell, FEATURES, HIDDEN)
    canonical = {each.name: each.native.layout.canonical_shape(native[each.name]) for each in arrays}
    needed = {each.name: replicates(canonical[each.name], initializer=each.native.initializer) for each in arrays}
    drawn = draws(cell, FEATURES, HIDDEN, max(needed.values()))
    evidence, scaled = [], []
    for each in arrays:
        stack = np.stack([each.native.layout.to_canonical(array) for array in drawn[each.name][: needed[each.name]]])
        shape, initializer = canonical[each.name], each.native.initializer
        evidence += examine(stack, initializer, shape, path=each.name)
        if not initializer.deterministic:
            scaled.append(examine(stack * np.float32(1.1), initializer, shape, path=each.name))
    assert [verdict.message for verdict in judge(evidence) if not verdict.passed] == []
    assert all(any(not verdict.passed for verdict in judge(found)) for found in scaled)


# The spec


REFUSED_SETTINGS: dict[str, tuple[Any, str]] = {
    "input": (lambda: RNN(0, 3), "expected RNN.input as a positive whole number, found 0."),
    "hidden": (lambda: LSTM(3, 2.5), "expected LSTM.hidden as a positive whole number, found 2.5."),  # type: ignore[arg-type]
    "layers": (lambda: GRU(3, 2, True), "expected GRU.layers as a positive whole number, found True."),
    "bias": (lambda: GRU(3, 2, bias=1), "expected GRU.bias as True or False, found 1."),  # type: ignore[arg-type]
    "bidirectional": (
        lambda: GRU(3, 2, bidirectional=None),  # type: ignore[arg-type]
        "expected GRU.bidirectional as True or False, found None.",
    ),
    "dropout": (lambda: LSTM(3, 2, 2, dropout=1.0), "expected LSTM.dropout in [0, 1), found 1.0."),
    "dropout in one layer": (
        lambda: LSTM(3, 2, dropout=0.5),
        "expected LSTM.dropout of 0 in a single layer, since it acts between layers, found 0.5. "
        "Put a Dropout after the layer.",
    ),
    "nonlinearity": (
        lambda: RNN(3, 2, nonlinearity="gelu"),  # type: ignore[arg-type]
        "expected RNN.nonlinearity as 'tanh' or 'relu', found 'gelu'.",
    ),
    "proj_size": (
        lambda: LSTM(3, 2, proj_size=2),
        "expected LSTM.proj_size as a whole number in [0, 2), below hidden, found 2.",
    ),
    "an input of another width": (
        lambda: Sequential(Embedding(9, 4), GRU(5, 3)),
        "1: expected an input of width 5 (input), found width 4. Set input to 4, or change the layer before.",
    ),
    "a layer of another width behind": (
        lambda: Sequential(LSTM(5, 3, bidirectional=True), Linear(3, 2)),
        "1: expected an input of width 3 (in_features), found width 6. "
        "Set in_features to 6, or change the layer before.",
    ),
}


@pytest.mark.parametrize("name", REFUSED_SETTINGS)
def test_a_setting_that_is_refused(name: str) -> None:
    attempt, text = REFUSED_SETTINGS[name]
    with pytest.raises(SpecError, match=exactly(text)):
        attempt()


@pytest.mark.parametrize(
    ("features", "shown"), [((5,), "(batch, 5)"), ((None, 6, 5), "(batch, ?, 6, 5)")], ids=["one", "three"]
)
def test_another_number_of_axes_is_refused(features: Any, shown: str) -> None:
    with pytest.raises(SpecError, match=exactly(f"here: expected an input (batch, time, 5), found {shown}.")):
        LSTM(5, 3).out(features, "here")


@pytest.mark.parametrize(
    ("features", "expected"),
    [((6, 5), (6, 8)), ((None, None), (None, 8)), (UNKNOWN, (None, 8)), ((Ellipsis, 5), (None, 8))],
    ids=str,
)
def test_the_output_is_as_long_as_the_input(features: Any, expected: Any) -> None:
    assert LSTM(5, 7, 2, bidirectional=True, proj_size=4).out(features, "") == expected


@pytest.mark.parametrize(
    "spec",
    [
        RNN(5, 7),
        RNN(5, 7, 2, nonlinearity="relu", bias=False, dropout=0.25),
        LSTM(5, 7, bidirectional=True, proj_size=np.int64(2)),  # type: ignore[arg-type]
        GRU(np.int32(5), 7, 3, dropout=np.float32(0.5)),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_the_repr_builds_the_layer(spec: Recurrent) -> None:
    assert eval(repr(spec)) == spec
    assert "np." not in repr(spec)


def test_names_have_torchs_order_whatever_order_they_come_in() -> None:
    module = stock(LSTM, 2, 3, 11, bidirectional=True, proj_size=2)
    names = [name for name, _ in module.named_parameters()]
    assert LSTM.names_in(dict.fromkeys([*names, "bias", "weight_ih_l01", "kernel"], ())) == names
    assert GRU.names_in(dict.fromkeys(names, ())) == [name for name in names if "hr" not in name]
    assert GRU.native_of("weight_hr_l0") is None
    assert LSTM.native_of("xweight_ih_l0") is None


# The wings


@pytest.mark.parametrize("name", WINGS)
@pytest.mark.parametrize("shape", [(6, 5), (1, 2, 6, 5), (2, 6, 4)], ids=str)
def test_an_input_with_other_axes_is_refused(name: str, shape: tuple[int, ...]) -> None:
    """PyTorch alone would take two axes for one sequence: its output would be another, and no error."""
    wing = load_wing(name)
    text = f"expected an input (batch, time, 5), found shape {shape}. An axis of length 1 is one, too."
    model = wing.build(GRU(5, 3))
    with pytest.raises(ShapeError) as refused:
        wing.call(model, (np.zeros(shape, np.float32),))
    assert str(refused.value) == text


def passing(rate: float) -> tuple[RNN, dict[str, np.ndarray]]:
    """Two layers that hand a positive input on as it is, and what is between them with it."""
    spec = RNN(4, 4, 2, nonlinearity="relu", bias=False, dropout=rate)
    one, none = np.eye(4, dtype=np.float32), np.zeros((4, 4), np.float32)
    return spec, {row.path: one if "ih" in row.path else none for row in expansion.table_of(spec)}


def in_training(name: str, model: Any, x: np.ndarray, seed: int) -> np.ndarray:
    if name == "torch":
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            return model.train()(torch.from_numpy(x)).numpy()
    if name == "linen":
        module, variables = model
        return np.asarray(module.apply(variables, x, rngs={"dropout": jax.random.key(seed)}))
    model.train()
    return np.asarray(model(jnp.asarray(x)))


@pytest.mark.parametrize("name", WINGS)
def test_dropout_is_between_layers_and_in_training_alone(name: str) -> None:
    wing, x = load_wing(name), np.ones((50, 20, 4), np.float32)
    spec, weights = passing(0.2)
    model = wing.load(wing.build(spec), weights)
    np.testing.assert_array_equal(wing.call(model, (x,)), x)
    found = in_training(name, model, x, 0)
    assert set(np.unique(found.round(5)).tolist()) == {0.0, 1.25}
    # Of 4000 entries a fifth is expected to be dropped, with a standard deviation of 25.
    assert abs((found == 0).sum() - 800) < 150
    assert (found[:, 0] == 0).any()
    assert not (found == found[:, :1]).all(), "one mask for all times"


@pytest.mark.parametrize("name", WINGS)
def test_dropout_of_a_model_with_more_layers_draws_anew_for_each(name: str) -> None:
    wing, x = load_wing(name), np.ones((50, 20, 4), np.float32)
    spec = RNN(4, 4, 3, nonlinearity="relu", bias=False, dropout=0.5)
    one, none = np.eye(4, dtype=np.float32), np.zeros((4, 4), np.float32)
    weights = {row.path: one if "ih" in row.path else none for row in expansion.table_of(spec)}
    found = in_training(name, wing.load(wing.build(spec), weights), x, 0)
    assert set(np.unique(found).tolist()) == {0.0, 4.0}
    # A quarter is kept, of 4000, with a standard deviation of 27; of one mask for both it would be a half.
    assert abs((found == 4).sum() - 1000) < 165


LANGUAGE = Sequential(Embedding(9, 5), LSTM(5, 4, bidirectional=True), GRU(8, 3), Linear(3, 9))
# A weight that is read at every time step is used once: PyTorch's layer is one operation, and so is JAX's scan.
ONE_OPERATION = {"1.weight_ih_l0": "lstm", "1.weight_hh_l0_reverse": "lstm", "2.bias_hh_l0": "gru"}
SCAN = {"1.weight_ih_l0": "dot_general", "1.weight_hh_l0_reverse": "scan", "2.bias_hh_l0": "scan"}
OPERATIONS = {"torch": ONE_OPERATION, "linen": SCAN, "nnx": SCAN}


@pytest.mark.parametrize("name", WINGS)
def test_each_weight_is_one_site_whose_share_is_the_gradient(name: str) -> None:
    tokens, cotangent = np.array([[1, 8, 1, 0], [4, 4, 2, 7]], np.int32), np.ones((2, 4, 9))
    table = expansion.table_of(LANGUAGE)
    weights = neutral_weights(table, dtype="float64")
    reference, wing = load_wing("torch"), load_wing(name)
    with reference.running(dtype="float64"):
        model = reference.load(reference.build(LANGUAGE, dtype="float64"), weights)
        _, expected = reference.value_and_gradients(model, (tokens,), cotangent)
    with wing.running(dtype="float64"):
        model = wing.load(wing.build(LANGUAGE, dtype="float64"), weights)
        sites = wing.site_gradients(model, (tokens,), cotangent)
    assert list(sites) == [row.path for row in table.parameters]
    for path, found in sites.items():
        assert len(found) == 1, path
        assert relative_error(found[0].gradient, expected[path]) <= 1e-13, path
    for path, operation in OPERATIONS[name].items():
        assert sites[path][0].operation == operation


def test_both_biases_have_the_gradient_of_the_sum_and_a_step_that_is_twice_the_sums() -> None:
    """Why the Flax wings hold both: by the cell's gradient their sum would move half as far."""
    cell, rate = "linen.OptimizedLSTMCell", 0.1
    weights = weights_of(stock(LSTM))
    arrays = {name: jnp.asarray(array) for name, array in to_cell(cell, weights).items()}
    target = np.random.default_rng(6).normal(size=(3, 6, HIDDEN)).astype(np.float32)
    gradient = jax.grad(lambda held: ((output(cell, held, X, HIDDEN) - target) ** 2).mean())(arrays)
    of_sum = from_cell(cell, {name: np.asarray(array) for name, array in gradient.items()})["bias_ih_l0"]
    for name in WINGS:
        wing = load_wing(name)
        with wing.running():
            model = wing.load(wing.build(LSTM(FEATURES, HIDDEN)), weights)
            model, _ = wing.step(model, (X,), target, learning_rate=rate)
        moved = {path: weights[path] - array for path, array in wing.weights(model).items()}
        for path in ("bias_ih_l0", "bias_hh_l0"):
            # The step is the difference of two values of the biases' size, and rounded like them.
            assert relative_error(moved[path] / rate, of_sum) < 1e-4, (name, path)
        both = (moved["bias_ih_l0"] + moved["bias_hh_l0"]) / rate
        assert np.linalg.norm(both) / np.linalg.norm(of_sum) == pytest.approx(2, rel=1e-4)


def test_flaxs_own_modules_are_not_taken_for_these() -> None:
    """A linen.RNN bears the name of a layer of the spec and has none of its weights."""
    linen_wing = load_wing("linen")
    module = linen.RNN(CLASSES["linen.GRUCell"](3))
    table = linen_wing.table((module, module.init(jax.random.key(0), jnp.asarray(X))), (X,))
    assert {row.layer for row in table}.isdisjoint({"RNN", "GRU", "LSTM"})
    torch_table = load_wing("torch").table(nn.Sequential(stock(GRU)))
    assert [row.layer for row in torch_table] == ["GRU"] * 4
