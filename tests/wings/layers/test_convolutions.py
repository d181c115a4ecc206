"""Convolutions: sizes are PyTorch's in every setting, settings become Flax's, and what does not fit is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

from paritree.common import layers as spec
from paritree.common.errors import InitializerError, SpecError
from paritree.common.initializers import LeCun, Normal, Uniform, Zeros
from paritree.common.spec import UNKNOWN, Sequential, flow
from paritree.conformance import load_wing
from paritree.impl_jax.functions.convolutions import entering

CONVOLUTIONS = (spec.Conv1d, spec.Conv2d, spec.Conv3d)
ZEROS: Any = {"kernel_init": nnx.initializers.zeros, "rngs": nnx.Rngs(0)}
TRANSPOSED = (spec.ConvTranspose1d, spec.ConvTranspose2d, spec.ConvTranspose3d)


def size_in_torch(layer: Any, *sizes: int) -> tuple[int, ...]:
    """The shape that PyTorch's own class gives, by the code that builds the layer."""
    module = eval(repr(layer), vars(nn)).to("meta")
    return tuple(module(torch.zeros(1, layer.in_channels, *sizes, device="meta")).shape[1:])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_the_size_of_the_output_is_pytorch_s_in_every_geometry(mode, size):
    for kernel, stride, padding, dilation in itertools.product((1, 2, 3), (1, 2), (0, 1, 3, "same"), (1, 3)):
        if padding == "same" and stride > 1:
            continue
        layer = spec.Conv1d(2, 4, kernel, stride, padding, dilation, padding_mode=mode)
        try:
            expected = size_in_torch(layer, size)
        except RuntimeError:
            with pytest.raises(SpecError, match=r"expected (an input that the window|a border)"):
                layer.out((2, size), "conv")
        else:
            assert layer.out((2, size), "conv") == expected, repr(layer)


@pytest.mark.parametrize("size", [1, 4])
def test_the_size_of_a_transposed_output_is_pytorch_s_in_every_geometry(size):
    for kernel, stride, padding, extra, dilation in itertools.product((1, 2, 3), (1, 3), (0, 1, 3), (0, 1, 2), (1, 2)):
        settings: dict[str, Any] = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
        if extra >= max(stride, dilation):
            with pytest.raises(SpecError, match="output_padding below the stride or the dilation"):
                spec.ConvTranspose1d(2, 4, kernel, **settings)
            continue
        layer = spec.ConvTranspose1d(2, 4, kernel, **settings)
        try:
            expected = size_in_torch(layer, size)
        except RuntimeError:
            with pytest.raises(SpecError, match="expected an input that the window of ConvTranspose1d fits into"):
                layer.out((2, size), "conv")
        else:
            assert layer.out((2, size), "conv") == expected, repr(layer)


def test_a_transposed_convolution_undoes_the_change_of_shape():
    settings: dict[str, Any] = {"stride": (2, 3), "padding": (1, 2), "dilation": (1, 2)}
    there = spec.Conv2d(3, 5, (3, 4), **settings)
    back = spec.ConvTranspose2d(5, 3, (3, 4), **settings)
    assert there.out((3, 9, 12), "") == (5, 5, 4)
    assert back.out((5, 5, 4), "") == (3, 9, 12)


def test_sizes_that_are_not_known_stay_so():
    layer = spec.Conv2d(3, 5, 3, stride=2)
    assert layer.out(UNKNOWN, "conv") == (5, None, None)
    assert layer.out((None, 7, None), "conv") == (5, 3, None)
    assert layer.out((..., 9), "conv") == (5, None, 4)
    assert spec.ConvTranspose2d(3, 5, 3, stride=2).out((..., 9), "conv") == (5, None, 19)
    assert spec.Conv1d(3, 5, 3, padding=4, padding_mode="reflect").out(UNKNOWN, "conv") == (5, None)


def test_the_settings_become_those_of_flax():
    assert spec.Conv2d(4, 6, (3, 2), 2, (1, 0), (1, 2), 2, False).flax_settings() == {
        "kernel_size": (3, 2),
        "strides": (2, 2),
        "padding": ((1, 1), (0, 0)),
        "kernel_dilation": (1, 2),
        "feature_group_count": 2,
        "use_bias": False,
    }
    assert spec.Conv2d(4, 6, (2, 3), padding="same", dilation=3).flax_settings()["padding"] == ((1, 2), (3, 3))
    assert spec.ConvTranspose1d(4, 6, 3, 2, 1, 1, dilation=2).flax_settings() == {
        "kernel_size": (3,),
        "strides": (2,),
        "padding": ((3, 4),),
        "kernel_dilation": (2,),
        "transpose_kernel": True,
        "use_bias": True,
    }


