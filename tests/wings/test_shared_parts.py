"""Ties of a part of a layer, layers that read another one, bare arrays in a List, and layers that lie in a stack."""

from __future__ import annotations

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as flax_linen
from flax import nnx as flax_nnx

from paritree import impl_torch
from paritree.common.errors import NotExpressibleError, TieError
from paritree.common.initializers import Normal
from paritree.common.layers import GRU, LSTM, RNN, Buffer, Linear, MultiheadAttention, Parameter, PReLU, Transposed
from paritree.common.spec import Block, Layer, List, Sequential, Shared
from paritree.impl_jax import linen, nnx

from .conftest import assert_close, exactly, normal


@pytest.mark.parametrize("layer", [LSTM, GRU, RNN])
def test_untying_a_recurrent_layer_leaves_its_owner_alone(layer: Any) -> None:
    model = impl_torch.build(Sequential(layer(4, 4), Shared("0")))
    x = torch.tensor(normal(2, 3, 4))
    before = model[0](x)[0].detach()
    impl_torch.untie(model, "1.weight_ih_l0")
    np.testing.assert_array_equal(model[1](x)[0].detach(), before)
    shape = tuple(impl_torch.get_parameter(model, "1.weight_ih_l0").shape)
    impl_torch.set_parameter(model, "1.weight_ih_l0", np.zeros(shape, np.float32))
    np.testing.assert_array_equal(model[0](x)[0].detach(), before)
    assert not torch.allclose(model[1](x)[0], before)


AUTOENCODER = Sequential(Linear(4, 4, bias=False), Linear(4, 4, bias=False), Transposed("0", bias=False))


def test_a_transposed_layer_reads_what_its_linear_is_tied_to(wing: Any) -> None:
    model = wing.build(AUTOENCODER)
    paths = wing.table(model).paths
    if wing.NAME == "linen":
        text = (
            "0.weight: expected a layer that no other one reads, since Linen shares modules, found 2, which reads its "
            "array. Tie in the spec, or in the torch or nnx wing."
        )
        with pytest.raises(NotExpressibleError, match=exactly(text)):
            wing.tie(model, "1.weight", "0.weight")
        return
    kept = wing.weights(model)["1.weight"]
    model = wing.tie(model, "1.weight", "0.weight")
    assert wing.table(model).paths == paths == ("0.weight", "1.weight")
    x = normal(2, 4)
    np.testing.assert_allclose(wing.call(model, (x,)), x @ kept.T @ kept.T @ kept, rtol=1e-4, atol=1e-6)


def test_a_transposed_layer_that_is_first_by_name_has_its_share_of_the_gradient(wing: Any) -> None:
    """NNX sorts by name, and then meets the Linear below the layer that reads it."""
    spec = Block(
        {"x": Linear(3, 4, bias=False), "a": Transposed("x")},
        forward="def forward(inputs): return a(x(inputs))",
    )
    with wing.running(dtype="float64"):
        model = wing.build(spec, dtype="float64")
        weights, x, cotangent = wing.weights(model), *(normal(2, 3, seed=n, dtype="float64") for n in (1, 2))
        assert list(weights) == ["x.weight", "a.bias"]
        _, gradients = wing.value_and_gradients(model, (x,), cotangent)
        weight = weights["x.weight"]
        expected = (x @ weight.T).T @ cotangent + (cotangent @ weight.T).T @ x
        assert_close(gradients, {"x.weight": expected, "a.bias": cotangent.sum(0)})
        model = wing.set_parameter(model, "x.weight", 2 * weight)
        np.testing.assert_allclose(wing.call(model, (x,)), 4 * x @ weight.T @ weight + weights["a.bias"], rtol=1e-12)


def test_a_transposed_layer_called_first_in_linens_own_init() -> None:
    spec = Block({"enc": Linear(4, 6), "dec": Transposed("enc")}, forward="def forward(x): return enc(dec(x))")
    module, variables = linen.build(spec)
    x = normal(2, 6)
    assert module.apply(variables, x).shape == (2, 6)
    text = (
        "dec: expected a Linear that was called before, since a linen.Dense has no kernel until then, found none. "
        "Apply the module to the variables that build gives, or call the Linear first."
    )
    # By its own text, since JAX adds a note on its frames to the exception.
    with pytest.raises(NotExpressibleError) as caught:
        module.init(jax.random.key(0), x)
    assert str(caught.value) == text


