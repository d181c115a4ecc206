"""Layers that the spec does not know: nothing is guessed about their axes, and a call can show what they are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree import ChildNameError, InitializerError, NotExpressibleError, Rule, ShapeError, UsageError
from paritree.common.initializers import LeCun, Normal, Zeros
from paritree.common.spec import Layer
from paritree.common.wing.recognition import WINGS


class Compact(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.relu(linen.Dense(400)(x))
        return linen.Dense(1)(x)


INPUTS = (np.ones((2, 64), np.float32),)


@pytest.fixture
def compact() -> Any:
    module = Compact()
    return module, module.init(jax.random.key(0), INPUTS[0])


def test_a_fan_is_not_guessed_from_an_array_as_it_is_stored(compact: Any) -> None:
    wing = paritree.wing("linen")
    with pytest.raises(InitializerError) as caught:
        wing.initialize(compact, Rule(LeCun(), name="kernel"))
    assert str(caught.value) == (
        "Dense_0.kernel: expected a layer whose layout is known, for LeCun(distribution='truncated_normal'), found an "
        "array (64, 400) of a layer that is not known, kept as it is stored. Give the std itself (Normal, Uniform, "
        "TruncatedNormal), or for a Linen module `shown(model, inputs)`."
    )


def test_an_initializer_that_asks_for_no_axis_is_drawn(compact: Any) -> None:
    wing = paritree.wing("linen")
    drawn = wing.weights(wing.initialize(compact, [Rule(Normal(0.0, 0.5), name="kernel"), Rule(Zeros(), name="bias")]))
    assert abs(drawn["Dense_0.kernel"].std() - 0.5) < 0.01
    assert not drawn["Dense_0.bias"].any()


def test_shown_by_a_call_the_layers_are_known_everywhere(compact: Any) -> None:
    wing = paritree.wing("linen")
    model = wing.shown(compact, INPUTS)
    assert wing.table(model).paths == ("Dense_0.weight", "Dense_0.bias", "Dense_1.weight", "Dense_1.bias")
    model = wing.initialize(model, Rule(LeCun(), layer="Linear", name="weight"))
    weights = wing.weights(model)
    assert weights["Dense_0.weight"].shape == (400, 64)
    assert abs(weights["Dense_0.weight"].std() - 1 / 8) < 0.003
    model = wing.set_parameter(model, "Dense_1.bias", np.full(1, 7, np.float32))
    assert wing.get_parameter(model, "Dense_1.bias").item() == 7
    assert wing.native_path(model, "Dense_0.weight") == ("Dense_0", "kernel")
    model, _ = wing.step(model, INPUTS, np.zeros((2, 1), np.float32))
    assert "Dense_0.weight" in wing.table(wing.load(model, wing.weights(model)))


@pytest.mark.parametrize("wing", ["torch", "nnx"])
def test_the_other_wings_show_their_layers_anyway(wing: str) -> None:
    model = paritree.build(paritree.Linear(4, 2), wing)
    assert paritree.wing(wing).shown(model, INPUTS) is model


def test_a_layer_of_nnx_that_the_spec_has_not_keeps_its_layout_and_its_fans_unknown() -> None:
    model = nnx.LinearGeneral(3, (8, 8), rngs=nnx.Rngs(0))
    with pytest.raises(InitializerError, match=r"^kernel: expected a layer whose layout is known, for LeCun"):
        paritree.wing(model).initialize(model, Rule(LeCun(), name="kernel"))


class TwoWeights(nnx.Linear):
    """A Linear with a `weight` beside its kernel, which is a weight already."""

    def __init__(self) -> None:
        super().__init__(4, 2, rngs=nnx.Rngs(0))
        self.weight = nnx.Param(jnp.zeros(5))


def test_two_arrays_of_one_path_are_refused_and_not_dropped() -> None:
    wing = paritree.wing("nnx")
    for function in (wing.table, wing.weights):
        with pytest.raises(ChildNameError) as caught:
            function(TwoWeights())
        assert str(caught.value) == (
            "weight: expected one array under a path, found two, stored as 'kernel' and 'weight'. Rename one of the "
            "two in the model."
        )


def test_a_tree_with_two_arrays_of_one_path_is_refused() -> None:
    with pytest.raises(ChildNameError, match=r"^a\.b: expected one array under a path"):
        paritree.table({"a.b": np.zeros(1), "a": {"b": np.zeros(2)}})


class Linear(nnx.Module):
    """Another's Linear, whose kernel is (out, in) already."""

    def __init__(self) -> None:
        self.kernel = nnx.Param(jnp.zeros((2, 4)))


def test_a_class_that_only_bears_a_name_of_ours_is_not_taken_for_it() -> None:
    (row,) = paritree.table(Linear())
    assert (row.path, row.shape, row.layout.is_known) == ("kernel", (2, 4), False)
    assert row.layer == f"{__name__}.Linear"


