"""Attention in several heads."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.attention import dot_product_attention_weights

from ....common import layers as spec
from ....common.layers import Word
from ...functions import for_heads, zero_where_blocked
from .at import At, Makers


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, *, mask: jax.Array | None = None, **settings: Any
) -> jax.Array:
    """Flax's weights times the values, in the model's own precision; zeros for a query that may attend to nothing.

    `nnx.dot_product_attention` leaves that to `jax.nn.dot_product_attention`, which takes the softmax in float32.
    """
    weights = dot_product_attention_weights(query, key, mask=mask, **settings)
    attended = jnp.einsum("...hqk,...khd->...qhd", weights, value, precision=settings["precision"])
    return zero_where_blocked(attended, mask)


class MultiheadAttention(nnx.MultiHeadAttention):
    """nnx.MultiHeadAttention with a mask for all heads, a value of its own width, and zeros for a query that may attend
    to nothing."""

    def __init__(self, layer: spec.MultiheadAttention, at: At) -> None:
        _, kdim, vdim = layer.widths
        zeros = nnx.initializers.zeros
        super().__init__(
            num_heads=layer.heads,
            in_features=layer.features,
            in_kv_features=kdim,
            use_bias=layer.bias,
            dropout_rate=layer.dropout,
            broadcast_dropout=False,
            decode=False,
            kernel_init=zeros,
            attention_fn=attend,
            param_dtype=at.dtype,
            rngs=at.rngs,
        )
        if vdim != kdim:
            heads = (layer.heads, self.head_dim)
            self.value = nnx.LinearGeneral(
                vdim, heads, use_bias=layer.bias, kernel_init=zeros, param_dtype=at.dtype, rngs=at.rngs
            )

    def __call__(  # type: ignore[override]
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        key = query if key is None else key
        return super().__call__(query, key, value, mask=for_heads(mask, query, key))


MAKERS: Makers = {spec.MultiheadAttention: MultiheadAttention}
KINDS: dict[type, Word] = {nnx.MultiHeadAttention: "MultiheadAttention"}
