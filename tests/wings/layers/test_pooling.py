"""Pooling: sizes, values and gradients are PyTorch's in every setting, ties included; what does not fit is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import nn

from paritree.common import layers as spec
from paritree.common.errors import SpecError
from paritree.common.spec import UNKNOWN, Sequential, flow
from paritree.conformance import load_wing
from paritree.impl_jax.functions import POOLING

GEOMETRIES = [
    setting
    for setting in itertools.product((1, 2, 3, 5), (None, 1, 2, 3), (0, 1, 2), (1, 2, 3), (False, True))
    if 2 * setting[2] <= setting[0]
]
POOLS = (spec.MaxPool1d, spec.MaxPool2d, spec.MaxPool3d, spec.AvgPool1d, spec.AvgPool2d, spec.AvgPool3d)
ADAPTIVE = (spec.AdaptiveAvgPool1d, spec.AdaptiveAvgPool2d, spec.AdaptiveAvgPool3d)
ADAPTIVE += (spec.AdaptiveMaxPool1d, spec.AdaptiveMaxPool2d, spec.AdaptiveMaxPool3d)


def function(layer: Any) -> Any:
    """What both Flax wings call for the layer."""
    return next(POOLING[kind] for kind in type(layer).__mro__ if kind in POOLING)(layer)


def stock(layer: Any) -> nn.Module:
    """PyTorch's own class, by the code that builds the layer."""
    return eval(repr(layer), vars(nn))


def tied(*shape: int) -> np.ndarray:
    """Small whole numbers, of which many are equal."""
    return np.random.default_rng(0).integers(-2, 3, shape).astype(np.float32)


def compare(layer: Any, x: np.ndarray) -> tuple[float, float]:
    """The relative errors of the Flax wings' value and gradient against PyTorch's."""
    into = torch.tensor(x, requires_grad=True)
    expected = stock(layer)(into)
    # Whole numbers, whose sums are exact in any order.
    weight = np.random.default_rng(1).integers(1, 9, expected.shape).astype(np.float32)
    expected.backward(torch.tensor(weight))
    found, back = jax.vjp(jax.jit(function(layer)), x)
    assert found.shape == expected.shape
    assert into.grad is not None
    return error(found, expected.detach()), error(back(weight)[0], into.grad)


def error(found: Any, expected: Any) -> float:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("size", [1, 2, 5, 7])
@pytest.mark.parametrize("kind", ["MaxPool1d", "AvgPool1d"])
def test_the_size_of_the_output_is_pytorch_s_in_every_geometry(kind, size):
    for kernel, stride, padding, dilation, ceil in GEOMETRIES:
        settings: dict[str, Any] = {"stride": stride, "padding": padding, "ceil_mode": ceil}
        if kind == "MaxPool1d":
            settings["dilation"] = dilation
        layer = getattr(spec, kind)(kernel, **settings)
        try:
            expected = tuple(stock(layer)(torch.zeros(1, 3, size, device="meta")).shape[1:])
        except RuntimeError:
            with pytest.raises(SpecError, match="expected an input that the window of"):
                layer.out((3, size), "pool")
        else:
            assert layer.out((3, size), "pool") == expected, (kernel, stride, padding, dilation, ceil)


@pytest.mark.parametrize(
    "layer",
    [
        spec.MaxPool1d(3, 2, 1),
        spec.MaxPool1d(3, 1, 1, dilation=2),
        spec.MaxPool2d((2, 3), (3, 1), (0, 1), ceil_mode=True),
        spec.MaxPool2d(2, 1, 1, dilation=(3, 4)),
        spec.MaxPool2d(3, (2, 3), 1, dilation=(1, 2), ceil_mode=True),
        spec.MaxPool3d(2, (1, 2, 3), 1),
        spec.AdaptiveMaxPool1d(3),
        spec.AdaptiveMaxPool2d((3, 8)),
        spec.AdaptiveMaxPool3d((2, 3, None)),
    ],
    ids=repr,
)
def test_the_greatest_of_a_window_is_the_first_one_for_the_gradient_too(layer):
    assert compare(layer, tied(2, 3, *(7, 6, 5)[: layer.rank])) == (0.0, 0.0)


