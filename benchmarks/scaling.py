"""Names and tables of large models: time must be linear in the number of parameter tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flax import linen, nnx

import paritree
from paritree.common.spec import Sequential

from .measure import ratio, row

FEW, MANY = 10_000, 100_000


def spec(tensors: int) -> Sequential:
    """A chain of 1x1 layers with a weight and a bias each."""
    return Sequential(*[paritree.Linear(1, 1) for _ in range(tensors // 2)])


def torch_model(tensors: int) -> torch.nn.Module:
    return torch.nn.Sequential(*[torch.nn.Linear(1, 1, device="meta") for _ in range(tensors // 2)])


def linen_model(tensors: int) -> tuple[linen.Module, dict[str, Any]]:
    count = tensors // 2
    kernel, bias = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    params = {f"layers_{i}": {"kernel": kernel, "bias": bias} for i in range(count)}
    return linen.Sequential([linen.Dense(1) for _ in range(count)]), {"params": params}


def nnx_model(tensors: int) -> nnx.Module:
    kernel, bias = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)

    def layer() -> nnx.Linear:
        rngs = nnx.Rngs(0)
        return nnx.Linear(1, 1, kernel_init=lambda *_: kernel, bias_init=lambda *_: bias, rngs=rngs)

    return nnx.Sequential(*[layer() for _ in range(tensors // 2)])


MODELS: dict[str, Callable[[int], Any]] = {
    "spec": spec,
    "torch": torch_model,
    "linen": linen_model,
    "nnx": nnx_model,
}


def main() -> None:
    print(f"Time for the table of {MANY:,} tensors over that of {FEW:,}; linear is {MANY // FEW}")
    for name, make in MODELS.items():
        few, many = make(FEW), make(MANY)
        assert len(paritree.table(many)) == MANY
        row(name, ratio(lambda many=many: paritree.table(many), lambda few=few: paritree.table(few), pairs=7))
