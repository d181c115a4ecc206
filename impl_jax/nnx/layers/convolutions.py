"""Convolutions, which are Flax's own between two moves of the channel axis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ....common.layers import Convolution, TransposedConvolution, Word
from ...functions import entering, grouped_transpose, leaving, transposed_word, word
from .at import At, Makers


class Conv(nnx.Conv):
    """nnx.Conv over (batch, channels, *spatial), with a border of what is inside where that is asked for."""

    def __init__(self, layer: Convolution, at: At) -> None:
        super().__init__(layer.in_channels, layer.out_channels, **layer.flax_settings(), **_variables(at))
        self.layer = layer

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return leaving(super().__call__(entering(inputs, self.layer)))


class ConvTranspose(nnx.ConvTranspose):
    """nnx.ConvTranspose over (batch, channels, *spatial)."""

    def __init__(self, layer: TransposedConvolution, at: At) -> None:
        super().__init__(layer.in_channels, layer.out_channels, **layer.flax_settings(), **_variables(at))
        self.layer = layer

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return leaving(super().__call__(entering(inputs, self.layer)))


class GroupedConvTranspose(nnx.Module):
    """A transposed convolution in groups over (batch, channels, *spatial), which nnx.ConvTranspose does not have."""

    def __init__(self, layer: TransposedConvolution, at: At) -> None:
        shape = layer.natives["weight"].layout.native_shape(layer.weight_shape)
        self.layer = layer
        self.kernel = nnx.Param(jnp.zeros(shape, at.dtype))
        self.bias = nnx.Param(jnp.zeros((layer.out_channels,), at.dtype)) if layer.bias else None

    def __call__(self, inputs: jax.Array) -> jax.Array:
        bias = None if self.bias is None else self.bias[...]
        return grouped_transpose(inputs, self.kernel[...], bias, self.layer)


def transposed(layer: TransposedConvolution, at: At) -> nnx.Module:
    """nnx.ConvTranspose, channels first."""
    return GroupedConvTranspose(layer, at) if layer.groups > 1 else ConvTranspose(layer, at)


def _variables(at: At) -> dict[str, Any]:
    zeros = nnx.initializers.zeros
    return {"kernel_init": zeros, "bias_init": zeros, "param_dtype": at.dtype, "rngs": at.rngs}


MAKERS: Makers = {Convolution: Conv, TransposedConvolution: transposed}
KINDS: dict[type, Word] = {
    nnx.Conv: word,
    nnx.ConvTranspose: transposed_word,
    GroupedConvTranspose: lambda module: module.layer.kind,
}
