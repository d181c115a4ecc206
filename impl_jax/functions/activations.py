"""Functions of every entry alone or of one axis; their derivatives at a kink are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ...common import layers as spec
from ...common.spec import Layer


def identity(x: jax.Array) -> jax.Array:
    """x."""
    return x


def sloped(x: jax.Array, slope: jax.Array | float) -> jax.Array:
    """x for x > 0, else slope * x. The derivative at 0 is the slope; that of `jax.nn.leaky_relu` is 1 there."""
    return jnp.where(x > 0, x, slope * x)


def along_channels(slopes: jax.Array, x: jax.Array) -> jax.Array:
    """One slope, or one for each place on axis 1, in the dtype of x and in a shape that stretches over it."""
    slopes = slopes.astype(x.dtype)
    return slopes.reshape(-1, *(1,) * (x.ndim - 2)) if slopes.ndim else slopes


def hardtanh(x: jax.Array, low: float, high: float) -> jax.Array:
    """x between the bounds, and the nearer of them outside. The derivative on them is 0; JAX's is 1 there."""
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x)).astype(x.dtype)


def softplus(x: jax.Array, beta: float, threshold: float) -> jax.Array:
    """log(1 + exp(beta x)) / beta, and x where beta x is above the threshold."""
    return jnp.where(beta * x > threshold, x, jax.nn.softplus(beta * x) / beta)


ACTIVATIONS: dict[type[Layer], Callable[[Any], Callable[..., Any]]] = {
    spec.Identity: lambda layer: identity,
    spec.ReLU: lambda layer: jax.nn.relu,
    spec.ReLU6: lambda layer: jax.nn.relu6,
    spec.LeakyReLU: lambda layer: partial(sloped, slope=layer.slope),
    spec.ELU: lambda layer: partial(jax.nn.elu, alpha=layer.alpha),
    spec.SELU: lambda layer: jax.nn.selu,
    spec.CELU: lambda layer: partial(jax.nn.celu, alpha=layer.alpha),
    spec.SiLU: lambda layer: jax.nn.silu,
    spec.GELU: lambda layer: partial(jax.nn.gelu, approximate=layer.approximate == "tanh"),
    spec.Mish: lambda layer: jax.nn.mish,
    spec.Hardswish: lambda layer: jax.nn.hard_swish,
    spec.Hardsigmoid: lambda layer: jax.nn.hard_sigmoid,
    spec.Hardtanh: lambda layer: partial(hardtanh, low=layer.low, high=layer.high),
    spec.Tanh: lambda layer: jnp.tanh,
    spec.Sigmoid: lambda layer: jax.nn.sigmoid,
    spec.LogSigmoid: lambda layer: jax.nn.log_sigmoid,
    spec.Softsign: lambda layer: jax.nn.soft_sign,
    spec.Softplus: lambda layer: partial(softplus, beta=layer.beta, threshold=layer.threshold),
    spec.Softmax: lambda layer: partial(jax.nn.softmax, axis=layer.axis),
    spec.LogSoftmax: lambda layer: partial(jax.nn.log_softmax, axis=layer.axis),
    spec.GLU: lambda layer: partial(jax.nn.glu, axis=layer.axis),
}
