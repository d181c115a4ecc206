"""What embeddings of both Flax wings do as PyTorch's does it, and Flax's own do not."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def unless_padding(rows: jax.Array, tokens: jax.Array, padding_idx: int) -> jax.Array:
    """The rows of the tokens, those of the padding token cut off from the gradient."""
    return jnp.where((tokens == padding_idx)[..., None], jax.lax.stop_gradient(rows), rows)
