"""A layer of the spec beside the stock classes of PyTorch and Flax that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import linen, nnx
from torch import nn

from paritree.common.spec import Layer

Inputs = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Case:
    """One layer with one set of settings.

    inputs: neutral arrays, batch axis first, in the canonical layout.
    torch: makes the stock torch module with the same settings.
    call: how that module gives our output.
    linen, nnx: make Flax's own module of the same sizes at its default initializers; None where Flax has none.
    flax_inputs: the inputs as Linen's own module takes them in `init`.
    """

    name: str
    spec: Layer
    inputs: Inputs
    torch: Callable[[], nn.Module]
    call: Callable[..., Any] = lambda module, *inputs: module(*inputs)
    linen: Callable[[], linen.Module] | None = None
    nnx: Callable[[nnx.Rngs], nnx.Module] | None = None
    flax_inputs: Callable[[Inputs], tuple[Any, ...]] = lambda inputs: inputs
