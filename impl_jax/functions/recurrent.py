"""Recurrent layers as functions of their weights: a scan over the time for each layer and direction.

Weights go by PyTorch's names, each matrix transposed, (in, out). What the input gives to all gates is one product
over the whole sequence; only what the state gives is computed step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ...common import layers as spec

Weights = Mapping[str, jax.Array]
State = Any
# From one direction's weights by role, the state, and what the input gives to all gates: the next state and the output.
Step = Callable[[Weights, State, jax.Array], tuple[State, jax.Array]]


def shapes(layer: spec.Recurrent) -> dict[str, tuple[int, ...]]:
    """The shape of each weight as it lies here, by name: the canonical one from right to left."""
    return {each.name: tuple(size for size in reversed(each.shape) if size is not None) for each in layer.parameters()}


def outputs(layer: spec.Recurrent, weights: Weights, x: jax.Array, drop: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The output sequence (batch, time, width) of `x` (batch, time, features), for a zero initial state.

    drop: what comes between two layers.

    Raises:
        ShapeError: an input with other axes.
    """
    spec.check_recurrent_input(x.shape, layer.input)
    for number in range(layer.layers):
        read = drop(x) if number else x
        directions = [_direction(layer, weights, suffix, read) for suffix in layer.suffixes(number)]
        x = jnp.concatenate(directions, axis=-1) if layer.bidirectional else directions[0]
    return x


def unchanged(x: jax.Array) -> jax.Array:
    """What comes between two layers without dropout."""
    return x


def _direction(layer: spec.Recurrent, weights: Weights, suffix: str, x: jax.Array) -> jax.Array:
    own = {role: weights[f"{role}_{suffix}"] for role in layer.roles if f"{role}_{suffix}" in weights}
    return _scanned(_step_of(layer), own, x, suffix.endswith("_reverse"))


# Compiled as one, since a scan that is called by itself is compiled again at every call.
@partial(jax.jit, static_argnums=(0, 3))
def _scanned(step: Step, own: Weights, x: jax.Array, reverse: bool) -> jax.Array:
    """One layer in one direction; the reverse one starts at the end and leaves each output at its place."""
    given = _affine(x, own["weight_ih"], own.get("bias_ih"))
    _, sequence = jax.lax.scan(partial(step, own), _zero_state(step, own, given), given.swapaxes(0, 1), reverse=reverse)
    return sequence.swapaxes(0, 1)


def _zero_state(step: Step, own: Weights, given: jax.Array) -> State:
    batch, rows = given.shape[0], given.shape[-1]
    hidden = jnp.zeros((batch, own["weight_hh"].shape[0]), given.dtype)
    return (hidden, jnp.zeros((batch, rows // 4), given.dtype)) if step is lstm_step else hidden


def _affine(x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    return x @ weight if bias is None else x @ weight + bias


def _from_state(own: Weights, hidden: jax.Array) -> jax.Array:
    """What the state gives to all gates."""
    return _affine(hidden, own["weight_hh"], own.get("bias_hh"))


def tanh_step(own: Weights, hidden: State, given: jax.Array) -> tuple[State, jax.Array]:
    """h' = tanh(given + W_hh h + b_hh)."""
    hidden = jnp.tanh(given + _from_state(own, hidden))
    return hidden, hidden


def relu_step(own: Weights, hidden: State, given: jax.Array) -> tuple[State, jax.Array]:
    """h' = relu(given + W_hh h + b_hh)."""
    hidden = jax.nn.relu(given + _from_state(own, hidden))
    return hidden, hidden


def lstm_step(own: Weights, state: State, given: jax.Array) -> tuple[State, jax.Array]:
    """c' = f c + i g, h' = o tanh(c'), or W_hr times that; the state is (h, c), as in PyTorch."""
    hidden, memory = state
    i, f, g, o = jnp.split(given + _from_state(own, hidden), 4, axis=-1)
    memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
    hidden = jax.nn.sigmoid(o) * jnp.tanh(memory)
    if "weight_hr" in own:
        hidden = hidden @ own["weight_hr"]
    return (hidden, memory), hidden


def gru_step(own: Weights, hidden: State, given: jax.Array) -> tuple[State, jax.Array]:
    """h' = (1 - z) n + z h, n = tanh(given + r (W_hn h + b_hn)): the reset gate reaches b_hn and not b_in."""
    given_r, given_z, given_n = jnp.split(given, 3, axis=-1)
    state_r, state_z, state_n = jnp.split(_from_state(own, hidden), 3, axis=-1)
    reset, update = jax.nn.sigmoid(given_r + state_r), jax.nn.sigmoid(given_z + state_z)
    new = jnp.tanh(given_n + reset * state_n)
    hidden = new + update * (hidden - new)
    return hidden, hidden


def _step_of(layer: spec.Recurrent) -> Step:
    if isinstance(layer, spec.RNN):
        return relu_step if layer.nonlinearity == "relu" else tanh_step
    return lstm_step if isinstance(layer, spec.LSTM) else gru_step
