"""What is masked in both Flax wings as in PyTorch, and by Flax itself is not: a padding token, a query without keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def unless_padding(rows: jax.Array, tokens: jax.Array, padding_idx: int) -> jax.Array:
    """The rows (*tokens, width) of the tokens, of any shape, those of the padding token cut off from the gradient."""
    return jnp.where((tokens == padding_idx)[..., None], jax.lax.stop_gradient(rows), rows)


def zero_where_blocked(attended: jax.Array, mask: jax.Array | None) -> jax.Array:
    """What Flax's attention gives, (batch, T, heads, width), with zeros for a query that may attend to nothing.

    Flax masks with the least finite number, so that such a query attends to all keys alike.
    """
    if mask is None:
        return attended
    # From (batch, 1, T, S) to (batch, T, 1, 1).
    some = jnp.swapaxes(mask.any(axis=-1), -1, -2)[..., None]
    return jnp.where(some, attended, jnp.zeros((), attended.dtype))


def for_heads(mask: jax.Array | None, query: jax.Array, key: jax.Array) -> jax.Array | None:
    """A mask that is broadcastable to (batch, T, S) as Flax takes one: (batch, 1, T, S), boolean."""
    if mask is None:
        return None
    return jnp.broadcast_to(mask != 0, (query.shape[0], query.shape[1], key.shape[1]))[:, None]
