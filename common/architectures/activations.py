"""Activations by the names that configurations of transformers give them (its `ACT2FN`)."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UsageError, nearest
from ..layers import GELU, LeakyReLU, Mish, ReLU, ReLU6, Sigmoid, SiLU, Tanh
from ..spec import Layer

ACTIVATIONS: Mapping[str, Layer] = {
    "relu": ReLU(),
    "relu6": ReLU6(),
    "gelu": GELU(),
    "gelu_new": GELU("tanh"),
    "gelu_pytorch_tanh": GELU("tanh"),
    "silu": SiLU(),
    "swish": SiLU(),
    "tanh": Tanh(),
    "sigmoid": Sigmoid(),
    "leaky_relu": LeakyReLU(),
    "mish": Mish(),
}


def activation(name: str) -> Layer:
    """The layer that a configuration calls `name`; raises UsageError naming the nearest one."""
    if name not in ACTIVATIONS:
        raise UsageError(name, "the name of an activation", "none of that name", nearest(name, ACTIVATIONS))
    return ACTIVATIONS[name]
