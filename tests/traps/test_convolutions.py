"""The numbered traps of convolutions: what differs between the bare frameworks, and what the reference makes of it."""

from __future__ import annotations

from inspect import signature
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

from paritree.common import layers as spec
from paritree.common.spec import Layer, Sequential
from paritree.conformance import load_wing

CLOSE = 32 * np.finfo(np.float32).eps


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def error(found: Any, expected: Any) -> float:
    """The error relative to the norm of what is expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def bare(kind: type[nnx.Module], *sizes: Any, kernel: np.ndarray, bias: Any, x: np.ndarray, **settings: Any) -> Any:
    """The output, channels first, of Flax's own class with a given kernel, for an input with its channels first."""
    zeros = nnx.initializers.zeros
    module: Any = kind(*sizes, kernel_init=zeros, rngs=nnx.Rngs(0), **settings)
    assert module.kernel.shape == kernel.shape
    module.kernel[...] = jax.numpy.asarray(kernel)
    module.bias[...] = jax.numpy.asarray(bias.detach().numpy())
    return np.moveaxis(np.asarray(module(np.moveaxis(x, 1, -1))), -1, 1)


def carried(model: Layer, stock: nn.Module, x: np.ndarray) -> float:
    """The greatest error of the three wings with the stock module's weights, loaded by name, against its output."""
    weights = {name: value.detach().numpy() for name, value in stock.state_dict().items()}
    expected = stock(torch.tensor(x)).detach()
    wings = (load_wing(name) for name in ("torch", "linen", "nnx"))
    return max(error(wing.call(wing.load(wing.build(model), weights), (x,)), expected) for wing in wings)


def test_trap_02_the_kernel_of_a_convolution_has_its_axes_in_another_order():
    """(out, in, h, w) to (h, w, in, out): with as many channels in as out, other orders fit the shape as well."""
    stock, x = nn.Conv2d(3, 3, 3), normal(2, 3, 6, 6)
    expected, weight = stock(torch.tensor(x)).detach(), stock.weight.detach().numpy()

    def with_axes(*order: int) -> float:
        kernel = weight.transpose(order)
        return error(bare(nnx.Conv, 3, 3, (3, 3), padding="VALID", kernel=kernel, bias=stock.bias, x=x), expected)

    assert with_axes(2, 3, 1, 0) < CLOSE
    for wrong in ((3, 2, 1, 0), (2, 3, 0, 1), (0, 1, 2, 3)):
        assert with_axes(*wrong) > 0.3
    assert carried(spec.Conv2d(3, 3, 3), stock, x) < CLOSE


@pytest.mark.parametrize(
    ("kernel", "settings"),
    [
        (2, {"stride": 2}),
        (3, {"stride": 2, "padding": 1, "output_padding": 1}),
        (4, {"stride": 2, "padding": 1}),
        (3, {"padding": 1, "dilation": 2}),
    ],
)
def test_trap_03_a_transposed_convolution_needs_the_flip_and_another_padding(kernel, settings):
    """`transpose_kernel=True`, axes (2, 3, 1, 0), and dilation (k - 1) - padding; Flax's guide says 1 - padding."""
    stock, x = nn.ConvTranspose2d(3, 3, kernel, **settings), normal(2, 3, 6, 6)
    expected, weight = stock(torch.tensor(x)).detach(), stock.weight.detach().numpy()
    stride, dilation = settings.get("stride", 1), settings.get("dilation", 1)
    padding, extra = settings.get("padding", 0), settings.get("output_padding", 0)

    def flax(low: int, high: int, flip: bool, order: tuple[int, ...]) -> Any:
        own = {"padding": ((low, high),) * 2, "kernel_dilation": (dilation,) * 2, "transpose_kernel": flip}
        size = (3, 3, (kernel, kernel), (stride, stride))
        return bare(nnx.ConvTranspose, *size, kernel=weight.transpose(order), bias=stock.bias, x=x, **own)

    low = dilation * (kernel - 1) - padding
    assert error(flax(low, low + extra, True, (2, 3, 1, 0)), expected) < 2e-7
    # With the channels in order but the kernel as it lies, the shape is the same and the numbers are not.
    assert error(flax(low, low + extra, False, (2, 3, 0, 1)), expected) > 0.3
    guide = flax(1 - padding, 1 - padding + extra, True, (2, 3, 1, 0))
    assert (guide.shape == expected.shape) == (kernel == 2)
    assert carried(spec.ConvTranspose2d(3, 3, kernel, **settings), stock, x) < CLOSE


