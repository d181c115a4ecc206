"""The modules that the spec needs and torch.nn does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Named children that the forward pass calls in the order of `calls`, some of them repeatedly."""

    def __init__(self, children: Mapping[str, nn.Module], calls: Sequence[str]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.calls = tuple(calls)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.calls:
            x = getattr(self, name)(x)
        return x


class Decoder(nn.Linear):
    """Logits x E^T + b with E the very Parameter of an Embedding: a tie is sharing the object."""

    def __init__(self, embedding: nn.Embedding, bias: bool, device: torch.device | str, dtype: torch.dtype) -> None:
        # On the meta device, so that no weight is allocated that the tie would throw away.
        super().__init__(embedding.embedding_dim, embedding.num_embeddings, bias, device="meta", dtype=dtype)
        self.to_empty(device=device)
        self.weight = embedding.weight


class FixedLinear(nn.Module):
    """y = x W^T + shift with W a buffer: it travels with the model and is not trained."""

    weight: torch.Tensor

    def __init__(
        self, in_features: int, out_features: int, shift: float, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(out_features, in_features, device=device, dtype=dtype))
        self.shift = shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight) + self.shift


class Halve(nn.Module):
    """Halves its input while the sum of its magnitudes is above the limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.abs().sum() > self.limit:
            x = x / 2
        return x


class Sum(nn.Module):
    """The sum of all entries, as a scalar."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()
