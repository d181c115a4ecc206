"""Lazy construction: a Linen module has no parameters until it has seen an input. It is never anything but lazy."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from ...common import spec
from ...common.errors import SpecError
from .build import build
from .naming import Model, places


def is_lazy(model: Model) -> bool:
    """Whether the model still has no variables."""
    return not jax.tree.leaves(model[1])


def materialize(model: Model, layer: spec.Layer, inputs: Sequence[np.ndarray], *, seed: int = 0) -> Model:
    """The model built from `layer` with its variables, drawn by path; a model that has them is returned as it is.

    inputs: neutral arrays with a batch axis in front.

    Raises:
        SpecError: the input's width does not chain.
    """
    if not inputs:
        raise SpecError("", "an input to learn the widths from", "none", "Give the arrays of one forward pass.")
    resolved, _ = spec.flow(layer, *(tuple(array.shape[1:]) for array in inputs))
    if not is_lazy(model):
        return model
    dtypes = (str(place.module.param_dtype) for place in places(model[0]) if hasattr(place.module, "param_dtype"))
    return build(resolved, seed=seed, dtype=next(dtypes, "float32"))
