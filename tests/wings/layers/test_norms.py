"""What is special to the normalizations: their settings in Flax, refusals, modes, and statistics over several steps."""

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

from paritree.common.errors import NotExpressibleError, ShapeError, SpecError
from paritree.common.initializers import Constant, Ones, Zeros
from paritree.common.layers import norms
from paritree.common.spec import Block, Sequential, flow
from paritree.common.spec.expansion import table_of
from paritree.common.spec.layer import UNKNOWN, Layer
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed, relative_error

from .cases_norms import CASES, inputs

FLAX = ("linen", "nnx")
EPS = float(np.finfo(np.float32).eps)


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def stock_after(module: nn.Module, *batches: np.ndarray) -> dict[str, np.ndarray]:
    """The buffers of a module of PyTorch's after training on some batches."""
    for batch in batches:
        module(torch.tensor(batch))
    return {path: buffer.float().numpy() for path, buffer in module.named_buffers()}


def trained(wing: Any, model: Any, *batches: np.ndarray) -> Any:
    """The model after a step on each batch that changes no parameter."""
    for batch in batches:
        model, _ = wing.step(model, (batch,), np.zeros_like(batch), learning_rate=0.0)
    return model


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = allowed(1)) -> bool:
    return relative_error(found, expected) <= tolerance


SETTINGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "LayerNorm": (
        norms.LayerNorm((3, 5), bias=False),
        {"epsilon": 1e-5, "reduction_axes": (-2, -1), "feature_axes": (-2, -1), "use_scale": True, "use_bias": False},
    ),
    "RMSNorm": (
        norms.RMSNorm(8),
        {"epsilon": EPS, "reduction_axes": (-1,), "feature_axes": (-1,), "use_scale": True},
    ),
    "GroupNorm": (norms.GroupNorm(2, 8), {"num_groups": 2, "epsilon": 1e-5, "use_scale": True, "use_bias": True}),
    "InstanceNorm": (
        norms.InstanceNorm2d(4),
        {"epsilon": 1e-5, "feature_axes": 1, "use_scale": False, "use_bias": False},
    ),
    "BatchNorm": (
        norms.BatchNorm2d(4, momentum=0.25),
        {"axis": 1, "epsilon": 1e-5, "momentum": 0.75, "use_scale": True, "use_bias": True},
    ),
    "BatchNorm-untracked": (
        norms.BatchNorm2d(4, track_running_stats=False),
        {"epsilon": 1e-5, "reduction_axes": (0, 2), "feature_axes": 1, "use_scale": True, "use_bias": True},
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_settings_in_flax(name: str) -> None:
    layer, expected = SETTINGS[name]
    assert layer.flax_settings("float32") == {**expected, "use_fast_variance": False}


def test_the_epsilon_of_an_rms_norm_is_that_of_the_type_it_computes_in() -> None:
    """Half precision is computed in float32, whose machine epsilon PyTorch then takes."""
    expected = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-23, "float16": 2.0**-23}
    for dtype, eps in expected.items():
        assert norms.RMSNorm(4).epsilon(dtype) == eps
        x = torch.full((1, 4), 1e-3, dtype=getattr(torch, dtype))
        y = nn.RMSNorm(4, elementwise_affine=False)(x)
        found = (x.double() / y.double()).square() - x.double().square()
        assert found.mean().item() == pytest.approx(eps, rel=0.01)
    assert norms.RMSNorm(4, 1e-6).epsilon("float64") == 1e-6


def test_one_shape_is_written_in_one_form() -> None:
    assert norms.LayerNorm(8) == norms.LayerNorm((8,)) == norms.LayerNorm(np.int64(8))  # type: ignore[arg-type]
    assert repr(norms.LayerNorm([np.int64(3), 5])) == "LayerNorm((3, 5))"  # type: ignore[list-item]
    assert repr(norms.RMSNorm((8,), offset=np.float32(1))) == "RMSNorm(8, offset=1.0)"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_repr_is_the_code(case: Any) -> None:
    assert eval(repr(case.spec), vars(norms)) == case.spec


def test_the_scale_begins_as_one_whatever_the_offset() -> None:
    found = {offset: norms.RMSNorm(4, offset=offset).parameters()[0].initializer for offset in (0, 1, 0.25)}
    assert found == {0: Ones(), 1: Constant(0.0), 0.25: Constant(0.75)}


