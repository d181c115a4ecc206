"""Every use of a parameter has its share of the gradient, and the shares add up to the whole."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

from paritree import impl_torch
from paritree.common.layers import Embedding, Linear, Tanh
from paritree.common.models.reference import neutral_weights
from paritree.common.spec import Block, expansion
from paritree.common.spec.expansion import untied
from paritree.impl_jax import linen as impl_linen
from paritree.impl_jax import nnx as impl_nnx

from .conftest import assert_close, normal
from .specs import LANGUAGE as LANGUAGE_SPECS
from .specs import SPECS, STRUCTURES, inputs_of


def total(sites: dict[str, Any], like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {path: sum((site.gradient for site in sites[path]), np.zeros_like(like[path])) for path in sites}


# Plain chains of layers have one site for each parameter; these have more, or a program that is hard to take apart.
HARD = ("shared-block", "fancy-mlp", *(name for name in STRUCTURES if "every" not in name), *LANGUAGE_SPECS)


@pytest.mark.parametrize("name", HARD)
def test_the_shares_add_up_to_the_gradient(wing: Any, name: str) -> None:
    table = expansion.table_of(SPECS[name])
    with wing.running(dtype="float64"):
        model = wing.load(wing.build(SPECS[name], dtype="float64"), neutral_weights(table, dtype="float64"))
        inputs = inputs_of(name, "float64")
        cotangent = normal(*wing.call(model, inputs).shape, dtype="float64")
        _, gradients = wing.value_and_gradients(model, inputs, cotangent)
        sites = wing.site_gradients(model, inputs, cotangent)
    assert list(sites) == [row.path for row in table.parameters]
    assert_close(total(sites, gradients), gradients)


# How often the program uses each owner, and which path of the untied twin each use is, where every use has its own.
USES: dict[str, dict[str, tuple[str, ...]]] = {
    "shared-layer": {"2.weight": ("2.weight", "4.weight"), "2.bias": ("2.bias", "4.bias"), "0.weight": ("0.weight",)},
    "ones": {"0.weight": ("0.weight", "1.weight")},
    "language-model": {"embedding.weight": ("embedding.weight", "decoder.weight"), "hidden.bias": ("hidden.bias",)},
    "a shared container with a layer shared inside it": {
        "0.a.weight": ("0.a.weight", "0.b.weight", "2.a.weight", "2.b.weight"),
        "0.c.weight": ("0.c.weight", "2.c.weight", "3.weight"),
    },
    "a decoder deep inside": {"front.embedding.weight": ("front.embedding.weight", "body.1.head.weight")},
}


@pytest.mark.parametrize("name", USES)
def test_the_shares_are_the_untied_twins_gradients(wing: Any, name: str) -> None:
    spec, inputs = SPECS[name], inputs_of(name, "float64")
    table, twin_table = expansion.table_of(spec), expansion.table_of(untied(spec))
    weights = neutral_weights(table, dtype="float64")
    with wing.running(dtype="float64"):
        model = wing.load(wing.build(spec, dtype="float64"), weights)
        twin = wing.build(untied(spec), dtype="float64")
        twin = wing.load(twin, {row.path: weights[table.owner(row.path)] for row in twin_table.owners})
        cotangent = normal(*wing.call(model, inputs).shape, dtype="float64")
        sites = wing.site_gradients(model, inputs, cotangent)
        _, apart = wing.value_and_gradients(twin, inputs, cotangent)
    for owner, paths in USES[name].items():
        assert len(sites[owner]) == len(paths)
        found = {path: site.gradient for path, site in zip(paths, sites[owner], strict=True)}
        assert_close(found, {path: apart[path] for path in paths})


def test_a_layer_that_is_called_twice_has_two_sites(wing: Any) -> None:
    spec = Block({"linear": Linear(3, 3), "tanh": Tanh(), "unused": Linear(3, 3)}, calls=("linear", "tanh", "linear"))
    with wing.running(dtype="float64"):
        model = wing.build(spec, dtype="float64")
        weight, bias = (wing.weights(model)[f"linear.{name}"] for name in ("weight", "bias"))
        x, ones = normal(2, 3, dtype="float64"), np.ones((2, 3))
        sites = wing.site_gradients(model, (x,), ones)
    hidden = np.tanh(x @ weight.T + bias)
    first = (ones @ weight) * (1 - hidden**2)
    expected = {"first": first.T @ x, "second": ones.T @ hidden}
    assert_close(dict(zip(expected, (site.gradient for site in sites["linear.weight"]), strict=True)), expected)
    expected = {"first": first.sum(0), "second": np.array([2.0, 2.0, 2.0])}
    assert_close(dict(zip(expected, (site.gradient for site in sites["linear.bias"]), strict=True)), expected)
    assert sites["unused.weight"] == ()


class TorchTwice(nn.Module):
    """One weight in many roles, most of them not a layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.b = (nn.Parameter(torch.tensor(normal(*shape, dtype="float64"))) for shape in ((3, 3), (3,)))
        self.dead = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.dead * 2
        y = x @ self.W + x @ self.W.T
        y = F.linear(y, self.W, self.b) * (self.W.detach().sum() / self.W.shape[0])
        return y + torch.stack([self.b, self.b]).sum(0)


