"""Normalization: Flax's modules on inputs that have their channels first."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ....common import layers as spec
from ....common.layers import Word
from ...functions import check_input, offset_rms_norm, refuse_unknown_settings, unbiased
from .at import At, Makers


class OffsetRMSNorm(nnx.Module):
    """x / sqrt(mean of x^2 + eps) * (offset + scale), as in Gemma."""

    def __init__(self, layer: spec.RMSNorm, at: At) -> None:
        self.scale = nnx.Param(jnp.zeros(layer.sizes, at.dtype))
        self.layer = layer

    def __call__(self, x: jax.Array) -> jax.Array:
        return offset_rms_norm(x, self.scale[...], self.layer)


class GroupNorm(nnx.GroupNorm):
    """Flax's GroupNorm, which has the channels last."""

    def __init__(self, layer: spec.GroupNorm, at: At) -> None:
        super().__init__(layer.channels, **_settings(layer, at))
        self.layer = layer
        self.place = at.path

    def __call__(self, x: jax.Array) -> jax.Array:
        check_input(self.layer, self.place, x.shape)
        return jnp.moveaxis(super().__call__(jnp.moveaxis(x, 1, -1)), -1, 1)


class InstanceNorm(nnx.InstanceNorm):
    """Flax's InstanceNorm, which takes one value per channel without a word.

    Raises:
        NotExpressibleError: running statistics.
    """

    def __init__(self, layer: spec.InstanceNorm, at: At) -> None:
        refuse_unknown_settings(layer, at.path)
        super().__init__(layer.channels, **_settings(layer, at))
        self.layer = layer
        self.place = at.path

    def __call__(self, x: jax.Array) -> jax.Array:
        check_input(self.layer, self.place, x.shape)
        return super().__call__(x)


class BatchNorm(nnx.BatchNorm):
    """Flax's BatchNorm with PyTorch's running variance, which is the unbiased one, and its count of batches.

    It trains, that is normalizes by the batch and moves the statistics, unless `use_running_average`.

    Raises:
        NotExpressibleError: momentum=None.
    """

    def __init__(self, layer: spec.BatchNorm, at: At) -> None:
        refuse_unknown_settings(layer, at.path)
        super().__init__(layer.channels, **_settings(layer, at))
        self.mean = nnx.BatchStat(jnp.zeros(layer.channels, at.dtype))
        self.var = nnx.BatchStat(jnp.ones(layer.channels, at.dtype))
        self.num_batches_tracked = nnx.BatchStat(jnp.zeros((), jnp.int32))
        self.layer = layer
        self.place = at.path

    def __call__(self, x: jax.Array) -> jax.Array:
        training = not self.use_running_average
        check_input(self.layer, self.place, x.shape, several=training)
        if not training:
            return super().__call__(x)
        held = self.var.dtype
        for statistic in (self.mean, self.var):
            # Flax moves them in float32, and JAX is about to refuse to write that into half precision.
            statistic.set_value(statistic[...].astype(jnp.promote_types(held, jnp.float32)))
        before = self.var[...]
        out = super().__call__(x).astype(jnp.result_type(x, held))
        self.var.set_value(unbiased(before, self.var[...], self.momentum, x).astype(held))
        self.mean.set_value(self.mean[...].astype(held))
        self.num_batches_tracked[...] += 1
        return out


class UntrackedBatchNorm(nnx.LayerNorm):
    """Batch normalization without running statistics: Flax's LayerNorm over the batch and all axes but the channels."""

    def __init__(self, layer: spec.BatchNorm, at: At) -> None:
        super().__init__(layer.channels, **_settings(layer, at))
        self.layer = layer
        self.place = at.path

    def __call__(self, x: jax.Array) -> jax.Array:
        check_input(self.layer, self.place, x.shape)
        return super().__call__(x.reshape(*x.shape[:2], -1)).reshape(x.shape)


def layer_norm(layer: spec.LayerNorm, at: At) -> nnx.Module:
    """Flax's LayerNorm."""
    return nnx.LayerNorm(layer.sizes[-1], **_settings(layer, at))


def rms_norm(layer: spec.RMSNorm, at: At) -> nnx.Module:
    """Flax's RMSNorm, or one with an offset."""
    if layer.offset:
        return OffsetRMSNorm(layer, at)
    return nnx.RMSNorm(layer.sizes[-1], **_settings(layer, at))


def group_norm(layer: spec.GroupNorm, at: At) -> nnx.Module:
    """Flax's GroupNorm."""
    return GroupNorm(layer, at)


def batch_norm(layer: spec.BatchNorm, at: At) -> nnx.Module:
    """Flax's BatchNorm, or LayerNorm if nothing is tracked.

    Raises:
        NotExpressibleError: momentum=None.
    """
    return BatchNorm(layer, at) if layer.track_running_stats else UntrackedBatchNorm(layer, at)


def instance_norm(layer: spec.InstanceNorm, at: At) -> nnx.Module:
    """Flax's InstanceNorm.

    Raises:
        NotExpressibleError: running statistics.
    """
    return InstanceNorm(layer, at)


def _settings(layer: Any, at: At) -> dict[str, Any]:
    # NNX's own classes have one axis of parameters, whatever axes they are told to normalize.
    inits = {
        {"weight": "scale_init", "bias": "bias_init"}[each.name]: _zeros(each.shape)
        for each in layer.parameters()
        if each.kind == "parameter"
    }
    return {**layer.flax_settings(str(at.dtype)), **inits, "param_dtype": at.dtype, "rngs": at.rngs}


def _zeros(shape: tuple[int, ...]) -> Any:
    return lambda key, _, dtype: jnp.zeros(shape, dtype)


def _kind(module: Any) -> str:
    return module.layer.kind


MAKERS: Makers = {
    spec.LayerNorm: layer_norm,
    spec.RMSNorm: rms_norm,
    spec.GroupNorm: group_norm,
    spec.BatchNorm: batch_norm,
    spec.InstanceNorm: instance_norm,
}
# Flax's own BatchNorm and InstanceNorm do not say for how many axes they are meant.
KINDS: dict[type, Word] = {
    nnx.LayerNorm: "LayerNorm",
    nnx.RMSNorm: "RMSNorm",
    OffsetRMSNorm: "RMSNorm",
    nnx.GroupNorm: "GroupNorm",
    nnx.BatchNorm: "BatchNorm",
    nnx.InstanceNorm: "InstanceNorm",
    BatchNorm: _kind,
    UntrackedBatchNorm: _kind,
    InstanceNorm: _kind,
}
