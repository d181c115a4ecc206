"""Flax's own cells: live ones with arrays by dotted name, run over a sequence by Flax's own RNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx, traverse_util

Arrays = Mapping[str, np.ndarray]
CLASSES: dict[str, Any] = {
    "linen.SimpleCell": linen.SimpleCell,
    "linen.LSTMCell": linen.LSTMCell,
    "linen.OptimizedLSTMCell": linen.OptimizedLSTMCell,
    "linen.GRUCell": linen.GRUCell,
    "nnx.SimpleCell": nnx.SimpleCell,
    "nnx.LSTMCell": nnx.LSTMCell,
    "nnx.OptimizedLSTMCell": nnx.OptimizedLSTMCell,
    "nnx.GRUCell": nnx.GRUCell,
}


def drawn(name: str, features: int, hidden: int, key: jax.Array) -> dict[str, jax.Array]:
    """The arrays of a new cell, by the names that Flax gives them, each drawn from Flax's own default."""
    if name.startswith("linen"):
        cell = CLASSES[name](hidden)
        x = jnp.zeros((1, features))
        variables = cell.init(key, cell.initialize_carry(key, x.shape), x)
        return traverse_util.flatten_dict(variables["params"], sep=".")
    cell = CLASSES[name](features, hidden, rngs=nnx.Rngs(key))
    flat = nnx.to_flat_state(nnx.state(cell, nnx.Param))
    return {".".join(map(str, path)): variable[...] for path, variable in flat}


def shapes(name: str, features: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a new cell's arrays."""
    made = jax.eval_shape(lambda key: drawn(name, features, hidden, key), jax.random.key(0))
    return {held: array.shape for held, array in made.items()}


def draws(name: str, features: int, hidden: int, count: int) -> dict[str, np.ndarray]:
    """The arrays of `count` new cells, stacked."""
    make = jax.vmap(lambda key: drawn(name, features, hidden, key))
    return {held: np.asarray(stack) for held, stack in make(jax.random.split(jax.random.key(0), count)).items()}


def output(name: str, arrays: Arrays, x: Any, hidden: int, *, reverse: bool = False, **settings: Any) -> Any:
    """What the cell with these arrays gives for the sequence `x` (batch, time, features), each output at its place."""
    if name.startswith("linen"):
        rnn = linen.RNN(CLASSES[name](hidden, **settings), reverse=reverse, keep_order=True)
        flat = {("cell", *held.split(".")): jnp.asarray(array) for held, array in arrays.items()}
        return rnn.apply({"params": traverse_util.unflatten_dict(flat)}, x)
    cell = CLASSES[name](x.shape[-1], hidden, rngs=nnx.Rngs(0), **settings)
    for held, array in arrays.items():
        layer, leaf = held.split(".")
        setattr(getattr(cell, layer), leaf, nnx.Param(jnp.asarray(array)))
    return nnx.RNN(cell, reverse=reverse, keep_order=True)(jnp.asarray(x))