def test_the_count_of_batches_keeps_its_own_type() -> None:
    rows = table_of(norms.BatchNorm1d(3), "float64")
    assert [(row.path, row.dtype, row.kind) for row in rows] == [
        ("weight", "float64", "parameter"),
        ("bias", "float64", "parameter"),
        ("running_mean", "float64", "buffer"),
        ("running_var", "float64", "buffer"),
        ("num_batches_tracked", "int64", "buffer"),
    ]
    assert rows["num_batches_tracked"].initializer == Zeros()


BAD_SETTINGS: dict[str, tuple[Callable[[], Any], str]] = {
    "no axis": (lambda: norms.LayerNorm(()), "expected LayerNorm.shape with at least one axis, found ()."),
    "axis": (
        lambda: norms.LayerNorm((3, 0)),
        "expected LayerNorm.shape as a positive whole number, found 0.",
    ),
    "text": (
        lambda: norms.RMSNorm("8"),  # type: ignore[arg-type]
        "expected RMSNorm.shape as a positive whole number, found '8'.",
    ),
    "eps": (
        lambda: norms.GroupNorm(2, 4, eps=-1e-5),
        "expected GroupNorm.eps as a finite number of at least 0, found -1e-05.",
    ),
    "eps of RMSNorm": (
        lambda: norms.RMSNorm(4, float("nan")),
        "expected RMSNorm.eps as a finite number of at least 0, or None, found nan.",
    ),
    "eps of BatchNorm": (lambda: norms.BatchNorm1d(4, 0), "expected BatchNorm1d.eps as a positive number, found 0."),
    "groups": (
        lambda: norms.GroupNorm(4, 6),
        "expected GroupNorm.channels as a multiple of groups, found 6 channels in 4 groups.",
    ),
    "momentum": (
        lambda: norms.BatchNorm2d(4, momentum=1.5),
        "expected BatchNorm2d.momentum in [0, 1], or None, found 1.5.",
    ),
    "affine": (
        lambda: norms.InstanceNorm1d(4, affine=1),  # type: ignore[arg-type]
        "expected InstanceNorm1d.affine as True or False, found 1.",
    ),
    "offset": (
        lambda: norms.RMSNorm(4, affine=False, offset=1),
        "expected RMSNorm.offset as 0 without a weight (affine=False), found 1.0. Drop one of the two settings.",
    ),
    "no number of axes": (
        lambda: norms.BatchNorm(4),
        "expected BatchNorm1d, BatchNorm2d or BatchNorm3d, found BatchNorm. Write the one you mean.",
    ),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_setting_that_makes_no_layer_is_refused(name: str) -> None:
    make, message = BAD_SETTINGS[name]
    with pytest.raises(SpecError, match=exactly(message)):
        make()


CHANNELS = "The channels are the first axis after the batch."
BAD_INPUTS: dict[str, tuple[Layer, tuple[Any, ...], str]] = {
    "width": (norms.LayerNorm(8), (5, 7), "expected an input of width 8 (shape of LayerNorm), found (batch, 5, 7)."),
    "axes": (
        norms.RMSNorm((3, 5)),
        (3, None, 4),
        "expected an input whose last axes are (3, 5) (shape of RMSNorm), found (batch, 3, ?, 4).",
    ),
    "too few axes": (
        norms.LayerNorm((3, 5)),
        (5,),
        "expected an input whose last axes are (3, 5) (shape of LayerNorm), found (batch, 5).",
    ),
    "channels": (
        norms.GroupNorm(2, 6),
        (5, 6),
        f"expected an input of 6 channels for GroupNorm, found (batch, 5, 6). {CHANNELS}",
    ),
    "no channels": (
        norms.GroupNorm(2, 6),
        (),
        f"expected an input of 6 channels for GroupNorm, found (batch). {CHANNELS}",
    ),
    "channels of a batch": (
        norms.BatchNorm2d(6),
        (5, 7, 7),
        f"expected an input of 6 channels for BatchNorm2d, found (batch, 5, 7, 7). {CHANNELS}",
    ),
    "more axes": (
        norms.BatchNorm1d(6),
        (6, 7, 7),
        "expected an input of 1 or 2 axes besides the batch for BatchNorm1d, found (batch, 6, 7, 7).",
    ),
    "fewer axes": (
        norms.BatchNorm3d(6),
        (6, 7, 7),
        "expected an input of 4 axes besides the batch for BatchNorm3d, found (batch, 6, 7, 7).",
    ),
    "no length": (
        norms.InstanceNorm1d(6),
        (6,),
        "expected an input of 2 axes besides the batch for InstanceNorm1d, found (batch, 6).",
    ),
    "more axes than known": (
        norms.InstanceNorm1d(6),
        (Ellipsis, 7, 7, 7),
        "expected an input of 2 axes besides the batch for InstanceNorm1d, found (batch, ..., 7, 7, 7).",
    ),
    "one value": (
        norms.InstanceNorm2d(6),
        (6, 1, 1),
        "expected more than one value per channel for InstanceNorm2d, found (batch, 6, 1, 1). "
        "The one value would be its own mean, and the output 0.",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_input_that_cannot_fit_is_refused(name: str) -> None:
    layer, features, message = BAD_INPUTS[name]
    with pytest.raises(SpecError, match=exactly(f"norm: {message}")):
        flow(Block({"norm": layer}), features)


FITTING: tuple[tuple[Layer, tuple[Any, ...]], ...] = (
    (norms.LayerNorm((3, 5)), UNKNOWN),
    (norms.LayerNorm((3, 5)), (..., 5)),
    (norms.LayerNorm(5), (None, None)),
    (norms.GroupNorm(1, 6), (..., 4)),
    (norms.BatchNorm1d(6), (6,)),
    (norms.BatchNorm1d(6), (6, None)),
    (norms.BatchNorm2d(6), (..., 8, 8)),
    (norms.InstanceNorm2d(6), (6, None, 1)),
)


@pytest.mark.parametrize(("layer", "features"), FITTING, ids=str)
def test_an_input_that_may_fit_goes_through_unchanged(layer: Layer, features: tuple[Any, ...]) -> None:
    assert flow(Sequential(layer), features)[1] == features


NOT_IN_FLAX: dict[str, tuple[Layer, str]] = {
    "momentum": (
        norms.BatchNorm2d(4, momentum=None),
        "0: expected a BatchNorm2d with a fixed momentum, since Flax's BatchNorm has no average over all batches, "
        "found momentum=None. Give a number, such as 0.1.",
    ),
    "statistics": (
        norms.InstanceNorm1d(4, track_running_stats=True),
        "0: expected an InstanceNorm1d without running statistics, since Flax's InstanceNorm keeps none, "
        "found track_running_stats=True. Normalize by each sample in inference, too.",
    ),
}


@pytest.mark.parametrize("setting", NOT_IN_FLAX)
@pytest.mark.parametrize("name", FLAX)
def test_what_flax_does_not_have_is_refused_when_the_wing_builds_it(setting: str, name: str) -> None:
    layer, message = NOT_IN_FLAX[setting]
    with pytest.raises(NotExpressibleError, match=exactly(message)):
        load_wing(name).build(Sequential(layer))


def test_a_momentum_that_nothing_uses_is_no_reason_to_refuse() -> None:
    for name in FLAX:
        load_wing(name).build(norms.BatchNorm1d(4, momentum=None, track_running_stats=False))
        load_wing(name).build(norms.InstanceNorm1d(4, momentum=None))


TORCH_ONLY: dict[str, tuple[Layer, Callable[[], nn.Module]]] = {
    "cumulative": (norms.BatchNorm1d(4, momentum=None), lambda: nn.BatchNorm1d(4, momentum=None)),
    "instance": (
        norms.InstanceNorm1d(4, track_running_stats=True),
        lambda: nn.InstanceNorm1d(4, track_running_stats=True),
    ),
}


@pytest.mark.parametrize("name", TORCH_ONLY)
def test_the_torch_wing_has_what_flax_does_not(name: str) -> None:
    layer, stock = TORCH_ONLY[name]
    wing = load_wing("torch")
    batches = [inputs(3, 4, 5)[0] + shift for shift in range(3)]
    found = wing.weights(trained(wing, wing.build(layer), *batches))
    expected = stock_after(stock(), *batches)
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert expected["num_batches_tracked"] == (3 if name == "cumulative" else 0)


ONE_VALUE: dict[str, tuple[Layer, tuple[int, ...], Callable[[], nn.Module]]] = {
    "BatchNorm1d": (norms.BatchNorm1d(4), (1, 4), lambda: nn.BatchNorm1d(4)),
    "BatchNorm2d": (norms.BatchNorm2d(4), (1, 4, 1, 1), lambda: nn.BatchNorm2d(4)),
    "untracked": (
        norms.BatchNorm1d(4, track_running_stats=False),
        (1, 4),
        lambda: nn.BatchNorm1d(4, track_running_stats=False),
    ),
    "InstanceNorm2d": (norms.InstanceNorm2d(4), (3, 4, 1, 1), lambda: nn.InstanceNorm2d(4)),
    "GroupNorm": (norms.GroupNorm(4, 4), (1, 4), lambda: nn.GroupNorm(4, 4)),
}


@pytest.mark.parametrize("kind", ONE_VALUE)
def test_one_value_for_a_mean_is_refused_in_training_as_in_torch(kind: str) -> None:
    layer, shape, stock = ONE_VALUE[kind]
    x = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match="Expected more than 1"):
        stock()(torch.tensor(x))
    for name in FLAX:
        wing = load_wing(name)
        model = wing.build(Block({"norm": layer}))
        with pytest.raises(ShapeError) as caught:
            wing.step(model, (x,), x)
        assert str(caught.value) == (
            f"norm: expected more than one value for each mean of {layer.kind}, found an input {shape}. "
            "The one value would be its own mean, and the output 0 without the bias."
        )


def test_one_value_is_refused_in_inference_where_the_input_gives_the_mean() -> None:
    for kind, (layer, shape, _) in ONE_VALUE.items():
        x = np.ones(shape, np.float32)
        for wing in map(load_wing, WINGS):
            if kind.startswith("BatchNorm"):
                assert wing.call(wing.build(layer), (x,)).shape == shape
            else:
                with pytest.raises(ValueError, match="more than"):
                    wing.call(wing.build(layer), (x,))


@pytest.mark.parametrize("name", FLAX)
def test_a_call_with_other_axes_is_refused(name: str) -> None:
    wing = load_wing(name)
    for layer, shape in ((norms.BatchNorm2d(4), (3, 4)), (norms.InstanceNorm1d(4), (3, 4))):
        axes = 3 if isinstance(layer, norms.BatchNorm2d) else 2
        with pytest.raises(ShapeError) as caught:
            wing.call(wing.build(layer), (np.ones(shape, np.float32),))
        expected = f"an input of {axes} axes besides the batch for {layer.kind}"
        assert str(caught.value) == f"expected {expected}, found shape {shape}."


@pytest.mark.parametrize("name", WINGS)
def test_running_statistics_over_several_batches_are_those_of_torch(name: str) -> None:
    wing = load_wing(name)
    batches = [inputs(3, 4, 2, 2)[0] * scale for scale in (1, 2, 5)]
    model = trained(wing, wing.build(norms.BatchNorm2d(4, momentum=0.3)), *batches)
    expected = stock_after(nn.BatchNorm2d(4, momentum=0.3), *batches)
    found = wing.weights(model)
    for path, array in expected.items():
        assert close(found[path], array), path
    assert found["num_batches_tracked"] == 3


@pytest.mark.parametrize("name", WINGS)
def test_a_layer_called_twice_moves_twice(name: str) -> None:
    wing = load_wing(name)
    twice = Block({"norm": norms.BatchNorm1d(4)}, forward="def forward(x): return norm(norm(x) + x)")
    (x,) = inputs(6, 4)
    found = wing.weights(trained(wing, wing.build(twice), x))
    stock = nn.BatchNorm1d(4)
    stock(stock(torch.tensor(x)) + torch.tensor(x))
    assert found["norm.num_batches_tracked"] == 2
    for path, buffer in stock.named_buffers():
        assert close(found[f"norm.{path}"], buffer.numpy()), path


@pytest.mark.parametrize("name", WINGS)
def test_half_precision_stays_half_precision(name: str) -> None:
    """Flax would keep its statistics in float32; the wings round them where PyTorch does."""
    wing = load_wing(name)
    model = wing.build(norms.BatchNorm1d(4), dtype="bfloat16")
    types = [row.dtype for row in wing.table(model)]
    assert types[:4] == ["bfloat16"] * 4
    x = np.asarray(jnp.asarray(inputs(6, 4)[0], jnp.bfloat16))
    model, _ = wing.step(model, (x,), np.zeros_like(x), learning_rate=0.0)
    assert [row.dtype for row in wing.table(model)] == types
    stock = nn.BatchNorm1d(4, dtype=torch.bfloat16)
    stock(torch.tensor(x.astype(np.float32)).bfloat16())
    expected = {path: buffer.float().numpy() for path, buffer in stock.named_buffers()}
    for path, array in wing.weights(model).items():
        if path in expected:
            assert close(array, expected[path], 2**-7), path  # one unit in the last place


@pytest.mark.parametrize("name", WINGS)
def test_double_precision_is_double_precision(name: str) -> None:
    wing = load_wing(name)
    (x,) = (array.astype(np.float64) for array in inputs(6, 4))
    with wing.running(dtype="float64"):
        found = wing.weights(trained(wing, wing.build(norms.BatchNorm1d(4), dtype="float64"), x))
        small = wing.call(wing.build(norms.RMSNorm(4), dtype="float64"), (x * 1e-8,))
    stock = nn.BatchNorm1d(4, dtype=torch.float64)
    stock(torch.tensor(x))
    for path, buffer in stock.named_buffers():
        assert close(found[path], buffer.numpy(), 1e-14), path
    assert close(small, nn.RMSNorm(4, dtype=torch.float64)(torch.tensor(x * 1e-8)).detach().numpy(), 1e-14)


def test_linen_trains_where_the_statistics_are_mutable() -> None:
    module, variables = load_wing("linen").build(norms.BatchNorm1d(4))
    (x,) = map(jnp.asarray, inputs(6, 4))
    inference = module.apply(variables, x)
    np.testing.assert_allclose(inference, x / np.sqrt(np.float32(1 + 1e-5)), rtol=1e-6)
    output, state = jax.jit(lambda given, x: module.apply(given, x, mutable=["batch_stats"]))(variables, x)
    np.testing.assert_allclose(output.mean(0), 0, atol=1e-6)
    assert state["batch_stats"]["num_batches_tracked"] == 1
    # Other collections that a caller opens make no training of it.
    output, state = module.apply(variables, x, mutable=["intermediates"])
    np.testing.assert_array_equal(output, inference)


def test_linen_begins_with_statistics_that_no_batch_has_moved() -> None:
    module, variables = load_wing("linen").build(norms.BatchNorm1d(4))
    made = module.init(jax.random.key(0), jnp.ones((6, 4)))
    assert jax.tree.structure(made) == jax.tree.structure(variables)
    for found, expected in zip(jax.tree.leaves(made), jax.tree.leaves(variables), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_nnx_trains_unless_it_uses_the_running_average() -> None:
    model = load_wing("nnx").build(norms.BatchNorm1d(4))
    (x,) = map(jnp.asarray, inputs(6, 4))
    assert model.use_running_average
    inference = model(x)
    assert model.num_batches_tracked[...] == 0
    model.train()
    np.testing.assert_allclose(nnx.jit(lambda module, x: module(x))(model, x).mean(0), 0, atol=1e-6)
    assert model.num_batches_tracked[...] == 1
    model.eval()
    assert not np.allclose(model(x), inference)
    assert model.num_batches_tracked[...] == 1


OWN: dict[str, tuple[Callable[[], Any], Callable[[], Any], tuple[int, ...], list[str], str]] = {
    "LayerNorm": (linen.LayerNorm, lambda: nnx.LayerNorm(6, rngs=nnx.Rngs(0)), (2, 6), ["weight", "bias"], "LayerNorm"),
    "RMSNorm": (linen.RMSNorm, lambda: nnx.RMSNorm(6, rngs=nnx.Rngs(0)), (2, 6), ["weight"], "RMSNorm"),
    "GroupNorm": (
        lambda: linen.GroupNorm(3),
        lambda: nnx.GroupNorm(6, 3, rngs=nnx.Rngs(0)),
        (2, 6),
        ["weight", "bias"],
        "GroupNorm",
    ),
    "InstanceNorm": (
        linen.InstanceNorm,
        lambda: nnx.InstanceNorm(6, rngs=nnx.Rngs(0)),
        (2, 5, 6),
        ["weight", "bias"],
        "InstanceNorm",
    ),
    "BatchNorm": (
        lambda: linen.BatchNorm(use_running_average=True),
        lambda: nnx.BatchNorm(6, rngs=nnx.Rngs(0)),
        (2, 6),
        ["weight", "bias", "running_mean", "running_var"],
        "BatchNorm",
    ),
}


@pytest.mark.parametrize("kind", OWN)
def test_modules_of_flax_itself_are_read_under_torchs_names(kind: str) -> None:
    own_linen, own_nnx, shape, expected, word = OWN[kind]
    module = own_linen()
    models = {"linen": (module, module.init(jax.random.key(0), jnp.ones(shape))), "nnx": own_nnx()}
    for name, model in models.items():
        rows = load_wing(name).table(model)
        assert [(row.path, row.layer) for row in rows] == [(path, word) for path in expected], name
