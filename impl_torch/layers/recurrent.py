"""Recurrent layers: PyTorch's, which give the output sequence alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ...common import layers as spec
from ...common.layers import Word
from .at import At, Makers


class OutputAlone(nn.RNNBase):
    """The output (batch, time, width) of an input (batch, time, features), for a zero initial state."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Two axes PyTorch would take for a single sequence, where every other layer takes the first one for the batch.
        spec.check_recurrent_input(tuple(x.shape), self.input_size)
        with _kernels(self, x):
            output, _ = super().forward(x)
        return output


@contextmanager
def _kernels(module: nn.RNNBase, x: torch.Tensor) -> Iterator[None]:
    """PyTorch's own kernels in place of a library's that cannot do what is asked of them.

    cuDNN's recurrent layers have gradients in training mode only; oneDNN's have no projection, of which PyTorch warns.
    """
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn
    before = cudnn.enabled, mkldnn.enabled
    cudnn.enabled = cudnn.enabled and not (x.is_cuda and torch.is_grad_enabled() and not module.training)
    mkldnn.enabled = mkldnn.enabled and not module.proj_size
    try:
        yield
    finally:
        cudnn.enabled, mkldnn.enabled = before


class RNN(OutputAlone, nn.RNN):
    """nn.RNN's output."""


class LSTM(OutputAlone, nn.LSTM):
    """nn.LSTM's output."""


class GRU(OutputAlone, nn.GRU):
    """nn.GRU's output."""


def recurrent(layer: spec.Recurrent, at: At) -> nn.Module:
    """An nn.RNN, nn.LSTM or nn.GRU that gives its output."""
    module, settings = _class_of(layer)
    # On the meta device, so that nothing is drawn that `build` would draw again; skip_init cannot read the signature.
    made = module(
        layer.input,
        layer.hidden,
        num_layers=layer.layers,
        bias=layer.bias,
        batch_first=True,
        dropout=layer.dropout,
        bidirectional=layer.bidirectional,
        device="meta",
        dtype=at.dtype,
        **settings,
    )
    return made.to_empty(device=at.device)


def _class_of(layer: spec.Recurrent) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """What makes the module, and the settings that it alone has."""
    if isinstance(layer, spec.RNN):
        return RNN, {"nonlinearity": layer.nonlinearity}
    return (LSTM, {"proj_size": layer.proj_size}) if isinstance(layer, spec.LSTM) else (GRU, {})


MAKERS: Makers = {spec.RNN: recurrent, spec.LSTM: recurrent, spec.GRU: recurrent}
KINDS: dict[type, Word] = {nn.RNN: "RNN", nn.LSTM: "LSTM", nn.GRU: "GRU"}
