"""Cases of the layers that multiply by a matrix or look up its rows."""

from __future__ import annotations

import numpy as np
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from paritree.common.initializers import Normal, Uniform
from paritree.common.layers import dense as spec
from paritree.common.spec import Block

from .case import Case

TOKENS = np.array([[3, 0, 9, 3, 1], [2, 3, 3, 8, 0]], np.int32)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


class Tied(nn.Module):
    """An embedding, a linear layer, and a decoder that shares the embedding's weight, as they are written by hand."""

    def __init__(self, bias: bool, scale: float = 1.0, padding_idx: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6, padding_idx)
        self.middle = nn.Linear(6, 6)
        self.decoder = nn.Linear(6, 10, bias)
        self.decoder.weight = self.embed.weight
        self.scale = scale

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.middle(self.embed(tokens)) * self.scale)


class SharedBias(nn.Module):
    """A decoder whose bias is also the model's own, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(10))
        self.embed = nn.Embedding(10, 6)
        self.decoder = nn.Linear(6, 10)
        self.decoder.weight = self.embed.weight
        self.decoder.bias = self.offset

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.embed(tokens))


class Fixed(nn.Module):
    """A product with a matrix that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.rand(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight) + 0.5


class Scaled(nn.Module):
    """Bare arrays: a scale that is trained, one that is not, and one that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(1, 3, 4))
        self.register_buffer("shift", torch.rand(4))
        self.register_buffer("factor", torch.rand(1, 4), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.scale + self.shift) * self.factor


def tied(bias: bool, scale: float = 1.0, padding_idx: int | None = None) -> Block:
    """The spec of Tied."""
    return Block(
        {
            "embed": spec.Embedding(10, 6, padding_idx=padding_idx),
            "middle": spec.Linear(6, 6),
            "decoder": spec.Decoder("embed", bias, Uniform(-(6**-0.5), 6**-0.5) if bias else None, scale),
        }
    )


SHARED_BIAS = Block(
    {
        "offset": spec.Parameter((10,), Normal()),
        "embed": spec.Embedding(10, 6),
        "decoder": spec.Decoder("embed", "offset"),
    },
    forward="""
    def forward(tokens):
        return decoder(embed(tokens))
    """,
)
SCALED = Block(
    {
        "scale": spec.Parameter((1, 3, 4), Normal()),
        "shift": spec.Buffer((4,), Uniform()),
        "factor": spec.Buffer((1, 4), Uniform(), persistent=False),
    },
    forward="""
    def forward(x):
        return (x * scale + shift) * factor
    """,
)

CASES = (
    Case(
        "Linear",
        spec.Linear(4, 6),
        (normal(3, 4),),
        lambda: nn.Linear(4, 6),
        linen=lambda: linen.Dense(6),
        nnx=lambda rngs: nnx.Linear(4, 6, rngs=rngs),
    ),
    Case(
        "Linear-no-bias",
        spec.Linear(5, 5, bias=False),
        (normal(2, 3, 5),),
        lambda: nn.Linear(5, 5, bias=False),
        linen=lambda: linen.Dense(5, use_bias=False),
        nnx=lambda rngs: nnx.Linear(5, 5, use_bias=False, rngs=rngs),
    ),
    Case("TransposedLinear", spec.TransposedLinear(4, 6), (normal(2, 3, 4),), lambda: Conv1D(6, 4)),
    Case(
        "Embedding",
        spec.Embedding(10, 6),
        (TOKENS,),
        lambda: nn.Embedding(10, 6),
        linen=lambda: linen.Embed(10, 6),
        nnx=lambda rngs: nnx.Embed(10, 6, rngs=rngs),
    ),
    Case("Embedding-padding", spec.Embedding(10, 6, padding_idx=3), (TOKENS,), lambda: nn.Embedding(10, 6, 3)),
    Case("Embedding-padding-last", spec.Embedding(10, 6, padding_idx=-1), (TOKENS,), lambda: nn.Embedding(10, 6, -1)),
    Case("Decoder", tied(False), (TOKENS,), lambda: Tied(False)),
    Case("Decoder-bias-scale-padding", tied(True, 0.5, padding_idx=0), (TOKENS,), lambda: Tied(True, 0.5, 0)),
    Case("Decoder-shared-bias", SHARED_BIAS, (TOKENS,), SharedBias),
    Case("FixedLinear", spec.FixedLinear(4, 3, shift=0.5), (normal(2, 4),), Fixed),
    Case("Parameter-Buffer", SCALED, (normal(2, 3, 4),), Scaled),
)
