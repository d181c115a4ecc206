"""Convolutions, which are Flax's own between two moves of the channel axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen

from ....common.layers import Convolution, TransposedConvolution, Word
from ...functions import entering, grouped_transpose, leaving, transposed_word, word
from .at import At, Makers


class Conv(linen.Conv, kw_only=True):
    """linen.Conv over (batch, channels, *spatial), with a border of what is inside where that is asked for."""

    layer: Convolution

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return leaving(super().__call__(entering(inputs, self.layer)))


class ConvTranspose(linen.ConvTranspose, kw_only=True):
    """linen.ConvTranspose over (batch, channels, *spatial)."""

    layer: TransposedConvolution

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return leaving(super().__call__(entering(inputs, self.layer)))


class GroupedConvTranspose(linen.Module):
    """A transposed convolution in groups over (batch, channels, *spatial), which linen.ConvTranspose does not have."""

    layer: TransposedConvolution
    kernel_init: Callable[..., Any]
    bias_init: Callable[..., Any]
    param_dtype: Any

    @linen.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        layer = self.layer
        shape = layer.natives["weight"].layout.native_shape(layer.weight_shape)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (layer.out_channels,), self.param_dtype) if layer.bias else None
        return grouped_transpose(inputs, kernel, bias, layer)


def convolution(layer: Convolution, at: At) -> linen.Module:
    """linen.Conv, channels first."""
    return Conv(layer.out_channels, **layer.flax_settings(), **_variables(layer, at))


def transposed(layer: TransposedConvolution, at: At) -> linen.Module:
    """linen.ConvTranspose, channels first."""
    if layer.groups > 1:
        return GroupedConvTranspose(**_variables(layer, at))
    return ConvTranspose(layer.out_channels, **layer.flax_settings(), **_variables(layer, at))


def _variables(layer: Convolution | TransposedConvolution, at: At) -> dict[str, Any]:
    bias_init = at.init("bias") if layer.bias else linen.initializers.zeros
    return {"layer": layer, "kernel_init": at.init("weight"), "bias_init": bias_init, "param_dtype": at.dtype}


MAKERS: Makers = {Convolution: convolution, TransposedConvolution: transposed}
KINDS: dict[type, Word] = {
    linen.Conv: word,
    linen.ConvTranspose: transposed_word,
    GroupedConvTranspose: lambda module: module.layer.kind,
}
