"""Layers that act on every entry alone or normalize along one axis, and Dropout."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import skip_init

from ...common import layers as spec
from ...common.layers import Word
from .at import At, Makers


def prelu(layer: spec.PReLU, at: At) -> nn.Module:
    """nn.PReLU."""
    return skip_init(nn.PReLU, layer.slopes, **at.placement)


MAKERS: Makers = {
    spec.Dropout: lambda layer, at: nn.Dropout(layer.rate),
    spec.Identity: lambda layer, at: nn.Identity(),
    spec.ReLU: lambda layer, at: nn.ReLU(),
    spec.ReLU6: lambda layer, at: nn.ReLU6(),
    spec.LeakyReLU: lambda layer, at: nn.LeakyReLU(layer.slope),
    spec.PReLU: prelu,
    spec.ELU: lambda layer, at: nn.ELU(layer.alpha),
    spec.SELU: lambda layer, at: nn.SELU(),
    spec.CELU: lambda layer, at: nn.CELU(layer.alpha),
    spec.SiLU: lambda layer, at: nn.SiLU(),
    spec.GELU: lambda layer, at: nn.GELU(layer.approximate),
    spec.Mish: lambda layer, at: nn.Mish(),
    spec.Hardswish: lambda layer, at: nn.Hardswish(),
    spec.Hardsigmoid: lambda layer, at: nn.Hardsigmoid(),
    spec.Hardtanh: lambda layer, at: nn.Hardtanh(layer.low, layer.high),
    spec.Tanh: lambda layer, at: nn.Tanh(),
    spec.Sigmoid: lambda layer, at: nn.Sigmoid(),
    spec.LogSigmoid: lambda layer, at: nn.LogSigmoid(),
    spec.Softsign: lambda layer, at: nn.Softsign(),
    spec.Softplus: lambda layer, at: nn.Softplus(layer.beta, layer.threshold),
    spec.Softmax: lambda layer, at: nn.Softmax(layer.axis),
    spec.LogSoftmax: lambda layer, at: nn.LogSoftmax(layer.axis),
    spec.GLU: lambda layer, at: nn.GLU(layer.axis),
}
KINDS: dict[type, Word] = {nn.PReLU: "PReLU"}
