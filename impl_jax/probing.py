"""What probing has in common in both Flax wings: the function of the weights, compiled once, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..common.pairs import Call, Cotangents, Inputs, Probe, Prober, named_arrays
from .parts import joined, parted

# What is stored for each path: one array, or several that hold it together.
Stored = Mapping[str, tuple[jax.Array, ...]]


def compiled(
    output_of: Callable[[Stored, Any], Any], leaves: Mapping[str, Any], stored: Stored, inputs: Inputs, dtype: str
) -> Prober:
    """`run(weights, cotangents)` for a side.

    output_of: the output for stored arrays and inputs.
    leaves, stored: the model's owners by path (their layout and kind are asked for), and what they hold now.
    """
    given = _given(inputs, dtype)
    floating = {path: arrays for path, arrays in stored.items() if jnp.issubdtype(arrays[0].dtype, jnp.floating)}
    # Typed as JAX holds them: outside of 64-bit mode there is no float64 array to be had.
    own = {path: tuple(array.astype(dtype) for array in arrays) for path, arrays in floating.items()}
    names: list[str] = []

    def outputs(trained: Any, kept: Any, inputs: Any) -> tuple[jax.Array, ...]:
        found = named_arrays(output_of({**trained, **kept}, inputs))
        floats = {name: array for name, array in found.items() if jnp.issubdtype(array.dtype, jnp.floating)}
        names[:] = floats
        return tuple(floats.values())

    def objective(trained: Any, kept: Any, inputs: Any, cotangents: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        made = outputs(trained, kept, inputs)
        terms = [(output * each.astype(output.dtype)).sum() for output, each in zip(made, cotangents, strict=True)]
        return sum(terms, jnp.zeros(())), made

    differentiated = jax.jit(jax.value_and_grad(objective, has_aux=True))

    def run(weights: Mapping[str, np.ndarray], cotangents: Cotangents) -> Probe:
        values = {**own, **{path: _parts(leaves[path], own[path], value) for path, value in weights.items()}}
        trained = {path: arrays for path, arrays in values.items() if leaves[path].kind == "parameter"}
        kept = {path: arrays for path, arrays in values.items() if path not in trained}
        shapes = [tuple(each.shape) for each in jax.eval_shape(outputs, trained, kept, given)]
        weighted = [jnp.asarray(each) for each in cotangents(shapes)]
        (_, made), gradients = differentiated(trained, kept, given, weighted)
        return Probe(
            {name: np.asarray(output) for name, output in zip(names, made, strict=True)},
            {path: joined(leaves[path].layout, gradients[path]) for path in trained},
        )

    return run


def called(model: Any, given: Any, call: Call | None, default: Callable[..., Any]) -> Any:
    """The output of `call(model, given)`, or without one of `default`."""
    if call is not None:
        return call(model, given)
    return default(**given) if isinstance(given, Mapping) else default(*given)


def _parts(leaf: Any, like: tuple[jax.Array, ...], value: np.ndarray) -> tuple[jax.Array, ...]:
    parts = parted(leaf.layout, value, len(like))
    return tuple(jnp.asarray(np.array(part, old.dtype)) for part, old in zip(parts, like, strict=True))


def _given(inputs: Inputs, dtype: str) -> Any:
    """The inputs as jax arrays, floating ones in `dtype`."""

    def placed(array: np.ndarray) -> jax.Array:
        made = jnp.asarray(array)
        return made.astype(dtype) if jnp.issubdtype(made.dtype, jnp.floating) else made

    if isinstance(inputs, Mapping):
        return {name: placed(array) for name, array in inputs.items()}
    return tuple(placed(array) for array in inputs)
