"""Convolutions, then a dense layer: torch flattens (c, h, w), a Flax port (h, w, c)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange
from flax import linen
from torch import nn

from .case import Packed, Weights, filled, linen_port, norm, under


class TorchNet(nn.Module):
    """Two convolutions of 3 x 3 without padding. features: the channels of the inputs, of both, and the outputs."""

    def __init__(self, features: tuple[int, int, int, int], sides: tuple[int, int], normalized: bool) -> None:
        super().__init__()
        first, *_ = features
        self.conv1, self.conv2 = nn.Conv2d(first, features[1], 3), nn.Conv2d(features[1], features[2], 3)
        self.norm1, self.norm2 = (nn.BatchNorm2d(width) if normalized else nn.Identity() for width in features[1:3])
        self.dense = nn.Linear(features[2] * (sides[0] - 4) * (sides[1] - 4), features[3])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.dense(x.flatten(1))


class LinenNet(linen.Module):
    features: tuple[int, int, int, int]
    normalized: bool

    @linen.compact
    def __call__(self, x: Any) -> Any:
        for layer in (1, 2):
            x = linen.Conv(self.features[layer], (3, 3), padding="VALID", name=f"conv{layer}")(x)
            if self.normalized:
                x = linen.BatchNorm(use_running_average=True, name=f"norm{layer}")(x)
            x = linen.relu(x)
        return linen.Dense(self.features[3], name="dense")(x.reshape(x.shape[0], -1))


def network(features: tuple[int, int, int, int], sides: tuple[int, int], normalized: bool) -> Packed:
    def carried(weights: Weights) -> Weights:
        kernel = rearrange(
            weights["dense.weight"], "o (c h w) -> (h w c) o", c=features[2], h=sides[0] - 4, w=sides[1] - 4
        )
        parameters: dict[str, np.ndarray] = {"dense.kernel": kernel, "dense.bias": weights["dense.bias"]}
        statistics: dict[str, np.ndarray] = {}
        for layer in (1, 2):
            parameters[f"conv{layer}.kernel"] = weights[f"conv{layer}.weight"].transpose(2, 3, 1, 0)
            parameters[f"conv{layer}.bias"] = weights[f"conv{layer}.bias"]
            if normalized:
                parameters |= norm(weights, f"norm{layer}", f"norm{layer}")
                statistics[f"norm{layer}.mean"] = weights[f"norm{layer}.running_mean"]
                statistics[f"norm{layer}.var"] = weights[f"norm{layer}.running_var"]
        return under("params", parameters) | under("batch_stats", statistics)

    inputs = (np.random.default_rng(0).normal(size=(2, features[0], *sides)).astype(np.float32),)
    port = linen_port(LinenNet(features, normalized), (2, *sides, features[0]))
    calls = None, lambda model, given: model[0].apply(model[1], given[0].transpose(0, 2, 3, 1))
    return Packed(filled(TorchNet(features, sides, normalized)), port, inputs, carried, calls)
