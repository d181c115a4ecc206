"""What is special to the activations: derivatives at kinks, a threshold, PReLU's slopes, axes, and refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

from paritree.common import layers
from paritree.common.errors import InitializerError, SpecError
from paritree.common.initializers import Constant, Uniform
from paritree.common.layers import activations as spec
from paritree.common.spec import Block, Sequential, flow
from paritree.common.spec.expansion import table_of
from paritree.common.spec.layer import UNKNOWN, Layer
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import relative_error

from .case import Case
from .cases_activations import CASES, KINKS

EPS = float(np.finfo(np.float32).eps)
FLAX = ("linen", "nnx")
PLAIN = [case for case in CASES if case.spec.kind not in ("Sequential", "PReLU", "Dropout")]


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_repr_is_the_code(case: Case) -> None:
    assert eval(repr(case.spec), {**vars(layers), "Sequential": Sequential}) == case.spec


# Derivatives


def derivative_in_torch(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """The gradient of the weighted sum of what PyTorch's module gives, in float64."""
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    output = module(leaf)
    (output * torch.arange(output.numel()).reshape(output.shape).cos()).sum().backward()
    assert leaf.grad is not None
    return leaf.grad.numpy()


def derivative_in_jax(function: Callable[[jax.Array], jax.Array], x: np.ndarray) -> np.ndarray:
    """The same of a JAX function, in float32."""

    def weighted(value: jax.Array) -> jax.Array:
        output = function(value)
        return (output * jnp.cos(jnp.arange(output.size)).reshape(output.shape)).sum()

    return np.asarray(jax.grad(weighted)(jnp.asarray(x)))


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_the_derivative_is_that_of_torch_at_every_kink(case: Case) -> None:
    (x,) = case.inputs
    expected = derivative_in_torch(case.torch(), x)
    for name in FLAX:
        model: Any = load_wing(name).build(case.spec)
        function = model if name == "nnx" else lambda value, model=model: model[0].apply(model[1], value)
        assert relative_error(derivative_in_jax(function, x), expected) <= 32 * EPS


def test_where_the_functions_of_jax_have_another_derivative() -> None:
    """So that a test that passes says something of ours: JAX's own differ at 0 and at the bounds."""
    x = np.array(KINKS, np.float32)
    for stock, function, places in (
        (nn.LeakyReLU(), jax.nn.leaky_relu, {0.0}),
        (nn.Hardtanh(), jax.nn.hard_tanh, {-1.0, 1.0}),
    ):
        differs = np.abs(derivative_in_torch(stock, x) - derivative_in_jax(function, x)) > 1e-6
        assert set(x[differs].tolist()) == places


def test_softplus_is_the_identity_above_its_threshold() -> None:
    """In float64, where what PyTorch leaves out shows: exp(-x), 1e-9 of 20.5."""
    x = np.array([19.0, 20.0, 20.5, 25.0])
    expected = nn.Softplus()(torch.tensor(x)).numpy()
    assert (expected[2:] == x[2:]).all()
    wing = load_wing("nnx")
    with wing.running("cpu", dtype="float64"):
        np.testing.assert_allclose(wing.call(wing.build(spec.Softplus(), dtype="float64"), (x,)), expected, rtol=1e-15)
        own = np.asarray(jax.nn.softplus(jnp.asarray(x)))
    np.testing.assert_allclose((own - expected)[2:], np.exp(-x[2:]), rtol=1e-3)


# PReLU


@pytest.mark.parametrize("name", FLAX)
def test_one_slope_is_the_array_of_flax_s_class_and_several_are_one_of_ours(name: str) -> None:
    wing = load_wing(name)
    found = {}
    for slopes in (1, 4):
        model = wing.build(spec.PReLU(slopes))
        (row,) = wing.table(model)
        array = wing.get_parameter(model, "weight")
        assert isinstance(model[0] if name == "linen" else model, {"linen": linen.PReLU, "nnx": nnx.PReLU}[name])
        found[slopes] = (row.path, row.shape, row.native_path, row.layout.pattern, tuple(array.shape))
    assert found == {
        1: ("weight", (1,), ("negative_slope",), "1 -> ", ()),
        4: ("weight", (4,), ("negative_slope",), "... -> ...", (4,)),
    }