class Sowing(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        self.sow("losses", "size", x.sum())
        return linen.Dense(2)(x)


def test_what_a_call_has_sown_is_no_state() -> None:
    module = Sowing()
    model = module, module.init(jax.random.key(0), INPUTS[0])
    assert paritree.table(model).paths == ("Dense_0.kernel", "Dense_0.bias")
    assert paritree.wing(model).weights(model).keys() == {"Dense_0.kernel", "Dense_0.bias"}


class Pair(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class LinenPair(linen.Module):
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return x, x


class NnxPair(nnx.Module):
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return x, x


@pytest.mark.parametrize("model", [Pair(), (LinenPair(), {}), NnxPair()])
def test_an_output_that_is_not_one_array(model: Any) -> None:
    wing = paritree.wing(model)
    for function in (
        lambda: wing.call(model, INPUTS),
        lambda: wing.value_and_gradients(model, INPUTS, INPUTS[0]),
        lambda: wing.step(model, INPUTS, INPUTS[0]),
    ):
        with pytest.raises(NotExpressibleError) as caught:
            function()
        assert str(caught.value) == (
            "expected a model whose output is one array, found tuple. Wrap the model in one that returns it."
        )


@pytest.mark.parametrize("wing", WINGS)
def test_targets_of_another_shape_are_refused_and_not_broadcast(wing: str) -> None:
    model = paritree.build(paritree.Linear(64, 3), wing)
    before = paritree.wing(wing).weights(model)
    with pytest.raises(ShapeError) as caught:
        paritree.wing(wing).step(model, INPUTS, np.zeros((2, 1), np.float32))
    assert str(caught.value) == "expected targets of the output's shape (2, 3), found shape (2, 1)."
    after = paritree.wing(wing).weights(model)
    assert all(np.array_equal(before[path], after[path]) for path in before)


def test_a_step_leaves_modes_and_gradients_as_they_were() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 3), torch.nn.Dropout(0.5)).train()
    model[1].eval()
    paritree.wing(model).step(model, INPUTS, np.zeros((2, 3), np.float32))
    assert [module.training for module in model.modules()] == [True, True, False]
    assert all(parameter.grad is None for parameter in model.parameters())
    dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    port = nnx.Sequential(nnx.Linear(64, 3, rngs=nnx.Rngs(0)), dropout)
    paritree.wing(port).step(port, INPUTS, np.zeros((2, 3), np.float32))
    assert port.layers[1].deterministic is False


@pytest.mark.parametrize("wing", WINGS)
def test_bad_arguments_are_refused_by_name(wing: str) -> None:
    functions, model = paritree.wing(wing), paritree.build(paritree.Linear(4, 2), wing)
    cases = {
        lambda: functions.set_parameter(model, "bias", [1.0, 2.0]): (
            "bias: expected an array of float32, found list. Make it one: np.asarray(...)."
        ),
        lambda: functions.load(model, None): "expected a mapping from paths to arrays, found NoneType.",
        lambda: functions.initialize(model, Zeros()): (
            "expected a Rule, or several, found Zeros(). Write Rule(initializer, under=..., layer=...)."
        ),
        lambda: Rule(3): "expected an initializer in Rule, found 3. Say, Rule(Normal(0.0, 0.02)).",
        lambda: paritree.build(3, wing): "expected a spec or a reference model, found int. For example Linear(4, 8).",
        lambda: paritree.table("mlp"): "mlp: expected a model, found a text. Reference models are in paritree.MODELS.",
    }
    for call, message in cases.items():
        with pytest.raises(paritree.ParitreeError) as caught:
            call()
        assert str(caught.value) == message


class Mine(Layer):
    """A layer of one's own, which no wing can build."""


@pytest.mark.parametrize("wing", WINGS)
def test_a_layer_that_a_wing_does_not_know_is_named_by_its_path(wing: str) -> None:
    with pytest.raises(NotExpressibleError, match=r"^1\.0: expected a layer that the \w+ wings? knows?, found Mine\."):
        paritree.build(paritree.Sequential(paritree.ReLU(), paritree.Sequential(Mine())), wing)


def test_seeds_above_32_bits_are_seeds_of_their_own() -> None:
    draws = {
        (wing, seed): paritree.wing(wing).draw(Normal(), (4,), seed=seed)
        for wing in WINGS
        for seed in (0, 2**32, 2**63, -1)
    }
    for wing in WINGS:
        first = np.asarray(draws[wing, 0])
        assert all(not np.array_equal(first, np.asarray(draws[wing, seed])) for seed in (2**32, 2**63, -1))


def test_a_usage_error_is_one_of_ours() -> None:
    assert issubclass(UsageError, paritree.ParitreeError)
