"""Cases of the normalizations: each setting, on each number of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import linen, nnx
from torch import nn

from paritree.common.layers import norms as spec

from .case import Case


def inputs(*shape: int) -> tuple[np.ndarray, ...]:
    """A neutral batch, of another mean and scale in each channel, so that no statistic is that of another axis."""
    rng = np.random.default_rng(len(shape))
    place = np.arange(shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
    return ((rng.normal(size=shape) * (1 + place) + 0.5 * place).astype(np.float32),)


def channels_last(arrays: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    return tuple(np.moveaxis(array, 1, -1) for array in arrays)


def gemma(width: int) -> nn.Module:
    """The class that the offset is for."""
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    return GemmaRMSNorm(width, eps=1e-5)


LAYER = {"linen": linen.LayerNorm, "nnx": lambda rngs: nnx.LayerNorm(8, rngs=rngs)}
RMS = {"linen": linen.RMSNorm, "nnx": lambda rngs: nnx.RMSNorm(8, rngs=rngs)}
GROUP = {
    "linen": lambda: linen.GroupNorm(3),
    "nnx": lambda rngs: nnx.GroupNorm(6, 3, rngs=rngs),
    "flax_inputs": channels_last,
}
BATCH = {
    "linen": lambda: linen.BatchNorm(use_running_average=False),
    "nnx": lambda rngs: nnx.BatchNorm(4, rngs=rngs),
    "flax_inputs": channels_last,
}
INSTANCE = {
    "linen": linen.InstanceNorm,
    "nnx": lambda rngs: nnx.InstanceNorm(4, rngs=rngs),
    "flax_inputs": channels_last,
}

CASES = (
    Case("LayerNorm", spec.LayerNorm(8), inputs(4, 5, 8), lambda: nn.LayerNorm(8), **LAYER),
    Case("LayerNorm-wide-eps", spec.LayerNorm(8, 0.1), inputs(4, 8), lambda: nn.LayerNorm(8, 0.1)),
    Case("LayerNorm-axes", spec.LayerNorm((3, 5)), inputs(4, 2, 3, 5), lambda: nn.LayerNorm((3, 5))),
    Case("LayerNorm-no-bias", spec.LayerNorm(8, bias=False), inputs(4, 8), lambda: nn.LayerNorm(8, bias=False)),
    Case(
        "LayerNorm-plain",
        spec.LayerNorm((5, 8), affine=False),
        inputs(4, 5, 8),
        lambda: nn.LayerNorm((5, 8), elementwise_affine=False),
    ),
    Case("RMSNorm", spec.RMSNorm(8), inputs(4, 5, 8), lambda: nn.RMSNorm(8), **RMS),
    Case("RMSNorm-wide-eps", spec.RMSNorm(8, 0.1), inputs(4, 8), lambda: nn.RMSNorm(8, 0.1)),
    Case("RMSNorm-axes", spec.RMSNorm((3, 5), 1e-6), inputs(4, 2, 3, 5), lambda: nn.RMSNorm((3, 5), 1e-6)),
    Case(
        "RMSNorm-plain",
        spec.RMSNorm(8, affine=False),
        inputs(4, 8),
        lambda: nn.RMSNorm(8, elementwise_affine=False),
    ),
    Case("RMSNorm-offset", spec.RMSNorm(8, 1e-5, offset=1), inputs(4, 5, 8), lambda: gemma(8)),
    Case("GroupNorm", spec.GroupNorm(3, 6), inputs(4, 6, 5, 3), lambda: nn.GroupNorm(3, 6), **GROUP),
    Case("GroupNorm-one-group", spec.GroupNorm(1, 6, 0.1), inputs(4, 6, 7), lambda: nn.GroupNorm(1, 6, 0.1)),
    Case("GroupNorm-no-axes", spec.GroupNorm(2, 6), inputs(4, 6), lambda: nn.GroupNorm(2, 6)),
    Case(
        "GroupNorm-no-bias", spec.GroupNorm(6, 6, bias=False), inputs(4, 6, 5), lambda: nn.GroupNorm(6, 6, bias=False)
    ),
    Case(
        "GroupNorm-plain",
        spec.GroupNorm(2, 6, affine=False),
        inputs(2, 6, 2, 3, 2),
        lambda: nn.GroupNorm(2, 6, affine=False),
    ),
    Case("InstanceNorm1d", spec.InstanceNorm1d(4), inputs(3, 4, 6), lambda: nn.InstanceNorm1d(4)),
    Case(
        "InstanceNorm1d-affine",
        spec.InstanceNorm1d(4, affine=True),
        inputs(3, 4, 6),
        lambda: nn.InstanceNorm1d(4, affine=True),
    ),
    Case(
        "InstanceNorm2d-affine",
        spec.InstanceNorm2d(4, affine=True),
        inputs(3, 4, 5, 2),
        lambda: nn.InstanceNorm2d(4, affine=True),
        **INSTANCE,
    ),
    Case(
        "InstanceNorm3d-no-bias-wide-eps",
        spec.InstanceNorm3d(4, 0.1, affine=True, bias=False),
        inputs(3, 4, 2, 3, 2),
        lambda: nn.InstanceNorm3d(4, 0.1, affine=True, bias=False),
    ),
    Case("BatchNorm1d", spec.BatchNorm1d(4), inputs(5, 4), lambda: nn.BatchNorm1d(4), **BATCH),
    Case("BatchNorm1d-length", spec.BatchNorm1d(4), inputs(2, 4, 3), lambda: nn.BatchNorm1d(4)),
    Case("BatchNorm2d", spec.BatchNorm2d(4), inputs(3, 4, 5, 2), lambda: nn.BatchNorm2d(4), **BATCH),
    Case("BatchNorm3d", spec.BatchNorm3d(4), inputs(2, 4, 2, 3, 2), lambda: nn.BatchNorm3d(4), **BATCH),
    Case("BatchNorm1d-two-samples", spec.BatchNorm1d(4), inputs(2, 4), lambda: nn.BatchNorm1d(4)),
    Case(
        "BatchNorm2d-momentum-wide-eps",
        spec.BatchNorm2d(4, 0.1, 0.75),
        inputs(3, 4, 5, 2),
        lambda: nn.BatchNorm2d(4, 0.1, 0.75),
    ),
    Case(
        "BatchNorm2d-momentum-0",
        spec.BatchNorm2d(4, momentum=0),
        inputs(3, 4, 5, 2),
        lambda: nn.BatchNorm2d(4, 1e-5, 0),
    ),
    Case(
        "BatchNorm2d-momentum-1",
        spec.BatchNorm2d(4, momentum=1),
        inputs(3, 4, 5, 2),
        lambda: nn.BatchNorm2d(4, 1e-5, 1),
    ),
    Case("BatchNorm1d-no-bias", spec.BatchNorm1d(4, bias=False), inputs(5, 4), lambda: nn.BatchNorm1d(4, bias=False)),
    Case("BatchNorm1d-plain", spec.BatchNorm1d(4, affine=False), inputs(5, 4), lambda: nn.BatchNorm1d(4, affine=False)),
    Case(
        "BatchNorm1d-untracked",
        spec.BatchNorm1d(4, track_running_stats=False),
        inputs(5, 4),
        lambda: nn.BatchNorm1d(4, track_running_stats=False),
    ),
    Case(
        "BatchNorm2d-untracked",
        spec.BatchNorm2d(4, track_running_stats=False),
        inputs(3, 4, 5, 2),
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
    ),
)
