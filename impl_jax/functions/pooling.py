"""Pooling over (batch, channels, *spatial).

Flax has `max_pool` and `avg_pool`, functions over (batch, *spatial, channels): a `reduce_window`, as here, but without
gaps in a window, without a last window past the end, and without a given number of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...common.layers import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, MaxPool, Pool
from ...common.spec import Layer


@partial(jax.jit, static_argnames="layer")
def max_pool(x: jax.Array, layer: MaxPool) -> jax.Array:
    """The greatest entry of each window; its gradient goes to the first of several.

    Raises:
        SpecError: not one window fits into the input.
    """
    layer.out(x.shape[1:], "")
    if any(gap != 1 for gap in layer.dilations):
        # JAX has no gradient of a reduce_window with gaps.
        pads = _around(layer, x.shape[2:])
        padded = jnp.pad(x, pads, constant_values=-np.inf)
        return _greatest(padded, layer.windows(x.shape[2:]))
    return _reduced(x, layer, -np.inf, jax.lax.max)


@partial(jax.jit, static_argnames="layer")
def avg_pool(x: jax.Array, layer: AvgPool) -> jax.Array:
    """The mean of each window; raises SpecError if not one fits into the input."""
    layer.out(x.shape[1:], "")
    return _reduced(x, layer, 0.0, jax.lax.add) / jnp.asarray(layer.divisors(x.shape[2:]), x.dtype)


@partial(jax.jit, static_argnames="layer")
def adaptive_max_pool(x: jax.Array, layer: AdaptiveMaxPool) -> jax.Array:
    """The greatest entry of each of a given number of windows; its gradient goes to the first of several.

    Raises:
        SpecError: the input has another number of axes.
    """
    layer.out(x.shape[1:], "")
    return _greatest(x, layer.windows(x.shape[2:]))


@partial(jax.jit, static_argnames="layer")
def adaptive_avg_pool(x: jax.Array, layer: AdaptiveAvgPool) -> jax.Array:
    """The mean of each of a given number of windows, one axis at a time.

    Raises:
        SpecError: the input has another number of axes.
    """
    layer.out(x.shape[1:], "")
    for axis, (start, end) in enumerate(layer.bounds(x.shape[2:]), 2):
        x = jnp.moveaxis(_means(jnp.moveaxis(x, axis, -1), start, end), -1, axis)
    return x


def _means(x: jax.Array, start: np.ndarray, end: np.ndarray) -> jax.Array:
    """The means of x[..., start:end] for each of several starts and ends.

    Only what lies in a window is added up: a product with a matrix of shares would be shorter, but 0 times an infinity
    is NaN, so that one infinity would spread to every window.
    """
    lengths = end - start
    entry = np.arange(lengths.max())
    places = np.minimum(start[:, None] + entry, x.shape[-1] - 1)
    inside = jnp.where(entry < lengths[:, None], x[..., places], 0)
    return inside.sum(-1) / jnp.asarray(lengths, x.dtype)


def _reduced(x: jax.Array, layer: Pool, start: float, combine: Callable[..., Any]) -> jax.Array:
    """All windows reduced, over what is padded with `start`."""
    window = (1, 1, *layer.each(layer.kernel_size))
    # A NumPy scalar, since JAX has a gradient only for a start that it can see to be the operation's own.
    initial = np.asarray(start, x.dtype)[()]
    return jax.lax.reduce_window(x, initial, combine, window, (1, 1, *layer.strides), _around(layer, x.shape[2:]))


def _around(layer: Pool, sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return ((0, 0), (0, 0), *layer.pads(sizes))


def _greatest(x: jax.Array, windows: Sequence[np.ndarray]) -> jax.Array:
    """The greatest entry of each window, one axis at a time.

    The first one on each axis is the first one of the whole window, the last axis running fastest. It alone has the
    gradient; `max` would share it among all that are equal.
    """
    for axis in reversed(range(2, x.ndim)):
        entries = jnp.moveaxis(x, axis, -1)[..., windows[axis - 2]]
        first = jnp.argmax(entries, axis=-1, keepdims=True) == jnp.arange(entries.shape[-1])
        x = jnp.moveaxis(jnp.where(first, entries, 0).sum(-1), -1, axis)
    return x


POOLING: dict[type[Layer], Callable[[Any], Callable[..., Any]]] = {
    MaxPool: lambda layer: partial(max_pool, layer=layer),
    AvgPool: lambda layer: partial(avg_pool, layer=layer),
    AdaptiveMaxPool: lambda layer: partial(adaptive_max_pool, layer=layer),
    AdaptiveAvgPool: lambda layer: partial(adaptive_avg_pool, layer=layer),
}