@pytest.mark.parametrize(
    "layer",
    [
        spec.AvgPool1d(3, 2, 1),
        spec.AvgPool1d(5, 3, 2, ceil_mode=True),
        spec.AvgPool1d(5, 3, 2, ceil_mode=True, count_include_pad=False),
        spec.AvgPool2d((2, 3), (3, 1), (0, 1), count_include_pad=False),
        spec.AvgPool2d(3, 2, 1, ceil_mode=True),
        spec.AvgPool3d(2, (1, 2, 3), 1, ceil_mode=True),
        spec.AdaptiveAvgPool1d(3),
        spec.AdaptiveAvgPool2d((3, 8)),
        spec.AdaptiveAvgPool3d((2, 3, None)),
        spec.AdaptiveAvgPool3d(1),
    ],
    ids=repr,
)
def test_the_mean_of_a_window_counts_what_pytorch_counts(layer):
    x = np.random.default_rng(2).normal(size=(2, 3, *(7, 6, 5)[: layer.rank])).astype(np.float32)
    assert max(compare(layer, x)) < 4 * np.finfo(np.float32).eps


def test_a_window_that_is_all_padding_or_holds_infinities_is_as_in_pytorch():
    x = np.array([[[-math.inf, -math.inf, 1, math.nan, 2, math.inf]]], np.float32)
    for layer in (spec.MaxPool1d(2, 1, 1), spec.MaxPool1d(2, 1, 1, dilation=2), spec.AdaptiveMaxPool1d(4)):
        expected = stock(layer)(torch.tensor(x)).numpy()
        np.testing.assert_array_equal(np.asarray(function(layer)(x)), expected, err_msg=repr(layer))


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "layer", [spec.AdaptiveAvgPool1d(3), spec.AdaptiveAvgPool2d((3, 4)), spec.AdaptiveAvgPool3d((2, 3, 5))], ids=repr
)
def test_a_value_that_is_not_finite_stays_in_the_windows_that_hold_it(layer, bad):
    x = tied(1, 2, *(7, 6, 5)[: layer.rank])
    x[0, 1][(2,) * layer.rank] = bad
    expected = stock(layer)(torch.tensor(x)).numpy()
    found = np.asarray(function(layer)(x))
    assert 0 < np.isfinite(expected).sum() < expected.size
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_array_equal(found[~np.isfinite(expected)], expected[~np.isfinite(expected)])


def test_infinities_of_both_signs_are_nan_where_one_window_holds_both():
    x = np.array([[[math.inf, 1, 2, -math.inf, 3, 4]]], np.float32)
    for count in (1, 2, 3, 4):
        layer = spec.AdaptiveAvgPool1d(count)
        np.testing.assert_array_equal(function(layer)(x), stock(layer)(torch.tensor(x)).numpy(), err_msg=repr(layer))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_stays_in_its_window(bad):
    layer = spec.AdaptiveAvgPool2d((2, 3))
    x, weight = tied(1, 1, 5, 6), np.ones((1, 1, 2, 3), np.float32)
    weight[0, 0, 0, 1] = bad
    into = torch.tensor(x, requires_grad=True)
    stock(layer)(into).backward(torch.tensor(weight))
    assert into.grad is not None
    (found,) = jax.vjp(function(layer), x)[1](weight)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(into.grad.numpy()))


@pytest.mark.parametrize("name", ["linen", "nnx"])
@pytest.mark.parametrize("kind", [*POOLS, *ADAPTIVE])
def test_an_input_of_another_number_of_axes_is_refused_when_called(name, kind):
    layer, wing = kind(2), load_wing(name)
    axes = ", ".join(("depth", "height", "width")[-layer.rank :])
    model = wing.build(layer)
    for shape in ((2, 3, *(4,) * (layer.rank - 1)), (2, 3, *(4,) * (layer.rank + 1))):
        with pytest.raises(SpecError) as caught:
            wing.call(model, (np.zeros(shape, np.float32),))
        found = ", ".join(map(str, shape[1:]))
        assert str(caught.value) == (
            f"expected an input (batch, channels, {axes}) of {kind.__name__}, found (batch, {found})."
        )


@pytest.mark.parametrize("kind", [*POOLS, *ADAPTIVE])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_type_of_the_input_is_kept(kind, dtype):
    layer = kind(2)
    x = jax.ShapeDtypeStruct((1, 2, *(4,) * layer.rank), dtype)
    assert jax.eval_shape(function(layer), x).dtype == dtype