class Two(flax_nnx.Module):
    """Two attentions, the second of which has the key of the first; a third that is the first; and a Linear."""

    def __init__(self, share: bool = True) -> None:
        settings: dict[str, Any] = {"decode": False, "rngs": flax_nnx.Rngs(0)}
        self.a = flax_nnx.MultiHeadAttention(2, 4, **settings)
        self.b = flax_nnx.MultiHeadAttention(2, 4, **settings)
        if share:
            self.b.key = self.a.key

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.b(self.a(x))


def test_attentions_that_share_a_part_are_listed_as_they_are_stored() -> None:
    model = Two()
    table = nnx.table(model)
    assert [(tie.owner, tie.alias) for tie in table.ties] == [
        ("a.key.kernel", "b.key.kernel"),
        ("a.key.bias", "b.key.bias"),
    ]
    assert len(table) == 16
    assert "a.query.kernel" in table
    assert "b.out.bias" in table
    x, cotangent = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    _, gradients = nnx.value_and_gradients(model, (x,), cotangent)
    step = 1e-2

    def value(sign: int) -> float:
        moved = Two()
        direction = np.ones((4, 2, 2), np.float32)
        moved = nnx.set_parameter(moved, "b.key.kernel", np.asarray(model.a.key.kernel[...]) + sign * step * direction)
        return float((nnx.call(moved, (x,)) * cotangent).sum())

    np.testing.assert_allclose(gradients["a.key.kernel"].sum(), (value(1) - value(-1)) / (2 * step), rtol=2e-2)
    apart = nnx.untie(nnx.untie(model, "b.key.kernel"), "b.key.bias")
    assert "a.in_proj_weight" in nnx.table(apart)


def test_an_attention_whose_key_is_its_query_is_listed_as_it_is_stored() -> None:
    model = Two(share=False)
    model.a.key = model.a.query
    table = nnx.table(model)
    assert [set(group.paths) for group in table.tie_groups] == [
        {"a.query.kernel", "a.key.kernel"},
        {"a.query.bias", "a.key.bias"},
    ]
    assert "b.in_proj_weight" in table


def test_a_whole_attention_that_is_shared_is_torn_along() -> None:
    model = Two()
    model.c = model.a
    table = nnx.table(model)
    assert table["c.query.kernel"].tie is not None
    assert not any("in_proj" in path for path in table.paths)
    whole = Two(share=False)
    whole.c = whole.a
    assert nnx.table(whole)["c.in_proj_weight"].tie is not None


@pytest.mark.parametrize("array", [Parameter, Buffer])
def test_a_bare_array_in_a_list(wing: Any, array: Any) -> None:
    spec = Block(
        {"ps": List(array((1, 4), Normal()), Linear(4, 4), array((1, 4), Normal()))},
        forward="def forward(x): return ps[1](x * ps[0]) + ps[2]",
    )
    model = wing.build(spec)
    weights = wing.weights(model)
    assert set(weights) == {"ps.0", "ps.1.weight", "ps.1.bias", "ps.2"}
    assert wing.table(model)["ps.0"].layer == array.__name__
    x = normal(2, 4)
    expected = (x * weights["ps.0"]) @ weights["ps.1.weight"].T + weights["ps.1.bias"] + weights["ps.2"]
    np.testing.assert_allclose(wing.call(model, (x,)), expected, rtol=1e-5, atol=1e-6)
    model = wing.set_parameter(model, "ps.2", np.zeros((1, 4), np.float32))
    np.testing.assert_allclose(wing.call(model, (x,)), expected - weights["ps.2"], rtol=1e-5, atol=1e-6)


def test_a_list_of_pytorch_counts_its_arrays() -> None:
    model = impl_torch.build(List(Parameter((1, 4), Normal()), Linear(4, 4), Shared("0")))
    assert isinstance(model, torch.nn.ModuleList)
    assert len(model) == 3
    assert model[0] is model[-1]
    assert [type(child) for child in model] == [torch.nn.Parameter, torch.nn.Linear, torch.nn.Parameter]
    assert model[1:] == [model[1], model[2]]
    assert impl_torch.identical(model, "0", "2")
    impl_torch.untie(model, "2")
    assert model[0] is not model[2]


def test_a_bare_array_as_the_whole_model(wing: Any) -> None:
    spec = Parameter((1, 4), Normal())
    if wing.NAME == "torch":
        text = (
            "expected a module around a bare array, since PyTorch has it as an attribute and not as a model, "
            "found Parameter. Make it the child of a Block."
        )
        with pytest.raises(NotExpressibleError, match=exactly(text)):
            wing.build(spec)
        return
    model = wing.build(spec)
    np.testing.assert_array_equal(wing.call(model, ()), wing.weights(model)[""])


