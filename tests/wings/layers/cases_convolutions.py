"""Cases of the convolutions: every setting in one of them, each with PyTorch's and Flax's own classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from flax import linen, nnx
from torch import nn

from paritree.common import layers as spec

from .case import Case

SIZES = {1: (11,), 2: (9, 8), 3: (6, 5, 7)}


def image(rank: int, channels: int, batch: int = 2) -> np.ndarray:
    """(batch, channels, *spatial) of fresh N(0, 1), with axes of different sizes."""
    shape = (batch, channels, *SIZES[rank])
    return np.random.default_rng(rank).normal(size=shape).astype(np.float32)


def channels_last(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Images as Flax's own classes take them."""
    return tuple(np.moveaxis(each, 1, -1) for each in inputs)


def convolution(name: str, rank: int, *sizes: Any, draws: bool = False, **settings: Any) -> Case:
    """A convolution with the settings of PyTorch's class.

    draws: whether Flax's class is to be drawn from; of its settings only the sizes and groups matter there.
    """
    layer = getattr(spec, f"Conv{rank}d")(*sizes, **settings)
    own = {
        "kernel_size": layer.each(layer.kernel_size),
        "feature_group_count": layer.groups,
        "use_bias": layer.bias,
    }
    classes = (linen.Conv, nnx.Conv) if draws else (None, None)
    return _case(name, rank, layer, partial(getattr(nn, layer.kind), *sizes, **settings), *classes, own)


def transposed(name: str, rank: int, *sizes: Any, draws: bool = False, **settings: Any) -> Case:
    """As `convolution`, for a transposed one; Flax's has no groups."""
    layer = getattr(spec, f"ConvTranspose{rank}d")(*sizes, **settings)
    own = {"kernel_size": layer.each(layer.kernel_size), "transpose_kernel": True, "use_bias": layer.bias}
    classes = (linen.ConvTranspose, nnx.ConvTranspose) if draws else (None, None)
    return _case(name, rank, layer, partial(getattr(nn, layer.kind), *sizes, **settings), *classes, own)


def _case(
    name: str, rank: int, layer: Any, torch: Callable[[], nn.Module], in_linen: Any, in_nnx: Any, own: dict[str, Any]
) -> Case:
    size = (layer.in_channels, layer.out_channels)
    return Case(
        name=f"{layer.kind}-{name}",
        spec=layer,
        inputs=(image(rank, layer.in_channels),),
        torch=torch,
        linen=in_linen and (lambda: in_linen(layer.out_channels, **own)),
        nnx=in_nnx and (lambda rngs: in_nnx(*size, **own, rngs=rngs)),
        flax_inputs=channels_last,
    )


CASES = (
    convolution("all", 1, 4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=False, draws=True),
    convolution("same", 1, 3, 5, 4, padding="same", dilation=2),
    convolution("plain", 2, 3, 5, 3, draws=True),
    convolution("each-axis", 2, 3, 5, (3, 2), stride=(1, 3), padding=(2, 0), dilation=(2, 1)),
    convolution("groups", 2, 6, 4, 3, padding=1, groups=2, draws=True),
    convolution("circular", 2, 3, 5, (3, 4), padding="same", padding_mode="circular"),
    convolution("reflect", 2, 3, 6, 3, stride=2, padding=2, groups=3, bias=False, padding_mode="reflect"),
    convolution("replicate", 2, 4, 6, 3, padding=(1, 2), padding_mode="replicate"),
    convolution(
        "all", 3, 4, 2, 2, stride=(2, 1, 3), padding=(1, 0, 2), dilation=(1, 3, 2), groups=2, bias=False, draws=True
    ),
    transposed("all", 1, 4, 6, 3, stride=3, padding=2, output_padding=2, dilation=2, bias=False, draws=True),
    transposed(
        "each-axis", 2, 3, 5, (3, 4), stride=(2, 3), padding=(1, 2), output_padding=(1, 0), dilation=(1, 2), draws=True
    ),
    transposed("cropped", 2, 3, 5, 2, stride=2, padding=2, output_padding=1),
    transposed("groups", 2, 6, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
    transposed(
        "all", 3, 2, 3, (2, 3, 2), stride=(2, 1, 3), padding=(1, 0, 1), output_padding=(1, 0, 2), dilation=2, draws=True
    ),
)
