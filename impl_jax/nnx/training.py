"""A training step: mean squared error and plain gradient descent, in place."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from .access import arrays


def step(
    model: nnx.Module, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[nnx.Module, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    seed: of the dropout masks, if the model draws any. Returns `model` itself, updated in place.
    """
    nnx.reseed(model, dropout=seed)
    optimizer = nnx.Optimizer(model, optax.sgd(learning_rate), wrt=nnx.Param)

    def loss(module: nnx.Module) -> jax.Array:
        output = module(*arrays(inputs))  # type: ignore[operator]
        return jnp.mean((output - jnp.asarray(targets)) ** 2)

    model.train()
    try:
        value, gradients = nnx.value_and_grad(loss)(model)
    finally:
        model.eval()
    optimizer.update(model, gradients)
    return model, value.item()