def test_a_border_is_filled_before_flax_s_own_class_runs():
    layer = spec.Conv1d(1, 1, 3, padding=2, padding_mode="circular")
    assert layer.border() == ("wrap", ((2, 2),))
    assert layer.flax_settings()["padding"] == "VALID"
    x = jnp.arange(4.0).reshape(1, 1, 4)
    assert entering(x, layer).shape == (1, 8, 1)
    assert entering(x, layer).ravel().tolist() == [2, 3, 0, 1, 2, 3, 0, 1]
    assert spec.Conv1d(1, 1, 3, padding=2).border() is None


@pytest.mark.parametrize("name", ["linen", "nnx"])
@pytest.mark.parametrize(
    "layer",
    [
        spec.Conv1d(2, 4, 3, padding=3, padding_mode="reflect"),
        spec.Conv1d(2, 4, 5),
        spec.Conv1d(1, 4, 1),
        spec.ConvTranspose1d(2, 4, 1, padding=2),
        spec.ConvTranspose1d(2, 4, 1, padding=2, groups=2),
        spec.MaxPool1d(4),
        spec.AvgPool1d(4),
    ],
    ids=repr,
)
def test_an_input_that_pytorch_refuses_is_refused_when_the_model_is_called(name, layer):
    wing, x = load_wing(name), np.zeros((1, 2, 3), np.float32)
    with pytest.raises(SpecError, match=r"^expected an? "):
        wing.call(wing.build(layer), (x,))
    with pytest.raises(RuntimeError):
        eval(repr(layer), vars(nn))(torch.from_numpy(x))


@pytest.mark.parametrize("mode", ["CIRCULAR", "REFLECT"])
def test_flax_s_own_border_is_the_one_of_same(mode):
    layer = spec.Conv2d(2, 3, (3, 4), padding="same", dilation=(2, 1), padding_mode=mode.lower())
    x = np.random.default_rng(0).normal(size=(1, 7, 6, 2)).astype(np.float32)
    own = linen.Conv(3, (3, 4), padding=mode, kernel_dilation=(2, 1))
    variables = own.init(jax.random.key(0), x)
    ours = linen.Conv(3, **layer.flax_settings())
    found = ours.apply(variables, entering(jnp.moveaxis(x, -1, 1), layer))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(own.apply(variables, x)))


def test_names_and_layouts_are_flax_s():
    x = np.zeros((1, 3, 8, 7), np.float32)
    model = Sequential(spec.Conv2d(3, 4, (2, 1)), spec.ConvTranspose2d(4, 6, (2, 1), groups=2))
    nnx_wing, linen_wing = load_wing("nnx"), load_wing("linen")
    rows = [(row.path, row.native_path, row.shape) for row in nnx_wing.table(nnx_wing.build(model))]
    assert rows == [
        ("0.weight", ("layers", 0, "kernel"), (4, 3, 2, 1)),
        ("0.bias", ("layers", 0, "bias"), (4,)),
        ("1.weight", ("layers", 1, "kernel"), (4, 3, 2, 1)),
        ("1.bias", ("layers", 1, "bias"), (6,)),
    ]
    module, variables = linen_wing.build(model)
    shapes = jax.tree.map(np.shape, variables["params"])
    assert shapes == {
        "layers_0": {"kernel": (2, 1, 3, 4), "bias": (4,)},
        "layers_1": {"kernel": (2, 1, 3, 4), "bias": (6,)},
    }
    initialized = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    assert jax.tree.map(np.shape, initialized) == shapes


def test_flax_s_own_modules_have_the_names_and_layouts_of_the_spec():
    for model, shape, word in (
        (nnx.Conv(3, 4, (2, 1), **ZEROS), (4, 3, 2, 1), "Conv2d"),
        (nnx.ConvTranspose(3, 4, (2, 1), transpose_kernel=True, **ZEROS), (3, 4, 2, 1), "ConvTranspose2d"),
    ):
        row = load_wing("nnx").table(model)["weight"]
        assert (row.shape, row.layer) == (shape, word)