def twice(x: jax.Array, W: jax.Array, b: jax.Array, dead: jax.Array) -> jax.Array:
    dead * 2
    y = x @ W + x @ W.T
    y = jax.checkpoint(lambda y, W: y @ W.T + b)(y, W) * (jax.lax.stop_gradient(W).sum() / W.shape[0])
    return y + jnp.stack([b, b]).sum(0)


class LinenTwice(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = lambda key, shape: jnp.array(normal(*shape, dtype="float64"))  # noqa: E731
        W, b = self.param("W", init, (3, 3)), self.param("b", init, (3,))
        return jax.jit(twice)(x, W, b, self.param("dead", linen.initializers.ones, (3,)))


class NnxTwice(nnx.Module):
    def __init__(self) -> None:
        self.W, self.b = (nnx.Param(jnp.array(normal(*shape, dtype="float64"))) for shape in ((3, 3), (3,)))
        self.dead = nnx.Param(jnp.ones(3))

    @nnx.jit
    def __call__(self, x: jax.Array) -> jax.Array:
        return twice(x, self.W[...], self.b[...], self.dead[...])


def linen_twice() -> Any:
    module = LinenTwice()
    return module, module.init(jax.random.key(0), np.ones((1, 3)))


TWICE = {"torch": (impl_torch, TorchTwice), "linen": (impl_linen, linen_twice), "nnx": (impl_nnx, NnxTwice)}


@pytest.mark.parametrize("name", TWICE)
def test_a_weight_that_is_no_layers_has_its_sites_too(name: str) -> None:
    used, make = TWICE[name]
    x, cotangent = normal(2, 3, seed=4, dtype="float64"), normal(2, 3, seed=5, dtype="float64")
    with used.running(dtype="float64"):
        model = make()
        sites = used.site_gradients(model, (x,), cotangent)
        _, gradients = used.value_and_gradients(model, (x,), cotangent)
    assert_close(total(sites, gradients), gradients)
    W, scale = normal(3, 3, dtype="float64"), normal(3, 3, dtype="float64").sum() / 3
    inner = scale * cotangent @ W
    expected = {"x W": x.T @ inner, "x W^T": inner.T @ x, "y W^T": scale * cotangent.T @ (x @ W + x @ W.T)}
    assert_close(dict(zip(expected, (site.gradient for site in sites["W"]), strict=True)), expected)
    bias = [scale * cotangent.sum(0), cotangent.sum(0), cotangent.sum(0)]
    assert_close(
        dict(enumerate(np.array([site.gradient for site in sites["b"]]))),  # type: ignore[arg-type]
        dict(enumerate(bias)),  # type: ignore[arg-type]
    )
    # What is computed and dropped, or read for its values alone, is no use.
    assert sites["dead"] == ()


class Through(nnx.Module):
    """A layer that nnx.jit hands through, so that each call sees the last one's outputs as its Variables."""

    def __init__(self) -> None:
        self.linear = nnx.Linear(3, 3, use_bias=False, param_dtype=jnp.float64, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        inner = nnx.jit(lambda linear, x: linear(x))
        return inner(self.linear, nnx.remat(lambda linear, x: linear(x))(self.linear, inner(self.linear, x)))


def test_a_parameter_that_is_passed_on_is_not_used_by_that() -> None:
    with impl_nnx.running(dtype="float64"):
        model = Through()
        x, ones = normal(2, 3, dtype="float64"), np.ones((2, 3))
        sites = impl_nnx.site_gradients(model, (x,), ones)["linear.weight"]
        weight = impl_nnx.weights(model)["linear.weight"]
    once, twice_, thrice = (ones @ np.linalg.matrix_power(weight, power) for power in (0, 1, 2))
    expected = {1: thrice.T @ x, 2: twice_.T @ x @ weight.T, 3: once.T @ x @ weight.T @ weight.T}
    assert_close({place: site.gradient for place, site in enumerate(sites, 1)}, expected)  # type: ignore[arg-type]


class TorchLanguage(nn.Module):
    """A decoder that is no module: the embedding's weight, used as a function's argument."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3, dtype=torch.float64)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.linear(torch.tanh(self.embedding(tokens)), weight=self.embedding.weight)


class LinenLanguage(linen.Module):
    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        embedding = linen.Embed(5, 3, param_dtype=jnp.float64, name="embedding")
        return embedding.attend(jnp.tanh(embedding(tokens)))


class NnxLanguage(nnx.Module):
    def __init__(self) -> None:
        self.embedding = nnx.Embed(5, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return jnp.tanh(self.embedding(tokens)) @ self.embedding.embedding[...].T


LANGUAGE = {
    "torch": (impl_torch, TorchLanguage),
    "linen": (impl_linen, lambda: (LinenLanguage(), LinenLanguage().init(jax.random.key(0), jnp.zeros((1,), int)))),
    "nnx": (impl_nnx, NnxLanguage),
}


@pytest.mark.parametrize("name", LANGUAGE)
def test_an_embedding_that_is_also_a_decoder(name: str) -> None:
    used, make = LANGUAGE[name]
    tokens, cotangent = np.array([1, 3, 1], np.int32), normal(3, 5, dtype="float64")
    with used.running(dtype="float64"):
        model = make()
        ((path, table),) = used.weights(model).items()
        sites = used.site_gradients(model, (tokens,), cotangent)[path]
    hidden = np.tanh(table[tokens])
    read = np.zeros_like(table)
    np.add.at(read, tokens, (cotangent @ table) * (1 - hidden**2))
    assert_close(
        dict(zip(("read", "decode"), (site.gradient for site in sites), strict=True)),
        {"read": read, "decode": cotangent.T @ hidden},
    )
    operations = {"torch": ["embedding", "linear"], "linen": ["gather", "transpose"], "nnx": ["gather", "transpose"]}
    assert [site.operation for site in sites] == operations[name]


def test_a_model_without_a_trained_parameter_has_no_sites(wing: Any) -> None:
    model = wing.build(Block({"tanh": Tanh(), "unused": Embedding(2, 2)}, calls=("tanh",)))
    assert wing.site_gradients(model, (normal(1, 2),), np.ones((1, 2), np.float32)) == {"unused.weight": ()}
    value, gradients = wing.value_and_gradients(model, (normal(1, 2),), np.ones((1, 2), np.float32))
    assert value == pytest.approx(float(np.tanh(normal(1, 2)).sum()), rel=1e-4)
    assert gradients["unused.weight"].tolist() == [[0, 0], [0, 0]]
    assert wing.value_and_gradients(wing.build(Tanh()), (normal(1, 2),), np.ones((1, 2), np.float32))[1] == {}
