"""Containers and layers that each framework has and the spec has not: what the table makes of them."""

from __future__ import annotations

from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

from paritree import impl_torch
from paritree.common.errors import NotExpressibleError
from paritree.impl_jax import linen as impl_linen
from paritree.impl_jax import nnx as impl_nnx

from .conftest import assert_same, exactly, normal

X = (normal(2, 3),)
ONES = np.ones((2, 3), np.float32)


def rows(wing: Any, model: Any, *inputs: Any) -> dict[str, str]:
    """What a path is: the owner it repeats, or its kind of layer."""
    return {row.path: f"= {row.tie.owner}" if row.tie else row.layer for row in wing.table(model, *inputs)}


def initialized(module: linen.Module) -> Any:
    return module, module.init(jax.random.key(0), *X)


def test_torch_names_are_those_of_state_dict() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential()
    model.add_module("block 0", nn.Sequential(shared, nn.PReLU()))
    model.add_module("again", nn.ModuleDict({"x": shared}))
    model.register_buffer("kept", torch.zeros(1))
    model.register_buffer("dropped", torch.zeros(1), persistent=False)
    table = impl_torch.table(model)
    assert [row.path for row in table if row.persistent] == list(model.state_dict())
    assert [row.path for row in table if not row.persistent] == ["dropped"]
    assert table["again.x.bias"].tie.owner == "block 0.0.bias"


def test_torch_knows_a_layer_by_what_it_derives_from() -> None:
    class Mine(nn.Linear):
        pass

    assert rows(impl_torch, nn.Sequential(Mine(2, 2), nn.Conv1d(1, 1, 1))) == {
        **{"0.weight": "Linear", "0.bias": "Linear", "1.weight": "Conv1d", "1.bias": "Conv1d"},
    }


