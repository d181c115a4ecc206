"""Attention in several heads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from flax.typing import PrecisionLike
from jax.typing import DTypeLike

from ....common import layers as spec
from ....common.layers import Word
from ....common.layouts import TRANSPOSED, Layout
from ...draws import NativeInit
from ...functions import for_heads, zero_where_blocked
from .at import At, Makers


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array | None = None,
    dropout_rng: jax.Array | None = None,
    dropout_rate: float = 0.0,
    broadcast_dropout: bool = True,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    force_fp32_for_softmax: bool = False,
    module: linen.Module | None = None,
) -> jax.Array:
    """Flax's attention, with zeros for a query that may attend to nothing.

    Each setting has its name here, since Linen hands over those that it finds in the signature.
    """
    attended = linen.dot_product_attention(
        query,
        key,
        value,
        mask=mask,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        broadcast_dropout=broadcast_dropout,
        deterministic=deterministic,
        dtype=dtype,
        precision=precision,
        force_fp32_for_softmax=force_fp32_for_softmax,
        module=module,
    )
    return zero_where_blocked(attended, mask)


class MultiheadAttention(linen.MultiHeadDotProductAttention):
    """linen.MultiHeadDotProductAttention with a mask for all heads, and zeros for a query that may attend to nothing.

    Dropout is active when `apply` is given a `dropout` key.
    """

    @linen.compact
    def __call__(  # type: ignore[override]
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        key = query if key is None else key
        with warnings.catch_warnings():
            # Flax takes a square value for a mask that stands in the place where older versions had it.
            warnings.filterwarnings("ignore", "You are passing an array of shape", DeprecationWarning)
            return super().__call__(
                query,
                key,
                key if value is None else value,
                mask=for_heads(mask, query, key),
                deterministic=not self.has_rng("dropout"),
            )


@dataclass(frozen=True)
class PartInit:
    """The spec's initializer of a packed array as that of its query, key or value, which has the law of the whole."""

    packed: NativeInit

    def __call__(self, key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32, **_: Any) -> jax.Array:
        return self.packed(key, (3, *shape), dtype)[0]


def attention(layer: spec.MultiheadAttention, at: At) -> linen.Module:
    """linen.MultiHeadDotProductAttention, as it is here."""
    kernel_init: Any = at.init("in_proj_weight" if layer.packed else "q_proj_weight")
    kernel_init = replace(kernel_init, layout=TRANSPOSED)
    if layer.packed:
        kernel_init = PartInit(replace(kernel_init, layout=Layout("(p o) i -> p i o", (("p", 3),))))
    return MultiheadAttention(
        num_heads=layer.heads,
        qkv_features=layer.features,
        out_features=layer.features,
        use_bias=layer.bias,
        dropout_rate=layer.dropout,
        broadcast_dropout=False,
        # Flax asks for a kernel of two axes and splits the heads afterwards.
        kernel_init=kernel_init,
        out_kernel_init=replace(at.init("out_proj.weight"), layout=TRANSPOSED),
        attention_fn=attend,
        param_dtype=at.dtype,
    )


MAKERS: Makers = {spec.MultiheadAttention: attention}
KINDS: dict[type, Word] = {linen.MultiHeadDotProductAttention: "MultiheadAttention"}
