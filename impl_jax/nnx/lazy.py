"""Lazy construction: NNX has none. A module has its parameters from the start, so widths must be known before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flax import nnx

from ...common import spec
from ...common.errors import SpecError
from ..devices import setting
from .build import build


def is_lazy(model: nnx.Module | None) -> bool:
    """Whether there is no model yet: a live nnx.Module is never lazy."""
    return model is None


def materialize(
    model: nnx.Module | None, layer: spec.Layer, inputs: Sequence[np.ndarray], *, seed: int = 0
) -> nnx.Module:
    """The model of `layer` with the widths that the inputs give. `build` cannot make a lazy one, so `model` is None;
    a live model is returned as it is.

    A lazy model of another wing was built in a dtype. Here there is none to ask: it is float64 where JAX has that
    enabled, as inside `running(dtype="float64")`, and float32 elsewhere.

    inputs: neutral arrays with a batch axis in front.

    Raises:
        SpecError: the input's width does not chain.
    """
    if not inputs:
        raise SpecError("", "an input to learn the widths from", "none", "Give the arrays of one forward pass.")
    resolved, _ = spec.flow(layer, *(tuple(array.shape[1:]) for array in inputs))
    dtype = "float64" if setting("jax_enable_x64") else "float32"
    return build(resolved, seed=seed, dtype=dtype) if model is None else model
