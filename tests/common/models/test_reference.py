"""The reference models against the figures of the study catalogue, and the weights and inputs that they are fed."""

from __future__ import annotations

import numpy as np
import pytest

from paritree.common.errors import ShapeError, UsageError
from paritree.common.initializers import Xavier
from paritree.common.layers import Linear
from paritree.common.models.reference import MODELS, neutral_weights, reference_model
from paritree.common.spec import Sequential, flow
from paritree.common.spec.expansion import table_of, untied
from paritree.common.tables import Row, Table

from ..conftest import refused

EVERY = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)

# Tensors and scalars that are trained, paths (a tied one under each of its names), buffers; the output's shape.
# Every input is a batch of two, but for the one number of W6.
FIGURES = {
    "mlp": (4, 49, 4, 0, (1,)),
    "named": (2, 7680, 2, 0, (10,)),
    "nested-spaces": (18, 309, 18, 0, (1,)),
    "nested": (18, 309, 18, 0, (1,)),
    "nested-named": (18, 4458, 18, 0, (10,)),
    "shared-layer": (6, 121, 8, 0, (1,)),
    "shared-block": (6, 121, 8, 0, (1,)),
    "ones": (1, 1, 2, 0, (1,)),
    "lazy": (4, 49, 4, 0, (1,)),
    "fancy-mlp": (2, 420, 3, 1, ()),
    "language-model": (4, 816, 5, 0, (5, 32)),
}


@EVERY
def test_the_figures_are_those_of_the_catalogue(model):
    rows = model.table()
    _, out = flow(model.spec, model.input_shape[1:])
    found = (len(rows.parameters), rows.scalars, len(rows), len(rows.buffers), out)
    assert found == FIGURES[model.name]
    assert model.input_shape[0] == (1 if model.name == "ones" else 2)
    assert {row.dtype for row in rows} == {"float32"}
    assert {row.dtype for row in model.table("float64")} == {"float64"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp", {"0.weight": (8, 4), "0.bias": (8,), "2.weight": (1, 8), "2.bias": (1,)}),
        ("named", {"Linear_1.weight": (256, 20), "Linear_2.weight": (10, 256)}),
        ("nested-spaces", {"0.block 0.0.weight": (8, 4), "0.block 3.2.bias": (4,), "1.weight": (1, 4)}),
        ("nested", {"0.block0.0.weight": (8, 4), "0.block1.0.bias": (8,), "1.bias": (1,)}),
        ("nested-named", {"model.block0.0.weight": (32, 16), "Last_linear_layer.bias": (10,)}),
        ("shared-block", {"2.linear_shared.weight": (8, 8), "3.linear_shared.weight": (8, 8), "4.weight": (1, 8)}),
        ("lazy", {"0.weight": (8, 4), "0.bias": (8,), "2.weight": (1, 8), "2.bias": (1,)}),
        ("fancy-mlp", {"linear.weight": (20, 20), "linear.bias": (20,), "constant.weight": (20, 20)}),
    ],
)
def test_the_names_and_shapes_are_those_of_the_catalogue(name, expected):
    rows = MODELS[name].table()
    assert {path: rows[path].shape for path in expected} == expected
    if len(expected) == len(rows):
        assert rows.paths == tuple(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shared-layer", [("2.weight", "4.weight"), ("2.bias", "4.bias")]),
        ("shared-block", [(f"2.linear_shared.{one}", f"3.linear_shared.{one}") for one in ("weight", "bias")]),
        ("ones", [("0.weight", "1.weight")]),
        ("language-model", [("embedding.weight", "decoder.weight")]),
        *((name, []) for name in ("mlp", "named", "nested-spaces", "nested", "nested-named", "lazy", "fancy-mlp")),
    ],
)
def test_the_ties_are_those_of_the_catalogue(name, expected):
    assert [(tie.owner, tie.alias) for tie in MODELS[name].table().ties] == expected


def test_the_lazy_model_knows_its_first_width_from_its_input_alone():
    assert table_of(MODELS["lazy"].spec)["0.weight"].shape == (8, None)
    assert MODELS["lazy"].resolved == MODELS["mlp"].spec


def test_the_buffer_of_the_fancy_model_is_not_trained():
    rows = MODELS["fancy-mlp"].table()
    assert [row.path for row in rows.parameters] == ["linear.weight", "linear.bias"]
    assert (rows["constant.weight"].kind, rows["constant.weight"].layer) == ("buffer", "FixedLinear")


def test_xavier_s_bounds_on_the_named_model_are_those_of_the_catalogue():
    bounds = [Xavier().law(row.shape).support[1] for row in MODELS["named"].table()]
    assert bounds == pytest.approx([0.1474, 0.1502], abs=5e-5)


