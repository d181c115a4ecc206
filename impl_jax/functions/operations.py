"""Functions that rearrange or combine arrays, or read sequences.

The layer of the same name in `common.layers` tells its inputs and its output with all axes, and where it is from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ...common import layers as spec
from ...common.errors import ShapeError
from ...common.spec import Layer


def flatten(x: jax.Array) -> jax.Array:
    """All axes but the first merged into one."""
    return x.reshape(x.shape[0], -1)


def halve(x: jax.Array, limit: float) -> jax.Array:
    """`x` halved while the sum of its magnitudes is above the limit.

    The loop runs on a scalar that carries no gradient, so that it can be traced, and differentiated in reverse, which
    a while_loop over `x` could not. Halving is exact, so the result is that of the eager loop.
    """
    total = jax.lax.stop_gradient(jnp.abs(x).sum())

    def still_large(scale: jax.Array) -> jax.Array:
        return total * scale > limit

    scale = jax.lax.while_loop(still_large, lambda scale: scale / 2, jnp.ones((), x.dtype))
    return x * scale


def split(x: jax.Array, parts: int) -> tuple[jax.Array, ...]:
    """Equal parts of the last axis."""
    return tuple(jnp.split(x, parts, axis=-1))


def concatenate(*arrays: jax.Array, axis: int) -> jax.Array:
    """Arrays one behind the other along an axis, a batch of 1 stretched to the others'."""
    batch = max(array.shape[0] for array in arrays)
    return jnp.concatenate([jnp.broadcast_to(array, (batch, *array.shape[1:])) for array in arrays], axis)


def take(x: jax.Array, index: int, axis: int) -> jax.Array:
    """One place of an axis; an index that is not there is an error, where x[index] gives the last one."""
    return jax.lax.index_in_dim(x, index, axis, keepdims=False)


def positions(x: jax.Array) -> jax.Array:
    """0, 1, ..., T-1, of shape (1, T), for x (batch, T, ...)."""
    return jnp.arange(x.shape[1])[None]


def prefix(table: jax.Array, x: jax.Array) -> jax.Array:
    """The first T places of a table (batch, P, ...), for x (batch, T, ...).

    Raises:
        ShapeError: T is above P.
    """
    if x.shape[1] > table.shape[1]:
        raise ShapeError("", f"a sequence of at most {table.shape[1]} positions", f"{x.shape[1]} of them")
    return table[:, : x.shape[1]]


def attention_weights(
    query: jax.Array,
    key: jax.Array,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    layer: spec.AttentionWeights,
) -> jax.Array:
    """softmax(scale q k^T + bias), (batch, heads, T, S), with what is masked out lowered to the least number."""
    queries, keys = _heads(query, layer.heads), _heads(key, layer.kv_heads or layer.heads)
    scale = queries.shape[-1] ** -0.5 if layer.scale is None else layer.scale
    scores = queries @ _repeated(keys, layer.heads).mT * scale
    if bias is not None:
        scores = scores + bias
    allowed = _allowed(scores, mask, layer.causal)
    if allowed is not None:
        scores = scores + jnp.where(allowed, 0, jnp.finfo(scores.dtype).min).astype(scores.dtype)
    return jax.nn.softmax(scores, axis=-1)


def weighted_values(weights: jax.Array, value: jax.Array, *, layer: spec.WeightedValues) -> jax.Array:
    """The sums of the values by the weights, (batch, T, heads * D), the heads one behind the other."""
    values = _heads(value, layer.kv_heads or layer.heads)
    summed = (weights @ _repeated(values, layer.heads)).swapaxes(1, 2)
    return summed.reshape(*summed.shape[:2], -1)


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    layer: spec.Attention,
) -> jax.Array:
    """Both in one."""
    weights = attention_weights(query, key, mask, bias, layer=layer.weights)
    return weighted_values(weights, value, layer=layer.values)


def _heads(x: jax.Array, heads: int) -> jax.Array:
    """(batch, time, heads * depth) as (batch, heads, time, depth)."""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def _repeated(x: jax.Array, heads: int) -> jax.Array:
    """(batch, kv_heads, time, depth) with each head as often as there are queries' heads for it."""
    return x if x.shape[1] == heads else jnp.repeat(x, heads // x.shape[1], axis=1)


def _allowed(scores: jax.Array, mask: jax.Array | None, causal: bool) -> jax.Array | None:
    """Which scores count, to be stretched to their shape; None if all do."""
    queries, keys = scores.shape[-2:]
    given = None if mask is None else (mask[:, None, None] if mask.ndim == 2 else mask[:, None]) != 0
    if not causal:
        return given
    past = jnp.tri(queries, keys, keys - queries, dtype=bool)
    return past if given is None else past & given


def rotary_angles(x: jax.Array, frequencies: jax.Array) -> jax.Array:
    """Each position times each of D/2 frequencies, (1, T, D/2), for x (batch, T, ...)."""
    return (jnp.arange(x.shape[1], dtype=frequencies.dtype)[:, None] * frequencies)[None]


def rotary(x: jax.Array, angles: jax.Array) -> jax.Array:
    """x (batch, T, heads * D) with the pairs (i, i + D/2) of each head turned by their angles (1, T, D/2)."""
    pairs = x.reshape(*x.shape[:2], -1, 2, angles.shape[-1])
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    first, second = pairs[..., 0, :], pairs[..., 1, :]
    return jnp.stack((first * cos - second * sin, second * cos + first * sin), -2).reshape(x.shape)


def relative_buckets(queries: jax.Array, keys: jax.Array, *, layer: spec.RelativeBuckets) -> jax.Array:
    """The buckets of the distances between the places of two sequences, (T, S), whole numbers."""
    return jnp.asarray(layer.table(queries.shape[1], keys.shape[1]))


OPERATIONS: dict[type[Layer], Callable[[Any], Callable[..., Any]]] = {
    spec.Flatten: lambda layer: flatten,
    spec.Halve: lambda layer: partial(halve, limit=layer.limit),
    spec.Sum: lambda layer: jnp.sum,
    spec.Split: lambda layer: partial(split, parts=layer.parts),
    spec.Concatenate: lambda layer: partial(concatenate, axis=layer.axis),
    spec.Take: lambda layer: partial(take, index=layer.index, axis=layer.axis),
    spec.Rearrange: lambda layer: layer.layout.to_native,
    spec.Positions: lambda layer: positions,
    spec.Prefix: lambda layer: prefix,
    spec.AttentionWeights: lambda layer: partial(attention_weights, layer=layer),
    spec.WeightedValues: lambda layer: partial(weighted_values, layer=layer),
    spec.Attention: lambda layer: partial(attention, layer=layer),
    spec.RotaryAngles: lambda layer: rotary_angles,
    spec.Rotary: lambda layer: rotary,
    spec.RelativeBuckets: lambda layer: partial(relative_buckets, layer=layer),
}
