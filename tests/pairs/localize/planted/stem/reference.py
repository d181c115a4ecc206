"""The stem of an image model in PyTorch: a strided convolution padded as in TensorFlow, group norms, pools."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS, GROUPS, CLASSES = 8, 4, 5


def padded_same(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """As many zeros around the image as make its size, divided by the stride, the output's."""
    total = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]]
    (above, left), (below, right) = ([each // 2 for each in total], [each - each // 2 for each in total])
    return F.pad(x, (left, right, above, below))  # fault: padding


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, CHANNELS, 3, stride=2, bias=False)
        self.norm1 = nn.GroupNorm(GROUPS, CHANNELS, eps=1e-6)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(GROUPS, CHANNELS, eps=1e-6)
        self.shortcut = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
        self.head = nn.Linear(CHANNELS, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.conv1(padded_same(images, 3, 2))  # fault: padding
        x = F.hardswish(self.norm1(x))  # fault: groups, eps
        y = self.norm2(self.conv2(x))
        x = F.hardswish(y + self.shortcut(x))
        x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)  # fault: count
        return self.head(x.amax(dim=(2, 3)))
