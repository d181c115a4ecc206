"""Recurrent layers: a module of ours with PyTorch's weights, since NNX has cells with one bias."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from ....common import layers as spec
from ....common.layers import Word
from ...functions import outputs, shapes, unchanged
from .at import At, Makers


class Recurrent(nnx.Module):
    """The output (batch, time, width) of an input (batch, time, features), for a zero initial state.

    Between layers there is dropout in training mode.
    """

    def __init__(self, layer: spec.Recurrent, at: At) -> None:
        self.layer = layer
        for name, shape in shapes(layer).items():
            setattr(self, name, nnx.Param(jnp.zeros(shape, at.dtype)))
        self.drop = nnx.Dropout(layer.dropout, rngs=at.rngs) if layer.dropout else None

    def __call__(self, x: jax.Array) -> jax.Array:
        weights = {name: getattr(self, name)[...] for name in shapes(self.layer)}
        return outputs(self.layer, weights, x, self.drop or unchanged)


MAKERS: Makers = {spec.RNN: Recurrent, spec.LSTM: Recurrent, spec.GRU: Recurrent}
KINDS: dict[type, Word] = {Recurrent: lambda module: module.layer.kind}