def test_flax_s_transposed_kernel_without_the_flip_is_not_taken_for_pytorch_s():
    """No layout leads from it to PyTorch's, whose kernel has its spatial axes reversed: it stays as it is stored."""
    for wing, model in (
        ("nnx", nnx.ConvTranspose(3, 4, (2, 2), **ZEROS)),
        ("linen", _initialized(linen.ConvTranspose(4, (2, 2)), (1, 5, 5, 3))),
    ):
        row = load_wing(wing).table(model)["kernel"]
        assert (row.shape, row.layer, row.layout.is_known) == ((2, 2, 3, 4), "ConvTranspose", False)


def test_a_number_is_the_kernel_of_one_axis_in_linen():
    module = linen.Conv(4, 3)
    row = load_wing("linen").table(_initialized(module, (1, 5, 2)))["weight"]
    assert (row.shape, row.layer) == ((4, 2, 3), "Conv1d")


def _initialized(module: linen.Module, shape: tuple[int, ...]) -> Any:
    return module, module.init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(
    ("layer", "fan"),
    [
        (spec.Conv2d(4, 6, 3), 36),
        (spec.Conv2d(4, 6, 3, groups=2), 18),
        (spec.Conv3d(4, 6, (1, 2, 3)), 24),
        (spec.ConvTranspose2d(4, 6, 3), 54),
        (spec.ConvTranspose2d(4, 6, 3, groups=2), 27),
        (spec.ConvTranspose1d(4, 6, 5), 30),
    ],
    ids=repr,
)
def test_the_default_draws_have_the_fan_of_pytorch_s_position(layer, fan):
    weight, bias = layer.parameters()
    assert weight.initializer is not None
    assert weight.initializer.law(weight.shape).support == pytest.approx((-(fan**-0.5), fan**-0.5), rel=1e-12)
    assert bias.initializer == Uniform(-1 / math.sqrt(fan), 1 / math.sqrt(fan))
    own = layer.native_of("weight").default(layer)
    assert own == LeCun("truncated_normal")
    assert own.std(weight.shape) == pytest.approx(fan**-0.5)
    assert layer.native_of("bias").default(layer) == Zeros()


def test_given_initializers_replace_the_defaults():
    for kind in (*CONVOLUTIONS, *TRANSPOSED):
        weight, bias = kind(4, 6, 3, weight_init=Normal(0.0, 0.02), bias_init=Zeros()).parameters()
        assert (weight.initializer, bias.initializer) == (Normal(0.0, 0.02), Zeros())
        assert len(kind(4, 6, 3, bias=False).parameters()) == 1


@pytest.mark.parametrize("name", ["torch", "linen", "nnx"])
@pytest.mark.parametrize("layer", [spec.Conv2d(2, 4, 2, groups=2), spec.ConvTranspose2d(4, 2, 2, groups=2)], ids=repr)
def test_parameters_have_the_model_s_type(name, layer):
    wing = load_wing(name)
    assert {row.dtype for row in wing.table(wing.build(layer, dtype="bfloat16"))} == {"bfloat16"}


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (spec.Conv2d(3, 8, (3, 3)), "Conv2d(3, 8, 3)"),
        (spec.Conv2d(3, 8, [3, 5], stride=(2, 2), padding="valid"), "Conv2d(3, 8, (3, 5), stride=2)"),
        (spec.Conv1d(np.int64(4), 8, (3,), padding="same", groups=2), "Conv1d(4, 8, 3, padding='same', groups=2)"),
        (
            spec.Conv3d(4, 8, 3, padding=np.int64(1), padding_mode="circular", bias=False),
            "Conv3d(4, 8, 3, padding=1, bias=False, padding_mode='circular')",
        ),
        (
            spec.ConvTranspose2d(4, 8, 3, 2, 1, (1, 0), 2, False, 3, Zeros()),
            "ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=(1, 0), groups=2, bias=False, dilation=3, "
            "weight_init=Zeros())",
        ),
    ],
)
def test_equal_layers_are_written_alike(layer, text):
    assert repr(layer) == text
    assert eval(text, {**vars(spec), "Zeros": Zeros}) == layer
    assert hash(layer) == hash(eval(text, {**vars(spec), "Zeros": Zeros}))


