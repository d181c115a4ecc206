"""Layers that multiply by a matrix or look up its rows, and bare arrays."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from ...common import layers as spec
from ...common.layers import Word
from .at import At, Makers
from .containers import Array


class TransposedLinear(nn.Module):
    """y = x W + b with W of shape (in, out)."""

    bias: torch.Tensor | None

    def __init__(self, layer: spec.TransposedLinear, at: At) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(layer.in_features, layer.out_features, **at.placement))
        self.bias = nn.Parameter(torch.empty(layer.out_features, **at.placement)) if layer.bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class Decoder(nn.Linear):
    """Logits scale x E^T + b with E the very Parameter of an Embedding: a tie is sharing the object."""

    def __init__(self, layer: spec.Decoder, at: At) -> None:
        embedding = at.owner(layer.of)
        # On the meta device, so that no weight is allocated that the tie would throw away.
        size = (embedding.embedding_dim, embedding.num_embeddings)
        super().__init__(*size, layer.bias is True, device="meta", dtype=at.dtype)
        self.to_empty(device=at.device)
        self.weight = embedding.weight
        if isinstance(layer.bias, str):
            self.bias = at.owner(layer.bias).array
        self.scale = layer.scale

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input if self.scale == 1 else input * self.scale)


class Transposed(nn.Module):
    """y = x W + b with W the weight of a Linear, which is held unseen: the parameter is that module's alone."""

    bias: torch.Tensor | None

    def __init__(self, layer: spec.Transposed, at: At) -> None:
        super().__init__()
        self.owner: tuple[nn.Linear] = (at.owner(layer.of),)
        size = self.owner[0].in_features
        self.bias = nn.Parameter(torch.empty(size, **at.placement)) if layer.bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.owner[0].weight.t(), self.bias)


class FixedLinear(nn.Module):
    """y = x W^T + shift with W a buffer: it travels with the model and is not trained."""

    weight: torch.Tensor

    def __init__(self, layer: spec.FixedLinear, at: At) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(layer.out_features, layer.in_features, **at.placement))
        self.shift = layer.shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight) + self.shift


def linear(layer: spec.Linear, at: At) -> nn.Module:
    """nn.Linear, or nn.LazyLinear while the width is not known."""
    if layer.in_features is None:
        return nn.LazyLinear(layer.out_features, layer.bias, **at.placement)
    return skip_init(nn.Linear, layer.in_features, layer.out_features, layer.bias, **at.placement)


def embedding(layer: spec.Embedding, at: At) -> nn.Module:
    """nn.Embedding."""
    size = (layer.vocabulary, layer.features)
    return skip_init(nn.Embedding, *size, padding_idx=layer.padding_idx, **at.placement)


def parameter(layer: spec.Parameter, at: At) -> nn.Module:
    """An array to be trained."""
    return Array(torch.empty(layer.shape, **at.placement), trained=True)


def buffer(layer: spec.Buffer, at: At) -> nn.Module:
    """An array that is not trained."""
    dtype = at.dtype if layer.dtype is None else getattr(torch, layer.dtype)
    return Array(torch.empty(layer.shape, device=at.device, dtype=dtype), trained=False, persistent=layer.persistent)


MAKERS: Makers = {
    spec.Linear: linear,
    spec.TransposedLinear: TransposedLinear,
    spec.Embedding: embedding,
    spec.Decoder: Decoder,
    spec.Transposed: Transposed,
    spec.FixedLinear: FixedLinear,
    spec.Parameter: parameter,
    spec.Buffer: buffer,
}
KINDS: dict[type, Word] = {
    nn.Linear: "Linear",
    nn.Embedding: "Embedding",
    TransposedLinear: "TransposedLinear",
    Decoder: "Decoder",
    Transposed: "Transposed",
    FixedLinear: "FixedLinear",
}
