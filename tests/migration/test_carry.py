"""Weights carried between live models, by name or by a map: every kind of side, there and back, ties and errors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

import paritree
from paritree import Linear, Map, MapRow, Pair, ReLU, Sequential, UsageError, WeightsError
from paritree.common.models.reference import MODELS, neutral_weights
from paritree.common.wing.recognition import WINGS

# By name


@pytest.mark.parametrize("target", WINGS)
@pytest.mark.parametrize("source", WINGS)
@pytest.mark.parametrize("name", ["shared-layer", "language-model", "fancy-mlp", "nested-spaces"])
def test_every_pair_of_wings(name: str, source: str, target: str) -> None:
    reference = MODELS[name]
    given = paritree.wing(source).load(paritree.build(reference, source), neutral_weights(reference.table()))
    carried = paritree.carry(given, paritree.build(reference, target, seed=1))
    wing = paritree.wing(target)
    found = wing.weights(carried)
    for path, array in neutral_weights(reference.table()).items():
        np.testing.assert_array_equal(found[path], array, err_msg=path, strict=True)
    assert wing.table(carried).ties == reference.table().ties
    output = paritree.wing(source).call(given, reference.inputs())
    np.testing.assert_allclose(wing.call(carried, reference.inputs()), output, rtol=0, atol=1e-5)


@pytest.mark.parametrize("target", WINGS)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(target: str) -> None:
    source = paritree.build(Sequential(Linear(4, 8), ReLU(), Linear(8, 2)), "torch")
    model = paritree.build(Sequential(Linear(4, 8), ReLU(), Linear(8, 1, bias=False)), target)
    before = paritree.wing(target).weights(model)
    with pytest.raises(WeightsError) as caught:
        paritree.carry(source, model)
    assert str(caught.value) == (
        "expected one array for each of 3 owners, in the canonical layout, found 2 that do not fit: 2.weight has shape "
        "(2, 8) and needs (1, 8); 2.bias is not in the model. Nothing was loaded."
    )
    after = paritree.wing(target).weights(model)
    assert all(np.array_equal(before[path], after[path]) for path in before)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        paritree.carry({"weight": np.zeros(3)}, paritree.build(Linear(3, 1), "torch"))
    assert str(caught.value) == "expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found dict."


# By a map

INPUT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def reference(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.Dense(2)(jnp.tanh(linen.Dense(5)(x)))


class Nnx(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.one, self.two = nnx.Linear(3, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.two(jnp.tanh(self.one(x)))


def of_tree(tree: Any, inputs: Any) -> Any:
    return jnp.tanh(inputs[0] @ tree["a"] + tree["b"]) @ tree["c"][0] + tree["c"][1]


def port(kind: str) -> Any:
    if kind == "linen":
        return Linen(), Linen().init(jax.random.key(0), INPUT)
    if kind == "nnx":
        return Nnx()
    return {"a": jnp.ones((3, 5)), "b": jnp.ones(5), "c": [jnp.ones((5, 2)), jnp.ones(2)]}


def output(kind: str, model: Any) -> np.ndarray:
    if kind == "linen":
        return np.asarray(model[0].apply(model[1], INPUT))
    return np.asarray(model(INPUT) if kind == "nnx" else of_tree(model, (INPUT,)))


@pytest.mark.parametrize("kind", ["linen", "nnx", "pytree"])
def test_to_every_kind_of_side_and_back(kind: str) -> None:
    ours, theirs = reference(), port(kind)
    before = output(kind, theirs)
    found = paritree.align(Pair(ours, theirs, (INPUT,), port_call=of_tree if kind == "pytree" else None))
    carried = paritree.carry(ours, theirs, found)
    assert (carried is theirs) == (kind == "nnx")
    expected = ours(torch.from_numpy(INPUT)).detach().numpy()
    np.testing.assert_allclose(output(kind, carried), expected, rtol=0, atol=1e-6)
    if kind != "nnx":
        np.testing.assert_array_equal(output(kind, theirs), before)
    other = reference(seed=1)
    assert paritree.carry(carried, other, found.inverse()) is other
    for path, array in ours.state_dict().items():
        assert torch.equal(other.state_dict()[path], array), path


def test_between_two_ports_by_two_maps_in_turn() -> None:
    ours, one, other = reference(), port("linen"), port("nnx")
    first, second = (paritree.align(Pair(ours, each, (INPUT,))) for each in (one, other))
    given = paritree.carry(ours, one, first)
    made = paritree.carry(paritree.carry(given, reference(1), first.inverse()), other, second)
    np.testing.assert_array_equal(output("nnx", made), output("nnx", paritree.carry(ours, port("nnx"), second)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
        self.head.weight = self.words.weight


def test_ties_stay_as_each_side_has_them() -> None:
    row = MapRow("words.weight", "w", (7, 5), (5, 7), "a b -> b a", "fingerprint", reference_aliases=("head.weight",))
    found, ours, back = Map((row,), ("torch", "pytree")), Tied(), Tied()
    carried = paritree.carry(ours, {"w": np.zeros((5, 7), np.float32)}, found)
    np.testing.assert_array_equal(carried["w"], ours.words.weight.detach().numpy().T)
    assert paritree.carry(carried, back, found.inverse()) is back
    assert back.head.weight is back.words.weight
    assert torch.equal(back.head.weight, ours.head.weight)


MAP = Map((MapRow("weight", "w", (2, 3), (3, 2), "a b -> b a", "fingerprint"),), ("torch", "pytree"))


def test_a_source_that_the_map_is_not_of_is_refused_and_nothing_is_changed() -> None:
    target = {"w": np.zeros((3, 2), np.float32)}
    with pytest.raises(WeightsError) as caught:
        paritree.carry(nn.Linear(3, 4), target, MAP)
    text = str(caught.value)
    assert "weight has shape (4, 3)" in text
    assert "bias" in text
    assert not target["w"].any()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ({"v": np.zeros((3, 2), np.float32)}, "w is no owner's path"),
        ({"w": np.zeros((2, 2), np.float32)}, "w has shape (3, 2) and needs (2, 2)"),
    ],
)
def test_a_target_that_the_map_is_not_of_is_refused_and_nothing_is_changed(target: Any, text: str) -> None:
    with pytest.raises(WeightsError) as caught:
        paritree.carry(nn.Linear(3, 2, bias=False), target, MAP)
    assert str(caught.value) == (
        f"expected arrays for owners of the model, in their native shapes, found 1 that does not fit: {text}. "
        "Nothing was changed."
    )
    assert not next(iter(target.values())).any()


def test_a_torch_target_that_does_not_fit_stays_as_it_is() -> None:
    target = nn.Linear(3, 4)
    before = {path: array.clone() for path, array in target.state_dict().items()}
    with pytest.raises(WeightsError):
        paritree.carry({"w": np.ones((3, 2), np.float32)}, target, MAP.inverse())
    assert all(torch.equal(array, before[path]) for path, array in target.state_dict().items())


def test_what_is_no_side_is_refused_with_a_map_too() -> None:
    with pytest.raises(UsageError) as caught:
        paritree.carry(3, {"w": np.zeros((3, 2), np.float32)}, MAP)
    assert str(caught.value) == "expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found int."
    with pytest.raises(UsageError):
        paritree.carry(nn.Linear(3, 2, bias=False), "w", MAP)


# By the map of another size


class Turning(nn.Module):
    """Layers between constants that are saved or are not, one of which depends on the size."""

    def __init__(self, width: int, layers: int, is_saved: bool) -> None:
        super().__init__()
        self.enter, self.layers = nn.Linear(4, width), nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.register_buffer("cos", torch.linspace(0.5, 1, width), persistent=is_saved)
        self.register_buffer("factor", torch.tensor(2.0), persistent=is_saved)

    def forward(self, x: Any) -> Any:
        x = self.enter(x) * self.factor * self.cos
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


class LinenTurning(linen.Module):
    width: int
    layers: int

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.Dense(self.width, name="enter")(x) * 2 * jnp.linspace(0.5, 1, self.width)
        for number in range(self.layers):
            x = x + jnp.tanh(linen.Dense(self.width, name=f"layers_{number}")(x))
        return x


class NnxTurning(nnx.Module):
    def __init__(self, width: int, layers: int) -> None:
        rngs = nnx.Rngs(0)
        self.enter = nnx.Linear(4, width, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(layers)])
        self.cos = nnx.Cache(jnp.linspace(0.5, 1, width))

    def __call__(self, x: Any) -> Any:
        x = self.enter(x) * 2 * self.cos[...]
        for layer in self.layers:
            x = x + jnp.tanh(layer(x))
        return x


TURNED = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def turning(wing: str, width: int, layers: int, is_saved: bool) -> tuple[Any, Any]:
    torch.manual_seed(width)
    if wing == "nnx":
        return Turning(width, layers, is_saved), NnxTurning(width, layers)
    module = LinenTurning(width, layers)
    return Turning(width, layers, is_saved), (module, module.init(jax.random.key(0), TURNED))


@pytest.mark.parametrize("is_saved", [False, True])
@pytest.mark.parametrize("wing", ["linen", "nnx"])
@pytest.mark.parametrize("way", [1, -1])
def test_the_map_of_another_size_is_refused_with_the_advice_to_fit_it_and_fitted_it_carries(
    way: int, wing: str, is_saved: bool
) -> None:
    small, large = (turning(wing, *size, is_saved)[::way] for size in ((5, 2), (7, 3)))
    found = paritree.align(Pair(*small, (TURNED,)))
    with pytest.raises(WeightsError) as caught:
        paritree.carry(*large, found)
    assert str(caught.value).endswith(
        "Nothing was carried. For the model in another size take `map.fit(shapes, port_shapes)`, with both models' "
        "shapes by path."
    )
    shapes = [
        {path: tuple(tensor.shape) for path, tensor in model.state_dict().items()}
        if isinstance(model, nn.Module)
        else {path: each.array.shape for path, each in paritree.wing(model).stored_tensors(model).items()}
        for model in large
    ]
    fitted = found.fit(shapes[0], shapes[1])
    pair = Pair(large[0], paritree.carry(*large, fitted), (TURNED,))
    assert paritree.check(pair, fitted, contracts=("forward", "values"), devices=("cpu",)).ok


def test_of_weights_that_fit_no_size_nothing_is_advised() -> None:
    pair = turning("nnx", 5, 2, False)
    found = paritree.align(Pair(*pair, (TURNED,)))
    weights = {path: tensor.detach().numpy() for path, tensor in pair[0].state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        found.carry(weights | {"enter.bias": np.zeros((5, 1), np.float32)})
    assert str(caught.value).endswith("enter.bias has shape (5, 1) and needs (5,). Nothing was carried.")
