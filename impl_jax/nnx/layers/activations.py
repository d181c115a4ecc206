"""Layers that act on every entry alone or normalize along one axis, and Dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ....common import layers as spec
from ....common.layers import Word
from ...functions import ACTIVATIONS, along_channels, sloped
from .at import At, Makers, functions


class PReLU(nnx.PReLU):
    """nnx.PReLU with PyTorch's derivative at 0, and with several slopes where there is one for each channel.

    Raises SpecError for an input without an axis 1 of as many channels: one of length 1 would be stretched.
    """

    def __init__(self, layer: spec.PReLU, at: At) -> None:
        super().__init__(param_dtype=at.dtype)
        self.layer = layer
        self.place = at.path
        if layer.slopes > 1:
            self.negative_slope = nnx.Param(jnp.zeros((layer.slopes,), at.dtype))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        self.layer.out(inputs.shape[1:], self.place)
        return sloped(inputs, along_channels(self.negative_slope[...], inputs))


MAKERS: Makers = {
    **functions(ACTIVATIONS),
    spec.Dropout: lambda layer, at: nnx.Dropout(layer.rate, rngs=at.rngs),
    spec.PReLU: PReLU,
}
KINDS: dict[type, Word] = {nnx.PReLU: "PReLU"}