def test_kinds_of_one_family_are_not_equal():
    assert spec.Conv1d(3, 4, 2) != spec.Conv2d(3, 4, 2)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: spec.Conv2d(0, 4, 3), "expected Conv2d.in_channels as a positive whole number, found 0."),
        (lambda: spec.ConvTranspose1d(3, 2.5, 3), "expected ConvTranspose1d.out_channels as a positive whole number, "),
        (
            lambda: spec.Conv2d(3, 4, (3, 3, 3)),
            "expected Conv2d.kernel_size as a whole number of at least 1, or 2 of them in a tuple, found (3, 3, 3).",
        ),
        (lambda: spec.Conv1d(3, 4, True), "expected Conv1d.kernel_size as a whole number of at least 1, found True."),
        (
            lambda: spec.Conv2d(3, 4, 3, stride=(1, 0)),
            "expected Conv2d.stride as a whole number of at least 1, or 2 of them in a tuple, found (1, 0).",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, padding=-1),
            "expected Conv2d.padding as a whole number of at least 0, or 2 of them in a tuple, found -1.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, padding="SAME"),
            "expected Conv2d.padding as numbers, 'same' or 'valid', found 'SAME'.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, stride=2, padding="same"),
            "expected a stride of 1 with padding='same' in Conv2d, found 2. "
            "Give the numbers: what Flax's 'SAME' adds depends on the input's size.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, padding_mode="constant"),
            "expected Conv2d.padding_mode among zeros, reflect, replicate, circular, found 'constant'.",
        ),
        (lambda: spec.Conv2d(3, 4, 3, groups=2), "expected Conv2d.in_channels that 2 groups divide, found 3."),
        (
            lambda: spec.ConvTranspose2d(4, 3, 3, groups=2),
            "expected ConvTranspose2d.out_channels that 2 groups divide, found 3.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, bias=Zeros()),
            "expected Conv2d.bias as True or False, found Zeros(). Initializers have names of their own.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, bias=False, bias_init=Zeros()),
            "expected no bias_init in a Conv2d without a bias, found Zeros(). Drop one of the two.",
        ),
        (
            lambda: spec.ConvTranspose2d(3, 4, 3, stride=(2, 1), output_padding=1),
            "expected ConvTranspose2d.output_padding below the stride or the dilation, found 1 for (2, 1) and 1.",
        ),
        (
            lambda: flow(Sequential(spec.Conv2d(3, 4, 3), spec.Conv2d(3, 4, 3)), (3, 8, 8)),
            "1: expected an input of 3 channels (in_channels), found 4 in (batch, 4, ?, ?). "
            "Set in_channels to 4, or change the layer before.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3).out((8, 8, 3), "conv"),
            "conv: expected an input of 3 channels (in_channels), found 8 in (batch, 8, 8, 3). "
            "Set in_channels to 8, or change the layer before.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3).out((3, 8), "conv"),
            "conv: expected an input (batch, channels, height, width) of Conv2d, found (batch, 3, 8).",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, dilation=2).out((3, 8, 4), "conv"),
            "conv: expected an input that the window of Conv2d fits into, found (batch, 3, 8, 4), of which it leaves "
            "(batch, 4, 4, 0). Make the kernel smaller, or the input or its padding larger.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, padding=(1, 4), padding_mode="reflect").out((3, 8, 4), "conv"),
            "conv: expected a border of less than the input's size for Conv2d(padding_mode='reflect'), found 4 for an "
            "axis of size 4 in (batch, 3, 8, 4). Pad less.",
        ),
        (
            lambda: spec.Conv2d(3, 4, 3, padding=(1, 5), padding_mode="circular").out((3, 8, 4), "conv"),
            "conv: expected a border of at most the input's size for Conv2d(padding_mode='circular'), found 5 for an "
            "axis of size 4 in (batch, 3, 8, 4). Pad less.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, text):
    with pytest.raises(SpecError) as caught:
        build()
    assert str(caught.value).startswith(text)


def test_an_initializer_that_does_not_fit_the_weight_is_refused():
    with pytest.raises(InitializerError) as caught:
        spec.Conv2d(3, 4, 3, weight_init=3)
    assert str(caught.value) == "weight: expected an initializer such as Normal(0.0, 0.01), found 3."