@pytest.mark.parametrize("name", ["torch", "linen", "nnx"])
@pytest.mark.parametrize("layer", [kind(2) for kind in (*POOLS, *ADAPTIVE)], ids=repr)
def test_a_pooling_layer_alone_is_a_model_in_every_wing(name, layer):
    x = tied(2, 3, *(4,) * layer.rank)
    wing = load_wing(name)
    np.testing.assert_array_equal(wing.call(wing.build(layer), (x,)), stock(layer)(torch.tensor(x)).numpy())


def test_sizes_that_are_not_known_stay_so():
    assert spec.MaxPool2d(2).out(UNKNOWN, "pool") == (None, None, None)
    assert spec.MaxPool2d(2).out((3, None, 6), "pool") == (3, None, 3)
    assert spec.AvgPool2d(2).out((..., 6), "pool") == (None, None, 3)
    assert spec.AdaptiveAvgPool2d((None, 3)).out((5, 8, None), "pool") == (5, 8, 3)
    assert spec.AdaptiveMaxPool2d(4).out(UNKNOWN, "pool") == (None, 4, 4)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (spec.MaxPool2d((3, 3), 3), "MaxPool2d(3)"),
        (spec.MaxPool2d([3, 2], stride=(3, 2), padding=(1, 1)), "MaxPool2d((3, 2), padding=1)"),
        (spec.MaxPool1d(np.int64(3), (1,), dilation=2), "MaxPool1d(3, stride=1, dilation=2)"),
        (spec.AvgPool2d(2, count_include_pad=False), "AvgPool2d(2, count_include_pad=False)"),
        (spec.AdaptiveAvgPool2d((2, 2)), "AdaptiveAvgPool2d(2)"),
        (spec.AdaptiveAvgPool2d([None, np.int64(2)]), "AdaptiveAvgPool2d((None, 2))"),
    ],
)
def test_equal_layers_are_written_alike(layer, text):
    assert repr(layer) == text
    assert eval(text, vars(spec)) == layer


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (
            lambda: spec.MaxPool2d(0),
            "expected MaxPool2d.kernel_size as a whole number of at least 1, or 2 of them in a tuple, found 0.",
        ),
        (
            lambda: spec.AvgPool1d(2, stride=1.5),
            "expected AvgPool1d.stride as a whole number of at least 1, found 1.5.",
        ),
        (
            lambda: spec.AvgPool3d((2, 2)),
            "expected AvgPool3d.kernel_size as a whole number of at least 1, or 3 of them in a tuple, found (2, 2).",
        ),
        (
            lambda: spec.MaxPool2d(2, padding=2),
            "expected MaxPool2d.padding of at most half of 2, found 2.",
        ),
        (
            lambda: spec.MaxPool2d((2, 3), padding=(1, 2), dilation=2),
            "expected MaxPool2d.padding of at most half of (2, 3), found (1, 2).",
        ),
        (lambda: spec.MaxPool1d(2, ceil_mode=1), "expected MaxPool1d.ceil_mode as True or False, found 1."),
        (
            lambda: spec.AvgPool1d(2, count_include_pad=None),
            "expected AvgPool1d.count_include_pad as True or False, found None.",
        ),
        (
            lambda: spec.AdaptiveAvgPool1d(None),
            "expected AdaptiveAvgPool1d.output_size as a whole number of at least 1, found None.",
        ),
        (
            lambda: spec.AdaptiveMaxPool2d((None, 0)),
            "expected AdaptiveMaxPool2d.output_size as a whole number of at least 1, or 2 of them in a tuple, found 0.",
        ),
        (
            lambda: flow(Sequential(spec.MaxPool2d(2), spec.MaxPool2d(3)), (3, 4, 16)),
            "1: expected an input that the window of MaxPool2d fits into, found (batch, 3, 2, 8), of which it "
            "leaves (batch, 3, 0, 2). Make the kernel smaller, or the input or its padding larger.",
        ),
        (
            lambda: spec.AvgPool2d(2).out((3, 8), "pool"),
            "pool: expected an input (batch, channels, height, width) of AvgPool2d, found (batch, 3, 8).",
        ),
        (
            lambda: spec.AdaptiveAvgPool1d(2).out((8,), "pool"),
            "pool: expected an input (batch, channels, width) of AdaptiveAvgPool1d, found (batch, 8).",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, text):
    with pytest.raises(SpecError) as caught:
        build()
    assert str(caught.value) == text