@pytest.mark.parametrize("name", FLAX)
def test_the_slope_of_flax_s_own_class_has_the_name_of_torch(name: str) -> None:
    x = jnp.zeros((2, 3))
    own: Any = nnx.PReLU() if name == "nnx" else (linen.PReLU(), linen.PReLU().init(jax.random.key(0), x))
    (row,) = load_wing(name).table(own)
    assert (row.path, row.shape, row.layer) == ("weight", (1,), "PReLU")
    np.testing.assert_array_equal(load_wing(name).weights(own)["weight"], np.float32([0.01]))


def test_what_linen_draws_itself() -> None:
    for slopes in (1, 3):
        module, variables = load_wing("linen").build(spec.PReLU(slopes, Constant(0.5)))
        drawn = module.init(jax.random.key(0), jnp.zeros((2, 3)))
        assert jax.tree.all(jax.tree.map(np.array_equal, drawn, variables))
        assert jax.tree.leaves(drawn)[0].shape == (() if slopes == 1 else (3,))


@pytest.mark.parametrize("name", WINGS)
def test_slopes_begin_at_what_the_spec_says(name: str) -> None:
    wing = load_wing(name)
    model = wing.build(Sequential(spec.PReLU(), spec.PReLU(3, Constant(0.5)), spec.PReLU(3, Uniform(0.1, 0.2))))
    weights = wing.weights(model)
    np.testing.assert_array_equal(weights["0.weight"], np.float32([0.25]))
    np.testing.assert_array_equal(weights["1.weight"], np.float32([0.5] * 3))
    assert ((weights["2.weight"] >= 0.1) & (weights["2.weight"] < 0.2)).all()
    assert len(set(weights["2.weight"])) == 3


def test_what_flax_s_class_begins_with() -> None:
    """Its one slope at 0.01; of several it has none."""
    native = spec.PReLU.native_of("weight")
    assert native is not None
    assert [native.default(spec.PReLU(slopes)) for slopes in (1, 2)] == [Constant(0.01), None]
    assert [row.initializer for row in table_of(spec.PReLU(2))] == [Constant(0.25)]


@pytest.mark.parametrize("name", WINGS)
def test_slopes_are_sampled_as_they_are_built(name: str) -> None:
    wing = load_wing(name)
    for layer in (spec.PReLU(), spec.PReLU(weight_init=Uniform(0.1, 0.2)), spec.PReLU(3, Uniform(0.1, 0.2))):
        (row,) = table_of(layer)
        samples = wing.sample(row, seeds=range(3))
        assert samples.shape == (3, layer.slopes)
        np.testing.assert_array_equal(samples[1], wing.weights(wing.build(layer, seed=1))["weight"])


# Axes


