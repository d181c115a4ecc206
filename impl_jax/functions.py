"""What the spec's layers without parameters are as JAX functions; both Flax wings use them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from ..common import layers
from ..common.errors import NotExpressibleError
from ..common.spec import Layer

Function = Callable[[jax.Array], jax.Array]


def function_of(path: str, layer: Layer) -> Function:
    """The function that the layer at `path` is, which has no parameters.

    Raises:
        NotExpressibleError: a layer that this wing does not know.
    """
    match layer:
        case layers.ReLU():
            return jax.nn.relu
        case layers.Tanh():
            return jnp.tanh
        case layers.Sigmoid():
            return jax.nn.sigmoid
        case layers.SiLU():
            return jax.nn.silu
        case layers.GELU():
            return partial(jax.nn.gelu, approximate=layer.approximate == "tanh")
        case layers.LeakyReLU():
            return partial(jax.nn.leaky_relu, negative_slope=layer.slope)
        case layers.Softplus():
            return jax.nn.softplus
        case layers.Flatten():
            return flatten
        case layers.Halve():
            return partial(halve, limit=layer.limit)
        case layers.Sum():
            return jnp.sum
    raise NotExpressibleError(path, "a layer that the Flax wings know", layer.kind, "Use a layer of paritree.")


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
