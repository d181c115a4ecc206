"""Convolutions, then a dense layer: torch flattens (c, h, w), a Flax port (h, w, c)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange
from flax import linen
from torch import nn

from .case import Packed, Weights, filled, linen_port, norm, tree_port, under


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


class TorchAutoencoder(nn.Module):
    """A convolution that halves the sides, and a transposed one that doubles them again."""

    def __init__(self, features: tuple[int, int]) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(*features, 3, stride=2, padding=1), nn.ConvTranspose2d(*features[::-1], 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(torch.tanh(self.down(x)))


class LinenAutoencoder(linen.Module):
    features: tuple[int, int]

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.tanh(linen.Conv(self.features[1], (3, 3), 2, padding=1, name="down")(x))
        return linen.ConvTranspose(self.features[0], (2, 2), (2, 2), padding="VALID", name="up")(x)


def autoencoder(features: tuple[int, int]) -> Packed:
    """Flax's transposed convolution has torch's kernel backwards, unless it is told otherwise."""

    def carried(weights: Weights) -> Weights:
        parameters = {
            "down.kernel": weights["down.weight"].transpose(2, 3, 1, 0),
            "up.kernel": weights["up.weight"].transpose(2, 3, 0, 1)[::-1, ::-1],
        }
        return under("params", parameters | {f"{name}.bias": weights[f"{name}.bias"] for name in ("down", "up")})

    inputs = (np.random.default_rng(0).normal(size=(2, features[0], 6, 4)).astype(np.float32),)
    port = linen_port(LinenAutoencoder(features), (2, 6, 4, features[0]))
    calls = None, lambda model, given: model[0].apply(model[1], given[0].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return Packed(filled(TorchAutoencoder(features)), port, inputs, carried, calls)


class TorchPatches(nn.Module):
    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.project, self.place = nn.Conv2d(channels, width, side, side), nn.Parameter(torch.zeros(1, 6, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(x).flatten(2).transpose(1, 2) + self.place


def patches(channels: int, width: int, side: int) -> Packed:
    """A convolution whose windows do not overlap against a matrix that patches are multiplied with."""

    def call(tree: Any, given: Any) -> Any:
        flat = rearrange(given[0], "b c (y h) (x w) -> b (y x) (h w c)", h=side, w=side)
        return flat @ tree["kernel"] + tree["bias"] + tree["place"]

    def carried(weights: Weights) -> Weights:
        kernel = rearrange(weights["project.weight"], "o c h w -> (h w c) o")
        return {"kernel": kernel, "bias": weights["project.bias"], "place": weights["place"][0]}

    shapes = {"kernel": (side * side * channels, width), "bias": (width,), "place": (6, width)}
    inputs = (np.random.default_rng(0).normal(size=(2, channels, 2 * side, 3 * side)).astype(np.float32),)
    return Packed(filled(TorchPatches(channels, width, side)), tree_port(shapes), inputs, carried, (None, call))
