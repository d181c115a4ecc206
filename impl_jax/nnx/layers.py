"""The modules that the spec needs and nnx does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import nnx


class Block(nnx.Module):
    """Named children that the forward pass calls in the order of `calls`, some of them repeatedly.

    registered: the children's names in order. A module's own attributes do not keep theirs: NNX sorts them whenever a
    graph is put together again.
    """

    def __init__(self, children: Mapping[str, Any], calls: Sequence[str]) -> None:
        for name, child in children.items():
            setattr(self, name, child)
        self.registered = tuple(children)
        self.calls = tuple(calls)

    def __call__(self, x: jax.Array) -> jax.Array:
        for name in self.calls:
            x = getattr(self, name)(x)
        return x


class Decoder(nnx.Module):
    """Logits x E^T + b, with the Variable E of an Embed: `attend` needs no transposed copy."""

    def __init__(self, embed: nnx.Embed, bias_init: Callable[..., Any] | None, dtype: Any) -> None:
        # The Variable and not the Embed: the tie is this one parameter, as in PyTorch.
        self.embedding = embed.embedding
        size = (embed.num_embeddings,)
        self.bias = nnx.Param(bias_init(jax.random.key(0), size, dtype)) if bias_init else None

    def __call__(self, x: jax.Array) -> jax.Array:
        logits = x @ self.embedding[...].T
        return logits if self.bias is None else logits + self.bias[...]


class Buffer(nnx.Variable[Any]):
    """State that travels with the model and is not trained."""


class FixedLinear(nnx.Module):
    """y = x W + shift with W a Buffer."""

    def __init__(self, in_features: int, out_features: int, shift: float, kernel_init: Callable[..., Any], dtype: Any):
        self.kernel = Buffer(kernel_init(jax.random.key(0), (in_features, out_features), dtype))
        self.shift = shift

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel[...] + self.shift
