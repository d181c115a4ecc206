"""A training step: mean squared error and plain gradient descent, in place."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from ...common.outputs import check_targets
from .access import arrays, in_mode


def step(
    model: nnx.Module, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[nnx.Module, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    seed: of the dropout masks, if the model draws any. Returns `model` itself, updated in place, each submodule in the
    mode that it had.

    Raises:
        ShapeError: targets of another shape than the output's; NotExpressibleError: the output is not one array.
    """
    nnx.reseed(model, dropout=seed)
    optimizer = nnx.Optimizer(model, optax.sgd(learning_rate), wrt=nnx.Param)

    def loss(module: nnx.Module) -> jax.Array:
        output = module(*arrays(inputs))  # type: ignore[operator]
        check_targets(targets, output)
        return jnp.mean((output - jnp.asarray(targets)) ** 2)

    with in_mode(model, training=True):
        value, gradients = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradients)
    return model, value.item()
