"""Layers that multiply by a matrix or look up its rows, and bare arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen

from ....common import layers as spec
from ....common import paths
from ....common.errors import NotExpressibleError
from ....common.layers import Word
from ...devices import native_dtype
from ...draws import NativeInit
from ...functions import unless_padding
from .at import At, Makers
from .containers import Array, Members


class TransposedLinear(linen.Dense):
    """y = x W + b, stored as linen.Dense does and as PyTorch's `Conv1D` of transformers."""


class PaddedEmbed(linen.Embed):
    """linen.Embed with a token whose row gets no gradient from the lookup."""

    padding_idx: int = 0

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return unless_padding(super().__call__(inputs), inputs, self.padding_idx)


class Decoder(linen.Module):
    """Logits scale x E^T + b, with E read where the Embed holds it: `attend` needs no transposed copy.

    owners: the Embed, and the Array that is the bias where that is another's.
    """

    owners: Members
    use_bias: bool
    scale: float
    bias_init: Callable[..., Any]
    param_dtype: Any

    def setup(self) -> None:
        for name, owner in self.owners.pairs:
            setattr(self, name, owner)
        if self.use_bias:
            self.bias = self.param("bias", self.bias_init, (self.embed.num_embeddings,), self.param_dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        logits = self.embed.attend(x if self.scale == 1 else x * self.scale)
        if len(self.owners.pairs) > 1:
            return logits + self.offset()
        return logits + self.bias if self.use_bias else logits


class Transposed(Decoder):
    """y = x W^T + b, with W read where the Dense holds it.

    Raises NotExpressibleError where there is no W yet: in `init`, if this layer is called before the Dense.
    """

    def setup(self) -> None:
        ((_, self.dense),) = self.owners.pairs
        if self.use_bias:
            self.bias = self.param("bias", self.bias_init, (self._kernel().shape[0],), self.param_dtype)

    def _kernel(self) -> jax.Array:
        kernel = self.dense.get_variable("params", "kernel")
        if kernel is None:
            raise NotExpressibleError(
                paths.join(*map(str, self.path)),
                "a Linear that was called before, since a linen.Dense has no kernel until then",
                "none",
                "Apply the module to the variables that build gives, or call the Linear first.",
            )
        return kernel

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x @ self._kernel().T
        return y + self.bias if self.use_bias else y


class FixedLinear(linen.Module):
    """y = x W + shift with W in the collection `buffers`: it travels with the model and is not trained."""

    in_features: int
    out_features: int
    shift: float
    kernel_init: NativeInit
    param_dtype: Any

    def setup(self) -> None:
        shape = (self.in_features, self.out_features)
        self.kernel = self.variable(
            "buffers", "kernel", lambda: self.kernel_init(self.make_rng("params"), shape, self.param_dtype)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel.value + self.shift


def linear(layer: spec.Linear | spec.TransposedLinear, at: At) -> linen.Module:
    """linen.Dense."""
    module = linen.Dense if isinstance(layer, spec.Linear) else TransposedLinear
    bias_init = at.init("bias") if layer.bias else linen.initializers.zeros
    return module(
        layer.out_features,
        use_bias=layer.bias,
        kernel_init=at.init("weight"),
        bias_init=bias_init,
        param_dtype=at.dtype,
    )


def embedding(layer: spec.Embedding, at: At) -> linen.Module:
    """linen.Embed, with a padding token if there is one."""
    size = (layer.vocabulary, layer.features)
    settings: dict[str, Any] = {"embedding_init": at.init("weight"), "param_dtype": at.dtype}
    if layer.padding_idx is None:
        return linen.Embed(*size, **settings)
    return PaddedEmbed(*size, **settings, padding_idx=layer.padding_idx)


def decoder(layer: spec.Decoder, at: At) -> linen.Module:
    """A Decoder that reads its owner's array."""
    owners = [("embed", at.owner(layer.of))]
    if isinstance(layer.bias, str):
        owners.append(("offset", at.owner(layer.bias)))
    bias_init = at.init("bias") if layer.bias is True else linen.initializers.zeros
    return Decoder(Members(tuple(owners)), layer.bias is True, layer.scale, bias_init, at.dtype)


def transposed(layer: spec.Transposed, at: At) -> linen.Module:
    """A Transposed that reads its owner's array."""
    owners = Members((("dense", at.owner(layer.of)),))
    return Transposed(owners, layer.bias, 1.0, at.init("bias") if layer.bias else linen.initializers.zeros, at.dtype)


def fixed_linear(layer: spec.FixedLinear, at: At) -> linen.Module:
    """A product with a matrix in `buffers`."""
    return FixedLinear(layer.in_features, layer.out_features, layer.shift, at.init("weight"), at.dtype)


def parameter(layer: spec.Parameter, at: At) -> linen.Module:
    """An array to be trained."""
    return Array(layer.shape, at.init(""), at.dtype)


def buffer(layer: spec.Buffer, at: At) -> linen.Module:
    """An array that is not trained."""
    return Array(layer.shape, at.init(""), native_dtype(layer.dtype) if layer.dtype else at.dtype, "buffers")


MAKERS: Makers = {
    spec.Linear: linear,
    spec.TransposedLinear: linear,
    spec.Embedding: embedding,
    spec.Decoder: decoder,
    spec.Transposed: transposed,
    spec.FixedLinear: fixed_linear,
    spec.Parameter: parameter,
    spec.Buffer: buffer,
}
KINDS: dict[type, Word] = {
    linen.Dense: "Linear",
    linen.Embed: "Embedding",
    TransposedLinear: "TransposedLinear",
    Decoder: "Decoder",
    Transposed: "Transposed",
    FixedLinear: "FixedLinear",
    Array: lambda module: "Parameter" if module.collection == "params" else "Buffer",
}
