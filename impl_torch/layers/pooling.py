"""Pooling, which is PyTorch's own modules."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ...common.layers import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, MaxPool, Word
from .at import At, Makers

Classes = tuple[Callable[..., nn.Module], ...]

GREATEST: Classes = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
MEAN: Classes = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE_GREATEST: Classes = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
ADAPTIVE_MEAN: Classes = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


def greatest(layer: MaxPool, at: At) -> nn.Module:
    """nn.MaxPool1d, nn.MaxPool2d or nn.MaxPool3d."""
    kind = GREATEST[layer.rank - 1]
    return kind(layer.kernel_size, layer.stride, layer.padding, layer.dilation, ceil_mode=layer.ceil_mode)


def mean(layer: AvgPool, at: At) -> nn.Module:
    """nn.AvgPool1d, nn.AvgPool2d or nn.AvgPool3d."""
    kind = MEAN[layer.rank - 1]
    return kind(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad)


def adaptive_greatest(layer: AdaptiveMaxPool, at: At) -> nn.Module:
    """nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d or nn.AdaptiveMaxPool3d."""
    return ADAPTIVE_GREATEST[layer.rank - 1](layer.output_size)


def adaptive_mean(layer: AdaptiveAvgPool, at: At) -> nn.Module:
    """nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d or nn.AdaptiveAvgPool3d."""
    return ADAPTIVE_MEAN[layer.rank - 1](layer.output_size)


MAKERS: Makers = {
    MaxPool: greatest,
    AvgPool: mean,
    AdaptiveMaxPool: adaptive_greatest,
    AdaptiveAvgPool: adaptive_mean,
}
KINDS: dict[type, Word] = {}
