"""Normalization: Flax's modules on inputs that have their channels first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from ....common import layers as spec
from ....common.layers import Word
from ...functions import check_input, offset_rms_norm, refuse_unknown_settings, unbiased
from .at import At, Makers


class OffsetRMSNorm(linen.Module):
    """x / sqrt(mean of x^2 + eps) * (offset + scale), as in Gemma."""

    layer: spec.RMSNorm
    scale_init: Callable[..., Any]
    param_dtype: Any

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", self.scale_init, self.layer.sizes, self.param_dtype)
        return offset_rms_norm(x, scale, self.layer)


class GroupNorm(linen.GroupNorm, kw_only=True):
    """Flax's GroupNorm, which has the channels last."""

    layer: spec.GroupNorm
    place: str

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        check_input(self.layer, self.place, x.shape)
        return jnp.moveaxis(super().__call__(jnp.moveaxis(x, 1, -1)), -1, 1)


class InstanceNorm(linen.InstanceNorm, kw_only=True):
    """Flax's InstanceNorm, which takes one value per channel without a word."""

    layer: spec.InstanceNorm
    place: str

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        check_input(self.layer, self.place, x.shape)
        return super().__call__(x)


class BatchNorm(linen.BatchNorm, kw_only=True):
    """Flax's BatchNorm with PyTorch's running variance, which is the unbiased one, and its count of batches.

    It trains, that is normalizes by the batch and moves the statistics, where the collection `batch_stats` is mutable.
    """

    layer: spec.BatchNorm
    place: str

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        training = self.is_mutable_collection("batch_stats") and not self.is_initializing()
        check_input(self.layer, self.place, x.shape, several=training)
        tracked = self.variable("batch_stats", "num_batches_tracked", jnp.zeros, (), jnp.int32)
        if not training:
            return super().__call__(x, use_running_average=True)
        held = {name: self.get_variable("batch_stats", name) for name in ("mean", "var")}
        before = {name: value.astype(jnp.promote_types(value.dtype, jnp.float32)) for name, value in held.items()}
        for name, value in before.items():
            self.put_variable("batch_stats", name, value)
        out = super().__call__(x, use_running_average=False)
        after = {name: self.get_variable("batch_stats", name) for name in held}
        after["var"] = unbiased(before["var"], after["var"], self.momentum, x)
        for name, value in after.items():
            # Flax's statistics of a half precision model would be float32 from the first step on.
            self.put_variable("batch_stats", name, value.astype(held[name].dtype))
        tracked.value += 1
        return out


class UntrackedBatchNorm(linen.LayerNorm, kw_only=True):
    """Batch normalization without running statistics: Flax's LayerNorm over the batch and all axes but the channels."""

    layer: spec.BatchNorm
    place: str

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        check_input(self.layer, self.place, x.shape)
        return super().__call__(x.reshape(*x.shape[:2], -1)).reshape(x.shape)


def layer_norm(layer: spec.LayerNorm, at: At) -> linen.Module:
    """Flax's LayerNorm."""
    return linen.LayerNorm(**_settings(layer, at))


def rms_norm(layer: spec.RMSNorm, at: At) -> linen.Module:
    """Flax's RMSNorm, or one with an offset."""
    if layer.offset:
        return OffsetRMSNorm(layer, at.init("weight"), at.dtype)
    return linen.RMSNorm(**_settings(layer, at))


def group_norm(layer: spec.GroupNorm, at: At) -> linen.Module:
    """Flax's GroupNorm."""
    return GroupNorm(**_settings(layer, at), layer=layer, place=at.path)


def batch_norm(layer: spec.BatchNorm, at: At) -> linen.Module:
    """Flax's BatchNorm, or LayerNorm if nothing is tracked.

    Raises:
        NotExpressibleError: momentum=None.
    """
    refuse_unknown_settings(layer, at.path)
    module = BatchNorm if layer.track_running_stats else UntrackedBatchNorm
    return module(**_settings(layer, at), layer=layer, place=at.path)


def instance_norm(layer: spec.InstanceNorm, at: At) -> linen.Module:
    """Flax's InstanceNorm.

    Raises:
        NotExpressibleError: running statistics.
    """
    refuse_unknown_settings(layer, at.path)
    return InstanceNorm(**_settings(layer, at), layer=layer, place=at.path)


def _settings(layer: Any, at: At) -> dict[str, Any]:
    natives = {"weight": "scale_init", "bias": "bias_init"}
    inits = {natives[each.name]: at.init(each.name) for each in layer.parameters() if each.name in natives}
    return {**layer.flax_settings(str(at.dtype)), **inits, "param_dtype": at.dtype}


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
    linen.LayerNorm: "LayerNorm",
    linen.RMSNorm: "RMSNorm",
    OffsetRMSNorm: "RMSNorm",
    linen.GroupNorm: "GroupNorm",
    linen.BatchNorm: "BatchNorm",
    linen.InstanceNorm: "InstanceNorm",
    BatchNorm: _kind,
    UntrackedBatchNorm: _kind,
    InstanceNorm: _kind,
}