class Nested(nnx.Module):
    """Every container that NNX has, a cycle, and a Variable of a kind of one's own."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.layers = nnx.Sequential(nnx.Linear(3, 3, rngs=rngs), jnp.tanh, nnx.Linear(3, 3, rngs=rngs))
        self.plain = nnx.data([{"a": nnx.Linear(3, 3, rngs=rngs)}, nnx.Param(jnp.ones(3))])
        self.table = nnx.Dict({"x y": nnx.List([self.layers.layers[0]])})
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.cache = nnx.Cache(jnp.zeros(2))
        self.parent = self

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.plain[0]["a"](self.layers(x)) * self.plain[1][...]
        return self.parent.table["x y"][0](self.dropout(x))


NESTED = {
    "cache": "Nested",
    **{"layers.0.weight": "Linear", "layers.0.bias": "Linear", "layers.2.weight": "Linear", "layers.2.bias": "Linear"},
    **{"plain.1": "list", "plain.0.a.weight": "Linear", "plain.0.a.bias": "Linear"},
    **{"table.x y.0.weight": "= layers.0.weight", "table.x y.0.bias": "= layers.0.bias"},
}


def test_nnx_containers_are_walked_and_cycles_are_not_followed_twice() -> None:
    model = Nested()
    assert rows(impl_nnx, model) == NESTED
    every = nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.RngState))).paths
    owners = impl_nnx.table(model).owners
    assert {row.native_path for row in owners} == set(every)


def test_nnx_containers_are_written_to_and_differentiated() -> None:
    model = Nested()
    changed = {path: array + 1 for path, array in impl_nnx.weights(model).items()}
    assert_same(impl_nnx.weights(impl_nnx.load(model, changed)), changed)
    _, gradients = impl_nnx.value_and_gradients(model, X, ONES)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients.values())
    impl_nnx.tie(model, "layers.2.weight", "plain.0.a.weight")
    assert rows(impl_nnx, model) == {**NESTED, "plain.0.a.weight": "= layers.2.weight"}
    impl_nnx.untie(model, "table.x y.0.bias")
    assert rows(impl_nnx, model)["table.x y.0.bias"] == "Linear"


def test_nnx_cannot_write_to_a_tuple() -> None:
    class Fixed(nnx.Module):
        def __init__(self) -> None:
            self.pair = nnx.data((nnx.Param(jnp.ones(2)), nnx.Param(jnp.zeros(2))))

    model = Fixed()
    text = "pair.1: expected a place that can be given another Variable, found a tuple. Use an nnx.List."
    with pytest.raises(NotExpressibleError, match=exactly(text)):
        impl_nnx.tie(model, "pair.0", "pair.1")
    assert impl_nnx.table(model).ties == ()


def test_a_stack_of_layers_is_kept_as_it_is_stored() -> None:
    @nnx.vmap(in_axes=0, out_axes=0)
    def stacked(key: jax.Array) -> nnx.Module:
        return nnx.Linear(3, 4, rngs=nnx.Rngs(key))

    stack = stacked(jax.random.split(jax.random.key(0), 5))
    assert {row.path: row.shape for row in impl_nnx.table(stack)} == {"kernel": (5, 3, 4), "bias": (5, 4)}

    class Stack(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            options = {"in_axes": None, "variable_axes": {"params": 0}, "split_rngs": {"params": True}}
            return linen.vmap(linen.Dense, axis_size=5, **options)(4, name="stack")(x)

    found = impl_linen.table(initialized(Stack()), X)
    assert {row.path: row.shape for row in found} == {"stack.kernel": (5, 3, 4), "stack.bias": (5, 4)}


class Stranger(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dense(3)(x) * self.param("scale", linen.initializers.ones, (3,))


def linen_sequence() -> Any:
    shared = linen.Dense(3)
    return initialized(linen.Sequential([shared, jnp.tanh, linen.Sequential([shared, linen.Dense(3)]), Stranger()]))


SHOWN = {
    **{"0.weight": "Linear", "0.bias": "Linear", "2.0.weight": "= 0.weight", "2.0.bias": "= 0.bias"},
    **{"2.1.weight": "Linear", "2.1.bias": "Linear", "3.scale": "Stranger"},
}


def test_a_linen_sequence_shows_its_layers_and_a_call_what_is_inside_them() -> None:
    model = linen_sequence()
    assert rows(impl_linen, model) == {**SHOWN, "3.Dense_0.kernel": "", "3.Dense_0.bias": ""}
    assert rows(impl_linen, model, X) == {**SHOWN, "3.Dense_0.weight": "Linear", "3.Dense_0.bias": "Linear"}
    assert impl_linen.native_path(model, "2.0.weight") == impl_linen.native_path(model, "0.weight")


def test_a_linen_sequence_is_untied_and_tied_again() -> None:
    model = linen_sequence()
    output, weights = impl_linen.call(model, X), impl_linen.weights(model)
    apart = impl_linen.untie(model, "2.0.weight")
    assert impl_linen.table(apart).ties == ()
    np.testing.assert_array_equal(impl_linen.call(apart, X), output)
    found = impl_linen.weights(apart)
    copies = {"2.0.weight": weights["0.weight"], "2.0.bias": weights["0.bias"]}
    assert_same(found, {path: {**weights, **copies}[path] for path in found})
    assert_same(impl_linen.weights(model), weights)


def test_frozen_variables_are_variables() -> None:
    module, variables = linen_sequence()
    frozen = module, flax.core.freeze(variables)
    assert rows(impl_linen, frozen) == rows(impl_linen, (module, variables))
    changed = {path: array + 1 for path, array in impl_linen.weights(frozen).items()}
    assert_same(impl_linen.weights(impl_linen.load(frozen, changed)), changed)
    np.testing.assert_array_equal(impl_linen.call(frozen, X), impl_linen.call((module, variables), X))


def test_a_box_around_an_array_stays() -> None:
    init = linen.with_partitioning(linen.initializers.ones, (None, "model"))
    model = initialized(linen.Dense(3, kernel_init=init))
    value = normal(3, 3, seed=1)
    after = impl_linen.set_parameter(model, "weight", value)
    box = after[1]["params"]["kernel"]
    assert isinstance(box, linen.Partitioned)
    assert box.names == (None, "model")
    np.testing.assert_array_equal(box.value, value.T)
    np.testing.assert_allclose(impl_linen.call(after, X), X[0] @ value.T, rtol=1e-6)
    np.testing.assert_array_equal(impl_linen.value_and_gradients(after, X, ONES)[1]["bias"], [2, 2, 2])


def test_one_name_in_two_collections_is_refused() -> None:
    class Twice(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            kept = self.variable("state", "w", jnp.zeros, (3,))
            return x * self.param("w", linen.initializers.ones, (3,)) + kept.value

    text = "layers_0.w: expected one array under a name, found two, in 'params' and 'state'. Rename one."
    with pytest.raises(NotExpressibleError, match=exactly(text)):
        impl_linen.table(initialized(linen.Sequential([Twice()])))
