"""A block of an image model in PyTorch, as in ConvNeXt: filters by channel, squeezed gates, scaled sums, a readout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, SQUEEZED, CLASSES, DEPTH = 6, 3, 4, 2


class ChannelNorm(nn.Module):
    """A layer norm over the channels of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), (WIDTH,), self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.norm, self.reduce, self.expand = (
            ChannelNorm(),
            nn.Conv2d(WIDTH, SQUEEZED, 1),
            nn.Conv2d(SQUEEZED, WIDTH, 1),
        )
        self.point, self.gamma = nn.Conv2d(WIDTH, WIDTH, 1), nn.Parameter(torch.full((WIDTH,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.filter(x))
        squeezed = F.adaptive_avg_pool2d(y, 1)  # fault: squeeze
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(squeezed))))  # fault: sigmoid
        y = self.point(y * gate)  # fault: place
        return x + self.gamma[:, None, None] * y / DEPTH**0.5  # fault: place, skip


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.stem = nn.Conv2d(3, WIDTH, 2, stride=2), ChannelNorm()
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.stem(self.patches(images / 127.5 - 1)))
        return self.head(self.norm(x.mean(dim=(-2, -1))))