@pytest.mark.parametrize("spec", [MultiheadAttention(4, 2), AUTOENCODER], ids=["attention", "transposed"])
def test_a_model_is_pickled(wing: Any, spec: Layer) -> None:
    model = wing.build(spec)
    x = (normal(2, 3, 4),)
    np.testing.assert_array_equal(wing.call(pickle.loads(pickle.dumps(model)), x), wing.call(model, x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_lazy_model_of_nnx_has_the_type_that_jax_has(dtype: str) -> None:
    with nnx.running(dtype=dtype):
        model = nnx.materialize(None, Linear(None, 2), (normal(2, 3),))
        assert {row.dtype for row in nnx.table(model)} == {dtype}


def stack_of(make: Any) -> flax_nnx.Module:
    @flax_nnx.vmap(in_axes=0, out_axes=0)
    def stacked(key: jax.Array) -> flax_nnx.Module:
        return make(flax_nnx.Rngs(key))

    return stacked(jax.random.split(jax.random.key(0), 5))


def test_a_stack_of_nnx_is_not_half_renamed() -> None:
    stack = stack_of(lambda rngs: flax_nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs))
    parts = [f"{part}.{name}" for part in ("query", "key", "value", "out") for name in ("kernel", "bias")]
    assert sorted(nnx.table(stack).paths) == sorted(parts)
    slopes = flax_nnx.PReLU()
    slopes.negative_slope = flax_nnx.Param(jnp.zeros(5))
    assert {row.path: row.shape for row in nnx.table(slopes)} == {"negative_slope": (5,)}
    assert {row.path: row.shape for row in nnx.table(flax_nnx.PReLU())} == {"weight": (1,)}
    assert {row.path: row.shape for row in nnx.table(nnx.build(PReLU(5)))} == {"weight": (5,)}


class Stack(flax_linen.Module):
    """Five layers in a stack."""

    layer: Any
    settings: dict[str, Any]

    @flax_linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "in_axes": None}
        return flax_linen.vmap(self.layer, axis_size=5, **options)(**self.settings, name="stack")(x)


def test_a_stack_of_linen_is_not_half_renamed() -> None:
    x = normal(2, 3, 4)
    module = Stack(flax_linen.MultiHeadDotProductAttention, {"num_heads": 2})
    found = linen.table((module, module.init(jax.random.key(0), x)), (x,))
    parts = [f"stack.{part}.{name}" for part in ("query", "key", "value", "out") for name in ("kernel", "bias")]
    assert sorted(found.paths) == sorted(parts)
    module = Stack(flax_linen.PReLU, {})
    found = linen.table((module, module.init(jax.random.key(0), x)), (x,))
    assert {row.path: row.shape for row in found} == {"stack.negative_slope": (5,)}


class Normalized(flax_linen.Module):
    """An attention that holds two LayerNorms of which PyTorch's knows nothing."""

    @flax_linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return flax_linen.MultiHeadDotProductAttention(2, normalize_qk=True, name="nq")(x)


def test_the_layers_in_an_attention_are_known_in_both_wings_of_flax() -> None:
    x = normal(2, 3, 4)
    module = Normalized()
    found = linen.table((module, module.init(jax.random.key(0), x)), (x,))
    assert {row.path: row.layer for row in found if "_ln" in row.path} == {
        "nq.query_ln.weight": "LayerNorm",
        "nq.key_ln.weight": "LayerNorm",
    }
    assert "nq.in_proj_weight" in found
    same = flax_nnx.MultiHeadAttention(2, 4, normalize_qk=True, decode=False, rngs=flax_nnx.Rngs(0))
    assert {f"nq.{row.path}": row.layer for row in nnx.table(same)} == {row.path: row.layer for row in found}


def test_attentions_of_unequal_heads_are_not_tied_in_nnx() -> None:
    model = nnx.build(Sequential(MultiheadAttention(4, 2), MultiheadAttention(4, 1)))
    text = (
        "1.in_proj_weight: expected the owner's layout '(p h d) e -> p e h d' with h = 2, d = 2, since a Variable has "
        "one, found h = 1, d = 4. An NNX model cannot share an array that two layers split in two ways: build both "
        "with the same sizes."
    )
    with pytest.raises(TieError, match=exactly(text)):
        nnx.tie(model, "0.in_proj_weight", "1.in_proj_weight")
