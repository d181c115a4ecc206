"""Layers that act on every entry alone or normalize along one axis, and Dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from ....common import layers as spec
from ....common.layers import Word
from ...functions import ACTIVATIONS, along_channels, sloped
from .at import At, Makers, functions


class Dropout(linen.Module):
    """Dropout that is active when `apply` is given a `dropout` key, and the identity when it is not."""

    rate: float

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dropout(self.rate, deterministic=not self.has_rng("dropout"))(x)


class PReLU(linen.PReLU):
    """linen.PReLU with PyTorch's derivative at 0, and with several slopes where there is one for each channel.

    Raises SpecError for an input without an axis 1 of as many channels: one of length 1 would be stretched.
    """

    slopes: int = 1
    place: str = ""
    slope_init: Callable[..., Any] = linen.initializers.constant(0.25)

    @linen.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        spec.PReLU(self.slopes).out(inputs.shape[1:], self.place)
        shape = () if self.slopes == 1 else (self.slopes,)
        slopes = self.param("negative_slope", self.slope_init, shape, self.param_dtype)
        return sloped(inputs, along_channels(jnp.asarray(slopes), inputs))


def prelu(layer: spec.PReLU, at: At) -> linen.Module:
    """linen.PReLU, as it is here."""
    return PReLU(slopes=layer.slopes, place=at.path, slope_init=at.init("weight"), param_dtype=at.dtype)


MAKERS: Makers = {
    **functions(ACTIVATIONS),
    spec.Dropout: lambda layer, at: Dropout(layer.rate),
    spec.PReLU: prelu,
}
KINDS: dict[type, Word] = {linen.PReLU: "PReLU"}
