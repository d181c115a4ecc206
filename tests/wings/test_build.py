"""From a spec to a live model: its table, the framework's own view of it, its output, its draws, its refusals."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx, traverse_util

from paritree.common.errors import DeviceError, DtypeError, NotExpressibleError, UsageError
from paritree.common.layers import Decoder, Dropout, Embedding, FixedLinear, Linear, ReLU, Tanh
from paritree.common.models.reference import neutral_weights
from paritree.common.spec import Block, Sequential, Shared, expansion

from .conftest import assert_same, exactly
from .specs import LANGUAGE, SPECS, STRUCTURES, evaluate, inputs_of


@pytest.mark.parametrize("name", SPECS)
def test_the_table_of_the_live_model_is_that_of_the_spec(wing: Any, name: str) -> None:
    found = wing.table(wing.build(SPECS[name]))
    expected = expansion.table_of(SPECS[name])
    columns = ("path", "shape", "dtype", "kind", "layer", "tie")
    assert [[getattr(row, column) for column in columns] for row in found] == [
        [getattr(row, column) for column in columns] for row in expected
    ]


@pytest.mark.parametrize("name", SPECS)
def test_torch_lists_the_same_names_in_the_same_order(name: str) -> None:
    from paritree import impl_torch

    model = impl_torch.build(SPECS[name])
    table = impl_torch.table(model)
    assert [path for path, _ in model.named_parameters()] == [row.path for row in table.parameters]
    assert [path for path, _ in model.named_buffers()] == [row.path for row in table.buffers]
    assert list(model.state_dict()) == list(table.paths)


@pytest.mark.parametrize("name", SPECS)
def test_linen_would_make_the_same_variables_itself(name: str) -> None:
    from paritree.impl_jax import linen

    module, variables = linen.build(SPECS[name])
    made = traverse_util.flatten_dict(jax.eval_shape(module.init, jax.random.key(0), *inputs_of(name)))
    built = traverse_util.flatten_dict(variables)
    assert {place: (array.shape, array.dtype) for place, array in made.items()} == {
        place: (array.shape, array.dtype) for place, array in built.items()
    }


@pytest.mark.parametrize("name", SPECS)
def test_nnx_finds_every_variable_once(name: str) -> None:
    from paritree.impl_jax import nnx as wing

    model = wing.build(SPECS[name])
    table = wing.table(model)
    owner_of = {row.native_path: table.owner(row.path) for row in table}
    for kind, listed in (("parameter", nnx.Param), ("buffer", nnx.Not(nnx.Any(nnx.Param, nnx.RngState)))):
        paths = [path for path, _ in nnx.to_flat_state(nnx.state(model, listed))]
        assert sorted(owner_of[path] for path in paths) == sorted(row.path for row in table.owners if row.kind == kind)


@pytest.mark.parametrize("name", SPECS)
def test_the_output_is_that_of_the_definition(wing: Any, name: str) -> None:
    inputs = inputs_of(name, "float64")
    weights = neutral_weights(expansion.table_of(SPECS[name]), dtype="float64")
    with wing.running(dtype="float64"):
        model = wing.load(wing.build(SPECS[name], dtype="float64"), weights)
        assert_same(wing.weights(model), weights)
        np.testing.assert_allclose(wing.call(model, inputs), evaluate(SPECS[name], weights, *inputs), rtol=1e-12)


@pytest.mark.parametrize("name", [*STRUCTURES, *LANGUAGE])
def test_a_draw_depends_on_seed_and_path_alone(wing: Any, name: str) -> None:
    spec = SPECS[name]
    # The same paths with other layers in front of and behind them.
    larger = Block({"first": Linear(2, 2), "model": spec, "last": Linear(5, 1)}, calls=("model",))
    small, same, other = (wing.weights(wing.build(Block({"model": spec}), seed=seed)) for seed in (3, 3, 4))
    assert_same(same, small)
    grown = wing.weights(wing.build(larger, seed=3))
    assert_same({path: array for path, array in grown.items() if path.startswith("model.")}, small)
    constant = {row.path for row in expansion.table_of(Block({"model": spec})).owners if row.initializer.deterministic}
    assert {path for path in small if np.array_equal(small[path], other[path])} == constant


def test_equal_layers_at_different_paths_are_drawn_apart(wing: Any) -> None:
    weights = wing.weights(wing.build(Sequential(Linear(3, 3), Linear(3, 3))))
    assert not np.array_equal(weights["0.weight"], weights["1.weight"])
    assert not np.array_equal(weights["0.bias"], weights["1.bias"])


def test_building_leaves_torchs_global_generator_alone() -> None:
    from paritree import impl_torch

    before = torch.get_rng_state()
    for name in SPECS:
        impl_torch.build(SPECS[name])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [Linear(2, 2), ReLU(), Tanh(), FixedLinear(2, 2), Dropout(0.5)])
def test_a_spec_of_one_layer_is_a_model(wing: Any, kind: Any) -> None:
    model = wing.build(kind)
    assert wing.table(model).paths == expansion.table_of(kind).paths
    x = np.ones((1, 2), np.float32)
    np.testing.assert_allclose(wing.call(model, (x,)), evaluate(kind, wing.weights(model), x), rtol=1e-6)


RESERVED = {
    "torch": ("nn.Module", ("forward", "training", "program", "children", "_parameters", "T_destination")),
    "linen": ("linen.Module", ("setup", "name", "parent", "scope", "members", "program", "params", "_state", "apply")),
    "nnx": ("nnx.Module", ("train", "eval", "program", "registered", "_pytree__state", "sow")),
}
NAMES = [(wing, name) for wing, (_, names) in RESERVED.items() for name in names]


@pytest.mark.parametrize(("wing", "name"), NAMES, indirect=["wing"])
def test_a_name_that_the_framework_keeps_is_refused(wing: Any, name: str) -> None:
    owner, _ = RESERVED[wing.NAME]
    expected = (
        f"1.{name}: expected a child name that is free in {owner}, found {name!r}, which {owner} uses itself. "
        f"Rename the child to build it in the {wing.NAME} wing."
    )
    with pytest.raises(NotExpressibleError, match=exactly(expected)) as caught:
        wing.build(Sequential(Linear(2, 2), Block({name: Linear(2, 2)})))
    assert caught.value.path == f"1.{name}"


@pytest.mark.parametrize("name", sorted({name for _, name in NAMES} | {"block 0", "é", "0", "embed", "weight"}))
def test_any_name_is_refused_or_works(wing: Any, name: str) -> None:
    inputs, ones = (np.ones((1, 2), np.float32),), np.ones((1, 2), np.float32)
    try:
        model = wing.build(Block({name: Linear(2, 2)}))
    except NotExpressibleError:
        plain = wing.build(Block({"free": Linear(2, 2)}))
        assert name in RESERVED[wing.NAME][1] or hasattr(plain[0] if wing.NAME == "linen" else plain, name)
        return
    assert wing.table(model).paths == (f"{name}.weight", f"{name}.bias")
    model = wing.load(model, wing.weights(model))
    np.testing.assert_array_equal(wing.value_and_gradients(model, inputs, ones)[1][f"{name}.bias"], [1, 1])


def test_float64_needs_to_be_switched_on_in_jax(wing: Any) -> None:
    if wing.NAME == "torch":
        assert wing.table(wing.build(Linear(2, 2), dtype="float64"))["weight"].dtype == "float64"
        return
    text = "expected float64 enabled in JAX, found float32 in its place. Build and run inside running(dtype='float64')."
    with pytest.raises(DtypeError, match=exactly(text)):
        wing.build(Linear(2, 2), dtype="float64")
    with wing.running(dtype="float64"):
        assert wing.table(wing.build(Linear(2, 2), dtype="float64"))["weight"].dtype == "float64"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_half_precisions(wing: Any, dtype: str) -> None:
    model = wing.build(Sequential(Linear(2, 3), Embedding(2, 3)), dtype=dtype)
    assert {row.dtype for row in wing.table(model)} == {dtype}
    weights = wing.weights(model)
    assert {str(array.dtype) for array in weights.values()} == {dtype}
    changed = {path: -array for path, array in weights.items()}
    assert_same(wing.weights(wing.load(model, changed)), changed)


@pytest.mark.parametrize("dtype", ["int32", "float99", "asarray"])
def test_a_dtype_that_is_none(wing: Any, dtype: str) -> None:
    text = f"expected the name of a floating-point type, found {dtype!r}. Use 'float32' or 'float64'."
    with pytest.raises(DtypeError, match=exactly(text)):
        wing.build(Linear(2, 2), dtype=dtype)


def test_a_device_that_is_none(wing: Any) -> None:
    framework = "PyTorch" if wing.NAME == "torch" else "JAX"
    seen = " and ".join(wing.devices())
    text = f"expected the device 'tpu:3' in {framework}, found {seen}. Run where it is present."
    with pytest.raises(DeviceError, match=exactly(text)):
        wing.build(Linear(2, 2), device="tpu:3")
    text = "abacus: expected the name of a device, found 'abacus', which is none. There are "
    with pytest.raises(UsageError, match=f"^{re.escape(text)}"):
        wing.build(Linear(2, 2), device="abacus")
    text = "cpu:cuda: expected the name of one device, found 2. Write 'cpu': there is one side."
    with pytest.raises(UsageError, match=exactly(text)):
        wing.build(Linear(2, 2), device="cpu:cuda")


def test_a_shared_layer_is_built_once(wing: Any) -> None:
    spec = Block({"embedding": Embedding(4, 3), "again": Shared("embedding"), "out": Decoder("embedding")})
    model = wing.build(spec)
    assert list(wing.weights(model)) == ["embedding.weight"]
    assert wing.table(model).scalars == 12
