"""Recurrent layers: a module of ours with PyTorch's weights, since Linen has cells with one bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen

from ....common import layers as spec
from ....common.layers import Word
from ...functions import outputs, shapes
from .at import At, Makers


class Recurrent(linen.Module):
    """The output (batch, time, width) of an input (batch, time, features), for a zero initial state.

    layer: what it is.
    initial: gives each parameter's initializer by its name.
    Between layers there is dropout where `apply` is given a `dropout` key.
    """

    layer: spec.Recurrent
    initial: Callable[[str], Callable[..., Any]]
    param_dtype: Any

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weights = {
            name: self.param(name, self.initial(name), shape, self.param_dtype)
            for name, shape in shapes(self.layer).items()
        }
        drop = linen.Dropout(self.layer.dropout, deterministic=not self.has_rng("dropout"))
        return outputs(self.layer, weights, x, drop)


def recurrent(layer: spec.Recurrent, at: At) -> linen.Module:
    """The module of any of the three."""
    return Recurrent(layer, at.init, at.dtype)


MAKERS: Makers = {spec.RNN: recurrent, spec.LSTM: recurrent, spec.GRU: recurrent}
KINDS: dict[type, Word] = {Recurrent: lambda module: module.layer.kind}
