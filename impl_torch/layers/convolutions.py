"""Convolutions, which are PyTorch's own modules."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import skip_init

from ...common.layers import Convolution, TransposedConvolution, Word
from .at import At, Makers

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def convolution(layer: Convolution, at: At) -> nn.Module:
    """nn.Conv1d, nn.Conv2d or nn.Conv3d."""
    return skip_init(
        CONVOLUTIONS[layer.rank - 1],
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.bias,
        layer.padding_mode,
        **at.placement,
    )


def transposed(layer: TransposedConvolution, at: At) -> nn.Module:
    """nn.ConvTranspose1d, nn.ConvTranspose2d or nn.ConvTranspose3d."""
    return skip_init(
        TRANSPOSED[layer.rank - 1],
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.output_padding,
        layer.groups,
        layer.bias,
        layer.dilation,
        **at.placement,
    )


MAKERS: Makers = {Convolution: convolution, TransposedConvolution: transposed}
KINDS: dict[type, Word] = {
    nn.Conv1d: "Conv1d",
    nn.Conv2d: "Conv2d",
    nn.Conv3d: "Conv3d",
    nn.ConvTranspose1d: "ConvTranspose1d",
    nn.ConvTranspose2d: "ConvTranspose2d",
    nn.ConvTranspose3d: "ConvTranspose3d",
}