def test_the_axis_counts_the_batch() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    for name in WINGS:
        wing = load_wing(name)
        for axis in (0, 1, 2, -1, -3):
            found = wing.call(wing.build(spec.Softmax(axis)), (x,))
            np.testing.assert_allclose(found.sum(axis), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("axis", "features", "expected"),
    [
        (-1, (3, 8), (3, 4)),
        (1, (8, 3), (4, 3)),
        (2, (3, None), (3, None)),
        (-2, (8, 6, 5), (8, 3, 5)),
        (-1, (..., 8), UNKNOWN),
        (-1, UNKNOWN, UNKNOWN),
    ],
)
def test_a_glu_halves_its_axis(axis: int, features: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    assert flow(Sequential(spec.GLU(axis)), features)[1] == expected


# Refusals

BAD_SETTINGS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "slopes": (lambda: spec.PReLU(0), SpecError, "expected PReLU.slopes as a positive whole number, found 0."),
    "initializer": (
        lambda: spec.PReLU(1, 0.1),  # type: ignore[arg-type]
        InitializerError,
        "weight: expected an initializer such as Normal(0.0, 0.01), found 0.1.",
    ),
    "alpha of ELU": (
        lambda: spec.ELU(float("inf")),
        SpecError,
        "expected ELU.alpha as a finite number, found inf.",
    ),
    "alpha of CELU": (lambda: spec.CELU(0), SpecError, "expected CELU.alpha as a positive number, found 0."),
    "beta": (lambda: spec.Softplus(-1), SpecError, "expected Softplus.beta as a positive number, found -1."),
    "bounds": (
        lambda: spec.Hardtanh(1, 1),
        SpecError,
        "expected Hardtanh.low below its high, found 1.0 and 1.0.",
    ),
    "axis": (
        lambda: spec.Softmax(1.0),  # type: ignore[arg-type]
        SpecError,
        "expected Softmax.axis as a whole number, found 1.0.",
    ),
    "truth": (
        lambda: spec.GLU(True),
        SpecError,
        "expected GLU.axis as a whole number, found True.",
    ),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_setting_that_makes_no_layer_is_refused(name: str) -> None:
    make, error, message = BAD_SETTINGS[name]
    with pytest.raises(error, match=exactly(message)):
        make()


BAD_INPUTS: dict[str, tuple[Layer, tuple[Any, ...], str]] = {
    "channels": (
        spec.PReLU(4),
        (3, 4),
        "expected an input with an axis 1 of length 4 (slopes), found (batch, 3, 4). "
        "Set slopes to the length of axis 1, or to 1.",
    ),
    "no channels": (
        spec.PReLU(4),
        (),
        "expected an input with an axis 1 of length 4 (slopes), found (batch). "
        "Set slopes to the length of axis 1, or to 1.",
    ),
    "axis": (spec.Softmax(3), (4, 5), "expected an input with the axis 3 of Softmax, found (batch, 4, 5)."),
    "axis from the end": (
        spec.LogSoftmax(-4),
        (4, 5),
        "expected an input with the axis -4 of LogSoftmax, found (batch, 4, 5).",
    ),
    "halves": (spec.GLU(), (4, 5), "expected an even length along axis -1 of GLU, found 5."),
    "batch": (
        spec.GLU(-3),
        (4, 5),
        "expected an axis of GLU besides the batch, found axis -3. The batch has no halves.",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_input_that_cannot_fit_is_refused(name: str) -> None:
    layer, features, message = BAD_INPUTS[name]
    with pytest.raises(SpecError, match=exactly(f"act: {message}")):
        flow(Block({"act": layer}), features)


@pytest.mark.parametrize("name", FLAX)
@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 1), (4,), (2,), (2, 3)], ids=str)
def test_a_prelu_refuses_channels_that_are_not_its_own_when_called(name: str, shape: tuple[int, ...]) -> None:
    """One channel, or none, would be stretched to four; PyTorch raises."""
    x = np.zeros(shape, np.float32)
    with pytest.raises(RuntimeError):
        nn.PReLU(4)(torch.tensor(x))
    wing = load_wing(name)
    found = ", ".join(("batch", *map(str, shape[1:])))
    message = (
        f"expected an input with an axis 1 of length 4 (slopes), found ({found}). "
        "Set slopes to the length of axis 1, or to 1."
    )
    for model, path in ((spec.PReLU(4), ""), (Block({"act": spec.PReLU(4)}), "act: ")):
        with pytest.raises(SpecError) as caught:
            wing.call(wing.build(model), (x,))
        assert str(caught.value) == f"{path}{message}"
    np.testing.assert_array_equal(wing.call(wing.build(spec.PReLU()), (x - 1,)), x - 0.25)


@pytest.mark.parametrize(
    ("layer", "features"),
    [
        (spec.PReLU(4), UNKNOWN),
        (spec.PReLU(4), (None, 3)),
        (spec.PReLU(4), (4,)),
        (spec.PReLU(), ()),
        (spec.Softmax(5), (..., 3)),
        (spec.Softmax(-3), (4, 5)),
    ],
    ids=str,
)
def test_an_input_that_may_fit_goes_through_unchanged(layer: Layer, features: tuple[Any, ...]) -> None:
    assert flow(layer, features)[1] == features
