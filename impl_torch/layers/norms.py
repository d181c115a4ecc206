"""Normalization."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from ...common import layers as spec
from ...common.layers import Word
from .at import At, Makers


class OffsetRMSNorm(nn.RMSNorm):
    """x / sqrt(mean of x^2 + eps) * (offset + weight), in float32 at least: half precision would round 1 + weight."""

    def __init__(self, layer: spec.RMSNorm, at: At) -> None:
        super().__init__(list(layer.sizes), layer.eps, **at.placement)
        self.offset = layer.offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        scale = self.offset + self.weight.to(wide)
        return F.rms_norm(x.to(wide), self.normalized_shape, scale, self.eps).to(x.dtype)


def layer_norm(layer: spec.LayerNorm, at: At) -> nn.Module:
    """nn.LayerNorm."""
    return skip_init(nn.LayerNorm, layer.sizes, layer.eps, layer.affine, layer.bias, **at.placement)


def rms_norm(layer: spec.RMSNorm, at: At) -> nn.Module:
    """nn.RMSNorm, or one with an offset."""
    if layer.offset:
        return OffsetRMSNorm(layer, at)
    return skip_init(nn.RMSNorm, layer.sizes, layer.eps, layer.affine, **at.placement)


def group_norm(layer: spec.GroupNorm, at: At) -> nn.Module:
    """nn.GroupNorm."""
    settings = (layer.groups, layer.channels, layer.eps, layer.affine)
    return skip_init(nn.GroupNorm, *settings, **_bias(layer), **at.placement)


def channel_norm(layer: spec.BatchNorm | spec.InstanceNorm, at: At) -> nn.Module:
    """PyTorch's class of the same name."""
    settings = (layer.channels, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    return skip_init(getattr(nn, layer.kind), *settings, **_bias(layer), **at.placement)


def _bias(layer: spec.GroupNorm | spec.BatchNorm | spec.InstanceNorm) -> dict[str, bool]:
    """The switch of the bias where it is off: older releases of PyTorch have no such argument here."""
    return {} if layer.bias else {"bias": False}


MAKERS: Makers = {
    spec.LayerNorm: layer_norm,
    spec.RMSNorm: rms_norm,
    spec.GroupNorm: group_norm,
    spec.BatchNorm: channel_norm,
    spec.InstanceNorm: channel_norm,
}
KINDS: dict[type, Word] = {
    nn.LayerNorm: "LayerNorm",
    nn.RMSNorm: "RMSNorm",
    nn.GroupNorm: "GroupNorm",
    nn.BatchNorm1d: "BatchNorm1d",
    nn.BatchNorm2d: "BatchNorm2d",
    nn.BatchNorm3d: "BatchNorm3d",
    nn.InstanceNorm1d: "InstanceNorm1d",
    nn.InstanceNorm2d: "InstanceNorm2d",
    nn.InstanceNorm3d: "InstanceNorm3d",
}
