"""Cases of the pooling layers, behind a convolution, so that a gradient flows through them."""

from __future__ import annotations

from typing import Any

from torch import nn

from paritree.common import layers as spec
from paritree.common.spec import Sequential

from .case import Case
from .cases_convolutions import image


def pooling(name: str, kind: str, *sizes: Any, **settings: Any) -> Case:
    """A pooling layer with the settings of PyTorch's class, after a convolution and a ReLU, which makes many equal."""
    rank = int(kind[-2])
    channels = (2, 3, 1)

    def stock() -> nn.Module:
        convolution = getattr(nn, f"Conv{rank}d")(*channels)
        return nn.Sequential(convolution, nn.ReLU(), getattr(nn, kind)(*sizes, **settings))

    layers = (getattr(spec, f"Conv{rank}d")(*channels), spec.ReLU(), getattr(spec, kind)(*sizes, **settings))
    return Case(name=f"{kind}-{name}", spec=Sequential(*layers), inputs=(image(rank, 2),), torch=stock)


CASES = (
    pooling("ceil", "MaxPool1d", 4, 3, 2, ceil_mode=True),
    pooling("stem", "MaxPool2d", 3, stride=2, padding=1),
    pooling("dilated", "MaxPool2d", (3, 2), stride=2, padding=1, dilation=(2, 3), ceil_mode=True),
    pooling("each-axis", "MaxPool3d", (2, 3, 2), stride=(1, 2, 2), padding=(1, 1, 0)),
    pooling("ceil", "AvgPool1d", 4, 3, 2, ceil_mode=True, count_include_pad=False),
    pooling("padded", "AvgPool2d", 3, stride=2, padding=1),
    pooling("all", "AvgPool3d", (2, 3, 2), stride=2, padding=(1, 1, 0), ceil_mode=True, count_include_pad=False),
    pooling("uneven", "AdaptiveAvgPool2d", (None, 3)),
    pooling("uneven", "AdaptiveMaxPool2d", (5, None)),
)
