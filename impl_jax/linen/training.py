"""A training step: mean squared error and plain gradient descent, as a function from a model to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...common.outputs import check_targets
from .access import arrays
from .naming import Model, like


def step(
    model: Model, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[Model, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    In training mode means with a dropout key and with `batch_stats` to be updated: a Linen module that takes an
    argument for it, or that updates another collection, wants a step of its own.

    seed: of the dropout masks, if the model draws any. `model` is as it was.

    Raises:
        ShapeError: targets of another shape than the output's; NotExpressibleError: the output is not one array.
    """
    module, variables = model
    rest = {name: values for name, values in variables.items() if name != "params"}
    optimizer = optax.sgd(learning_rate)

    def loss(params: dict) -> tuple[jax.Array, Any]:
        given, rngs = {"params": params, **rest}, {"dropout": jax.random.key(seed)}
        output, updated = module.apply(given, *arrays(inputs), rngs=rngs, mutable=["batch_stats"])
        check_targets(targets, output)
        return jnp.mean((output - jnp.asarray(targets)) ** 2), updated

    params = variables.get("params", {})
    (value, updated), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    updates, _ = optimizer.update(gradients, optimizer.init(params))
    return like(model, module, {"params": optax.apply_updates(params, updates), **rest, **updated}), value.item()
