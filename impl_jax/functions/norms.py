"""What the normalizations of both Flax wings share: refusals, PyTorch's running variance, Gemma's RMSNorm."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ...common import layers as spec
from ...common.errors import NotExpressibleError, ShapeError


def refuse_unknown_settings(layer: spec.BatchNorm | spec.InstanceNorm, path: str) -> None:
    """Refuse the settings that only PyTorch knows.

    Raises:
        NotExpressibleError: an average over all batches, or running statistics of an InstanceNorm.
    """
    if isinstance(layer, spec.InstanceNorm) and layer.track_running_stats:
        raise NotExpressibleError(
            path,
            f"an {layer.kind} without running statistics, since Flax's InstanceNorm keeps none",
            "track_running_stats=True",
            "Normalize by each sample in inference, too.",
        )
    if isinstance(layer, spec.BatchNorm) and layer.track_running_stats and layer.momentum is None:
        raise NotExpressibleError(
            path,
            f"a {layer.kind} with a fixed momentum, since Flax's BatchNorm has no average over all batches",
            "momentum=None",
            "Give a number, such as 0.1.",
        )


def check_input(
    layer: spec.GroupNorm | spec.BatchNorm | spec.InstanceNorm, path: str, shape: tuple[int, ...], several: bool = True
) -> None:
    """Refuse an input as PyTorch does: of other axes, or with one value for a mean where it needs `several`.

    Flax would give the bias for the latter, and stop the gradient, without a word.

    Raises:
        ShapeError: an input of another number of axes, or with one value for a mean.
    """
    ranks = () if isinstance(layer, spec.GroupNorm) else layer.ranks
    if ranks and len(shape) - 1 not in ranks:
        expected = f"an input of {' or '.join(map(str, ranks))} axes besides the batch for {layer.kind}"
        raise ShapeError(path, expected, f"shape {shape}")
    rest = math.prod(shape[2:])
    match layer:
        case spec.GroupNorm():
            values = shape[0] * shape[1] // layer.groups * rest
        case spec.InstanceNorm():
            values = rest
        case _:
            values = shape[0] * rest
    if several and values == 1:
        remedy = "The one value would be its own mean, and the output 0 without the bias."
        raise ShapeError(path, f"more than one value for each mean of {layer.kind}", f"an input {shape}", remedy)


def unbiased(before: jax.Array, after: jax.Array, momentum: float, x: jax.Array) -> jax.Array:
    """PyTorch's running variance: the batch's share in Flax's update scaled by n / (n - 1).

    before, after: Flax's running variance around its update momentum * before + (1 - momentum) * biased variance.
    x: the batch (batch, channels, *any), of n values per channel.
    """
    count = x.size // x.shape[1]
    kept = momentum * before
    return kept + (after - kept) * (count / (count - 1))


def offset_rms_norm(x: jax.Array, scale: jax.Array, layer: spec.RMSNorm) -> jax.Array:
    """x / sqrt(mean of x^2 + eps) * (offset + scale), over the last axes, in float32 at least.

    Zhang & Sennrich 2019, "Root Mean Square Layer Normalization"; with an offset of 1 as in Gemma.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(-len(layer.sizes), 0))
    mean = jnp.square(wide).mean(axes, keepdims=True)
    normal = wide * jax.lax.rsqrt(mean + layer.epsilon(str(wide.dtype)))
    return (normal * (layer.offset + scale.astype(wide.dtype))).astype(x.dtype)