def test_trap_03_groups_which_flax_does_not_have_are_a_module_of_ours():
    """Neither Flax class takes groups; the wings' own module keeps Flax's names and layout."""
    settings: dict[str, Any] = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    stock, x = nn.ConvTranspose2d(4, 6, 3, **settings), normal(2, 4, 6, 5)
    for own, flax in ((linen.Conv, linen.ConvTranspose), (nnx.Conv, nnx.ConvTranspose)):
        assert "feature_group_count" in signature(own.__init__).parameters
        assert "feature_group_count" not in signature(flax.__init__).parameters
    assert carried(spec.ConvTranspose2d(4, 6, 3, **settings), stock, x) < CLOSE


def test_trap_04_the_default_padding_is_none_in_pytorch_and_same_in_flax():
    """0 against "SAME"; at stride 2, "SAME" has the shape of a padding of 1 and pads one side only."""
    x = normal(2, 3, 8, 8)
    for stock, default, alike in ((nn.Conv2d(3, 4, 3), {}, False), (nn.Conv2d(3, 4, 3, 2, 1), {"strides": 2}, True)):
        expected = stock(torch.tensor(x)).detach()
        kernel = stock.weight.detach().numpy().transpose(2, 3, 1, 0)
        found = bare(nnx.Conv, 3, 4, (3, 3), kernel=kernel, bias=stock.bias, x=x, **default)
        assert (found.shape == expected.shape) == alike
        assert not alike or error(found, expected) > 0.3
        layer = spec.Conv2d(3, 4, 3, stock.stride, stock.padding)
        settings = {**layer.flax_settings(), "kernel": kernel, "bias": stock.bias, "x": x}
        assert error(bare(nnx.Conv, 3, 4, **settings), expected) < CLOSE
        assert carried(layer, stock, x) < CLOSE


def test_trap_05_flattening_channels_last_permutes_the_columns_of_what_follows():
    """Conv, flatten, dense: the same dense weight fits both orders of the flattened axes; the wings keep PyTorch's."""
    stock, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 6, 7)), normal(2, 3, 7, 8)
    expected, dense = stock(torch.tensor(x)).detach(), stock[3]
    image = stock[:2](torch.tensor(x)).detach().numpy()
    flat = np.moveaxis(image, 1, -1).reshape(2, -1)
    weight, bias = dense.weight.detach().numpy(), dense.bias.detach().numpy()
    assert error(flat @ weight.T + bias, expected) > 0.3
    columns = np.arange(4 * 5 * 6).reshape(4, 5, 6).transpose(1, 2, 0).ravel()
    assert error(flat @ weight[:, columns].T + bias, expected) < CLOSE
    model = Sequential(spec.Conv2d(3, 4, 3), spec.ReLU(), spec.Flatten(), spec.Linear(4 * 5 * 6, 7))
    assert carried(model, stock, x) < CLOSE


def test_trap_25_the_spread_of_a_transposed_kernel_depends_on_which_axis_counts():
    """PyTorch's fan is out k^2, by position; Flax's is out k^2 with `transpose_kernel`, and in k^2 without."""
    inputs, outputs, kernel = 128, 64, 3
    torch.manual_seed(0)
    own = nn.ConvTranspose2d(inputs, outputs, kernel).weight.std().item()
    flipped, plain = (
        float(
            nnx.ConvTranspose(
                inputs, outputs, (kernel, kernel), transpose_kernel=transpose, rngs=nnx.Rngs(0)
            ).kernel[...].std()
        )
        for transpose in (True, False)
    )  # fmt: skip
    by_outputs, by_inputs = (outputs * kernel**2) ** -0.5, (inputs * kernel**2) ** -0.5
    # The sampling error of a std of 73728 entries is below 0.3 %.
    assert own == pytest.approx(by_outputs / 3**0.5, rel=0.02)
    assert flipped == pytest.approx(by_outputs, rel=0.02)
    assert plain == pytest.approx(by_inputs, rel=0.02)
    layer = spec.ConvTranspose2d(inputs, outputs, kernel)
    for name in ("torch", "linen", "nnx"):
        wing = load_wing(name)
        weights = wing.weights(wing.build(layer))
        assert weights["weight"].std() == pytest.approx(by_outputs / 3**0.5, rel=0.02)
        assert np.abs(weights["bias"]).max() <= by_outputs
    assert layer.natives["weight"].default(layer).std(layer.weight_shape) == pytest.approx(by_outputs)
