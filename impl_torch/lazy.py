"""Lazy construction: PyTorch's LazyLinear learns its width from its first input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..common import spec
from ..common.errors import SpecError
from ..common.spec import table_of
from .access import arrays, cuda_indices, inference
from .initialization import fill
from .naming import leaves


def is_lazy(model: nn.Module) -> bool:
    """Whether a parameter still waits for its shape."""
    return any(isinstance(leaf.array, (UninitializedParameter, UninitializedBuffer)) for leaf in leaves(model))


def materialize(model: nn.Module, layer: spec.Layer, inputs: Sequence[np.ndarray], *, seed: int = 0) -> nn.Module:
    """Give every lazy parameter of the model built from `layer` its shape, and draw it by path. Returns `model`.

    inputs: neutral arrays with a batch axis in front. A parameter that was already there keeps its values.

    Raises:
        SpecError: the input's width does not chain; the model is as it was.
    """
    if not inputs:
        raise SpecError("", "an input to learn the widths from", "none", "Give the arrays of one forward pass.")
    resolved, _ = spec.flow(layer, *(tuple(array.shape[1:]) for array in inputs))
    rows = table_of(resolved)
    waiting = {
        leaf.path for leaf in leaves(model) if isinstance(leaf.array, (UninitializedParameter, UninitializedBuffer))
    }
    # A lazy layer draws its parameters on its own first: from the global generator, which is put back.
    with inference(model), torch.no_grad(), torch.random.fork_rng(devices=cuda_indices(model)):
        model(*arrays(model, inputs))
    for leaf in leaves(model):
        row = rows[leaf.path]
        if leaf.path in waiting and row.tie is None:
            fill(leaf.array, row.drawn_from, seed, row.path)
    return model
