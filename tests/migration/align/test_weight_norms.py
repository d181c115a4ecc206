"""A torch side with weight norms and one without: aligned by the products, carried, and no way back to the factors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from torch.nn.utils import parametrizations

import paritree
from paritree import AlignmentError, Map, MapError, Pair

X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


class Port(nnx.Module):
    def __init__(self, seed: int = 0) -> None:
        self.first = nnx.Linear(3, 5, rngs=nnx.Rngs(seed))
        self.second = nnx.Linear(5, 2, rngs=nnx.Rngs(seed + 1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(nnx.relu(self.first(x)))


class Wrong(Port):
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(nnx.gelu(self.first(x)))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def reference(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    nn.utils.weight_norm(model[0], dim=1)
    parametrizations.weight_norm(model[2])
    with torch.no_grad():
        for each in model.parameters():
            each.mul_(torch.rand(each.shape) + 0.5)
    return model


FACTORS = {
    "0.weight": ("0.weight_g", "0.weight_v"),
    "2.weight": ("2.parametrizations.weight.original0", "2.parametrizations.weight.original1"),
}


def factors(found: Map, side: str) -> dict[str, Any]:
    rows = {getattr(row, side): getattr(row, f"{side}_factors") for row in found.rows}
    return {path: each for path, each in rows.items() if each}


pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


@pytest.mark.parametrize("is_factory", [False, True])
def test_a_reference_with_weight_norms(is_factory: bool, tmp_path: Path) -> None:
    model = reference()
    before = {path: tensor.clone() for path, tensor in model.state_dict().items()}
    found = paritree.align(Pair(reference, lambda seed: Port(seed), (X,)) if is_factory else Pair(model, Port(), (X,)))
    assert found.verified
    assert factors(found, "reference") == FACTORS
    assert found.notes == (
        "the reference has 2 weight norms, such as that of 0.weight, where the port has the products: these are "
        "compared. How the reference trains its magnitudes and directions is another thing",
    )
    assert all(torch.equal(before[path], tensor) for path, tensor in model.state_dict().items())
    found.save(tmp_path / "map.json")
    assert Map.load(tmp_path / "map.json") == found
    port = paritree.carry(model, Port(), found)
    np.testing.assert_allclose(port(X), model(torch.from_numpy(X)).detach(), rtol=1e-5, atol=1e-6)


def test_a_port_with_weight_norms_is_aligned_and_not_filled() -> None:
    port = reference()
    found = paritree.align(Pair(Port(), port, (X,)))
    assert factors(found, "port") == FACTORS
    with pytest.raises(MapError, match="the product of"):
        paritree.carry(Port(), port, found)
    made = paritree.carry(port, Port(1), found.inverse())
    np.testing.assert_allclose(made(X), port(torch.from_numpy(X)).detach(), rtol=1e-5, atol=1e-6)


def test_a_convolution_and_a_linen_module() -> None:
    torch.manual_seed(0)
    model = parametrizations.weight_norm(nn.Conv1d(3, 4, 2))
    module = linen.Conv(4, (2,), padding="VALID")
    x = np.random.default_rng(0).normal(size=(1, 3, 6)).astype(np.float32)
    made = (module, module.init(jax.random.key(0), x.transpose(0, 2, 1)))

    def call(model: Any, inputs: Any) -> Any:
        return model[0].apply(model[1], inputs[0].transpose(0, 2, 1)).transpose(0, 2, 1)

    found = paritree.align(Pair(model, made, (x,), port_call=call))
    carried = paritree.carry(model, made, found)
    expected = model(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(call(carried, (x,)), expected, rtol=1e-5, atol=1e-6)


def test_another_difference_is_told_of_the_products() -> None:
    words = "of the output of '0' (Linear) the reference takes ReLU and the port GELU's tanh approximation"
    with pytest.raises(AlignmentError, match=re.escape(words)) as refused:
        paritree.align(Pair(reference(), Wrong(), (X,)))
    assert refused.value.found_map is not None
    assert factors(refused.value.found_map, "reference") == FACTORS


class Lifted(linen.Module):
    epsilon: float = 1e-12

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.WeightNorm(linen.Dense(5), epsilon=self.epsilon)(x)


class Normed(nnx.Module):
    """A weight norm of its own, its tensors called as PyTorch's."""

    def __init__(self) -> None:
        self.weight_v = nnx.Param(jax.random.normal(jax.random.key(0), (3, 5)))
        self.weight_g, self.bias = nnx.Param(jnp.full(5, 1.5)), nnx.Param(jnp.zeros(5))

    def __call__(self, x: jax.Array) -> jax.Array:
        way = self.weight_v[...]
        return x @ (self.weight_g[...] * way / jnp.linalg.norm(way, axis=0)) + self.bias[...]


def lifted(epsilon: float = 1e-12) -> Any:
    module = Lifted(epsilon)
    return module, module.init(jax.random.key(0), X)


NAMES = {
    "linen": (lifted, {"params.Dense_0.kernel": ("params.WeightNorm_0.Dense_0/kernel/scale", "params.Dense_0.kernel")}),
    "nnx": (Normed, {"weight": ("weight_g", "weight_v")}),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_side_of_jax_by_the_names_of_its_factors(name: str) -> None:
    make, named = NAMES[name]
    torch.manual_seed(0)
    plain = nn.Linear(3, 5)
    found = paritree.align(Pair(make(), plain, (X,)))
    assert found.verified
    assert factors(found, "reference") == named
    assert factors(paritree.align(Pair(plain, make(), (X,))), "port") == named
    made = paritree.carry(make(), plain, found)
    model = make()
    expected = model(X) if name == "nnx" else model[0].apply(model[1], X)
    np.testing.assert_allclose(made(torch.from_numpy(X)).detach(), expected, rtol=1e-5, atol=1e-6)


def test_what_flax_adds_to_a_square_is_no_difference_and_more_is_one() -> None:
    torch.manual_seed(0)
    model = parametrizations.weight_norm(nn.Linear(3, 5))
    assert paritree.align(Pair(model, lifted(), (X,))).verified
    with pytest.raises(AlignmentError, match="agree within"):
        paritree.align(Pair(model, lifted(1e-8), (X,)))


def test_where_both_have_them_the_factors_are_partners() -> None:
    found = paritree.align(Pair(reference(), reference(1), (X,)))
    assert not factors(found, "reference")
    assert len(found.rows) == 6
