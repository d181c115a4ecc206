"""Layers that multiply by a matrix or look up its rows, and bare arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ....common import layers as spec
from ....common.layers import Word
from ...devices import native_dtype
from ...functions import unless_padding
from .at import At, Makers
from .containers import Array


class Buffer(nnx.Variable[Any]):
    """State that travels with the model and is not trained."""


class TransposedLinear(nnx.Linear):
    """y = x W + b, stored as nnx.Linear does and as PyTorch's `Conv1D` of transformers."""


class PaddedEmbed(nnx.Embed):
    """nnx.Embed with a token whose row gets no gradient from the lookup."""

    def __init__(self, *size: int, padding_idx: int, **settings: Any) -> None:
        super().__init__(*size, **settings)
        self.padding_idx = padding_idx

    def __call__(self, inputs: jax.Array, **settings: Any) -> jax.Array:
        return unless_padding(super().__call__(inputs, **settings), inputs, self.padding_idx)


class Decoder(nnx.Module):
    """Logits scale x E^T + b, with the Variable E of an Embed: `attend` needs no transposed copy."""

    def __init__(self, layer: spec.Decoder, at: At) -> None:
        embed = at.owner(layer.of)
        # The Variable and not the Embed: the tie is this one parameter, as in PyTorch.
        self.embedding = embed.embedding
        if isinstance(layer.bias, str):
            self.bias = at.owner(layer.bias).value
        else:
            self.bias = nnx.Param(jnp.zeros((embed.num_embeddings,), at.dtype)) if layer.bias else None
        self.scale = layer.scale

    def __call__(self, x: jax.Array) -> jax.Array:
        logits = (x if self.scale == 1 else x * self.scale) @ self.embedding[...].T
        return logits if self.bias is None else logits + self.bias[...]


class Transposed(nnx.Module):
    """y = x W^T + b with W the kernel of an nnx.Linear, a Variable that has its path there.

    owner: the Linear and not its Variable, so that a tie or untie of that reaches this layer, too.
    """

    def __init__(self, layer: spec.Transposed, at: At) -> None:
        self.owner: nnx.Linear = at.owner(layer.of)
        self.bias = nnx.Param(jnp.zeros((self.owner.in_features,), at.dtype)) if layer.bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x @ self.owner.kernel[...].T
        return y if self.bias is None else y + self.bias[...]


class FixedLinear(nnx.Module):
    """y = x W + shift with W a Buffer."""

    def __init__(self, layer: spec.FixedLinear, at: At) -> None:
        self.kernel = Buffer(jnp.zeros((layer.in_features, layer.out_features), at.dtype))
        self.shift = layer.shift

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel[...] + self.shift


def linear(layer: spec.Linear | spec.TransposedLinear, at: At) -> nnx.Module:
    """nnx.Linear."""
    assert layer.in_features is not None
    module = nnx.Linear if isinstance(layer, spec.Linear) else TransposedLinear
    size = (layer.in_features, layer.out_features)
    zeros = nnx.initializers.zeros
    return module(*size, use_bias=layer.bias, kernel_init=zeros, param_dtype=at.dtype, rngs=at.rngs)


def embedding(layer: spec.Embedding, at: At) -> nnx.Module:
    """nnx.Embed, with a padding token if there is one."""
    size = (layer.vocabulary, layer.features)
    settings: dict[str, Any] = {"embedding_init": nnx.initializers.zeros, "param_dtype": at.dtype, "rngs": at.rngs}
    if layer.padding_idx is None:
        return nnx.Embed(*size, **settings)
    return PaddedEmbed(*size, **settings, padding_idx=layer.padding_idx)


def parameter(layer: spec.Parameter, at: At) -> nnx.Module:
    """An array to be trained."""
    return Array(nnx.Param(jnp.zeros(layer.shape, at.dtype)))


def buffer(layer: spec.Buffer, at: At) -> nnx.Module:
    """An array that is not trained."""
    return Array(Buffer(jnp.zeros(layer.shape, native_dtype(layer.dtype) if layer.dtype else at.dtype)))


MAKERS: Makers = {
    spec.Linear: linear,
    spec.TransposedLinear: linear,
    spec.Embedding: embedding,
    spec.Decoder: Decoder,
    spec.Transposed: Transposed,
    spec.FixedLinear: FixedLinear,
    spec.Parameter: parameter,
    spec.Buffer: buffer,
}
KINDS: dict[type, Word] = {
    nnx.Linear: "Linear",
    nnx.Embed: "Embedding",
    TransposedLinear: "TransposedLinear",
    Decoder: "Decoder",
    Transposed: "Transposed",
    FixedLinear: "FixedLinear",
    Array: lambda module: "Parameter" if isinstance(module.value, nnx.Param) else "Buffer",
}
