"""What the ports and their mutants have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)
Function = Callable[[Any], Any]


def identity(x: Any) -> Any:
    return x


def in_dtype(dtype: Any) -> Function:
    """Rounds to a coarser type, and goes on in the one that it was given."""
    return lambda x: x.astype(dtype).astype(x.dtype)


def scaled_gradient(factor: float) -> Function:
    """The identity, with a backward pass of its own that is wrong by a factor."""
    wrong = jax.custom_vjp(identity)
    wrong.defvjp(lambda x: (x, None), lambda _, cotangent: (factor * cotangent,))
    return wrong


def drawn_normal(model: Model, std: float, seed: int) -> Model:
    """Matrices and tables from a normal distribution, biases zero; what norms hold is left as it is."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, std, generator=generator)
            elif name.rpartition(".")[2].startswith("bias"):
                parameter.zero_()
    return model
