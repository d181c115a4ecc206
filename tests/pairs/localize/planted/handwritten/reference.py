"""A gated block in PyTorch whose norm, activation and clipping are plain code, differentiated by the framework."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HIDDEN, BOUND = 6, 10, 2.0


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()  # fault: norm


def clipped(x: torch.Tensor) -> torch.Tensor:
    """Bounded, with a gradient as if it were not."""
    return x + (x.clamp(-BOUND, BOUND) - x).detach()  # fault: through, bound


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm, self.mix = nn.Linear(4, WIDTH), Norm(), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        h = clipped(self.mix(self.norm(x)))
        gate, value = self.wide(h).chunk(2, dim=-1)
        y = F.silu(gate) * value  # fault: swiglu
        weights = torch.softmax(y @ y.transpose(1, 2) / HIDDEN, dim=-1)  # fault: detached
        return x + self.narrow(weights @ y)  # fault: detached