@EVERY
def test_the_untied_twin_has_a_parameter_for_every_path(model):
    rows, twin = model.table(), table_of(untied(model.resolved))
    assert twin.paths == rows.paths
    assert [row.shape for row in twin] == [row.shape for row in rows]
    assert twin.ties == ()
    assert len(twin.owners) == len(rows)


def test_the_untied_twin_of_the_shared_layer_has_the_figures_of_the_catalogue():
    twin = table_of(untied(MODELS["shared-layer"].spec))
    assert (len(twin.parameters), twin.scalars) == (8, 193)


@EVERY
def test_neutral_weights_can_tell_every_fault(model):
    rows = model.table()
    weights = neutral_weights(rows)
    rows.check_weights(weights)
    arrays = list(weights.values())
    for place, one in enumerate(arrays):
        # A constant or zero array would hide a swap within it, two alike arrays a swap of the two, and a symmetric
        # one a transposition. A few entries may agree: the numbers are rounded.
        assert np.count_nonzero(one) > 0.9 * one.size
        assert len(np.unique(one)) > 0.3 * one.size
        alike = [np.mean(one == other) for other in arrays[:place] if other.shape == one.shape]
        assert max(alike, default=0.0) < 0.1
        if one.ndim == 2 and one.shape[0] == one.shape[1] > 1:
            assert np.mean(one == one.T) < 0.2


@EVERY
def test_neutral_weights_are_the_same_numbers_in_every_type_down_to_float32(model):
    wide = neutral_weights(model.table("float64"), dtype="float64")
    narrow = neutral_weights(model.table())
    for path, array in wide.items():
        assert array.dtype == np.float64
        assert narrow[path].dtype == np.float32
        assert np.array_equal(narrow[path].astype(np.float64), array)
        assert np.array_equal(np.round(array * 4096), array * 4096)


def test_neutral_weights_are_addressed_by_path_and_seed():
    one, other = (neutral_weights(MODELS[name].table()) for name in ("mlp", "lazy"))
    assert all(np.array_equal(one[path], other[path]) for path in one)
    again = neutral_weights(MODELS["mlp"].table(), seed=1)
    assert not any(np.array_equal(one[path], again[path]) for path in one)


def test_neutral_weights_are_scaled_so_that_a_deep_model_stays_alive():
    for shape in [(256, 300), (256, 100, 3)]:
        (weight,) = neutral_weights(Table((Row("weight", shape, "float32"),))).values()
        assert weight.std() == pytest.approx(1 / np.sqrt(300), rel=0.01)
    (bias,) = neutral_weights(Table((Row("bias", (10_000,), "float32"),))).values()
    assert bias.std() == pytest.approx(0.5, rel=0.03)


def test_weights_of_an_unknown_shape_are_refused():
    text = "0.weight: expected a shape without unknown axes, found (8, ?). Give the spec its widths, or an input."
    with refused(ShapeError, text):
        neutral_weights(table_of(Sequential(Linear(None, 8))))


@EVERY
def test_inputs_have_the_model_s_shape_and_are_the_same_in_every_process(model):
    (array,), (again,), (other,) = model.inputs(), model.inputs(), model.inputs(seed=1)
    assert array.shape == model.input_shape
    assert np.array_equal(array, again)
    assert not np.array_equal(array, other)
    if model.vocabulary is None:
        assert array.dtype == np.float32
        (wide,) = model.inputs(dtype="float64")
        assert wide.dtype == np.float64
        assert np.array_equal(wide, array)
    else:
        assert array.dtype == np.int32
        assert array.min() >= 0
        assert array.max() < model.vocabulary
        assert model.inputs(dtype="float64")[0].dtype == np.int32


def test_two_models_with_inputs_of_one_shape_have_inputs_of_their_own():
    assert MODELS["mlp"].input_shape == MODELS["nested"].input_shape
    assert not np.array_equal(MODELS["mlp"].inputs()[0], MODELS["nested"].inputs()[0])


def test_a_reference_model_is_found_by_name():
    assert reference_model("mlp") is MODELS["mlp"]
    assert all(name == model.name and model.title and model.rows for name, model in MODELS.items())
    text = "shared: expected the name of a reference model, found none of that name. Did you mean 'shared-block'?"
    with refused(UsageError, text.replace("shared:", "shard-block:")):
        reference_model("shard-block")
    text = (
        "zzz: expected the name of a reference model, found none of that name. "
        "There are 'mlp', 'named', 'nested-spaces', 'nested', 'nested-named', 'shared-layer', ..."
    )
    with refused(UsageError, text):
        reference_model("zzz")
