"""Factories of models with JAX's arrays: the tensors for many seeds, by one compilation where a factory allows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError

from ..common.wing import Native, drawn, model_of
from .devices import running
from .trees import Owned, stored_tensors

# The live arrays of a model by path; those of one that is made while JAX traces are tracers.
Look = Callable[[Any], dict[str, Owned]]
# How much of the draws is made at once.
_CHUNK_BYTES = 2**28
# What a factory raises that makes a number, a string or an array of NumPy's of its seed: JAX's own errors, which are
# TypeErrors all but for one, and those of code that takes a traced seed for the wrong kind of thing.
_NOT_TRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError, FlaxError, TypeError, ValueError, AttributeError)


def draws_of(factory: Any, seeds: Sequence[int], look: Look, device: str, target: int | None) -> dict[str, np.ndarray]:
    """What a wing's `draws` gives, for a kind of model whose arrays `look` tells."""

    def made(seed: int) -> dict[str, Native]:
        return stored_tensors(look(model_of(factory, seed)))

    def together(all_seeds: Sequence[int], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        # JAX reads other numbers as other keys once they are traced.
        if not all(0 <= seed < 2**31 for seed in all_seeds):
            return None
        try:
            return _mapped(factory, look, np.asarray(all_seeds, np.int32), tensors)
        except _NOT_TRACEABLE:
            # No seed of its own is at fault: the first ones were drawn from before, and the others will be one by one.
            return None

    with running(device):
        return drawn(made, seeds, target, together)


def _mapped(factory: Any, look: Look, seeds: np.ndarray, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors for all seeds, made by chunks of equal length, so that all have one compilation."""
    size = sum(array.nbytes for array in tensors.values())
    length = min(len(seeds), max(1, _CHUNK_BYTES // max(1, size)))

    def one(seed: Any) -> dict[str, jax.Array]:
        owned = look(factory(seed))
        return {path: jnp.asarray(owned[path].array) for path in tensors}

    run = jax.jit(jax.vmap(one))
    padded = np.resize(seeds, -(-len(seeds) // length) * length)
    found = {path: np.empty((len(padded), *array.shape), array.dtype) for path, array in tensors.items()}
    for start in range(0, len(padded), length):
        for path, array in run(padded[start : start + length]).items():
            found[path][start : start + length] = np.asarray(array)
    return {path: array[: len(seeds)] for path, array in found.items()}
