"""The stem in Linen: channels last, padding by numbers, the group norm and the pooling by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn

import paritree

from .reference import CHANNELS, CLASSES, GROUPS
from .reference import Stem as Reference

FAULTS = {
    "padding": r"(?i)padd",
    "groups": r"(?i)group",
    "eps": r"(?i)\beps",
    "count": r"(?i)count|padd|pool|average|mean",
}


class GroupNorm(nn.Module):
    fault: str = ""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones_init(), (CHANNELS,))
        offset = self.param("offset", nn.initializers.zeros_init(), (CHANNELS,))
        groups = 2 if self.fault == "groups" else GROUPS
        apart = x.reshape(*x.shape[:-1], groups, CHANNELS // groups)  # fault: groups
        mean = apart.mean((1, 2, 4), keepdims=True)  # fault: groups
        variance = jnp.square(apart - mean).mean((1, 2, 4), keepdims=True)
        eps = 1e-5 if self.fault == "eps" else 1e-6
        normed = (apart - mean) / jnp.sqrt(variance + eps)  # fault: eps
        return normed.reshape(x.shape) * scale + offset


def hard_swish(x: jax.Array) -> jax.Array:
    return x * jnp.clip(x + 3.0, 0.0, 6.0) / 6.0


def pooled(x: jax.Array, fault: str) -> jax.Array:
    """The mean of three by three, of what lies within the image."""

    def added(y: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(y, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)])

    return added(x) / (9.0 if fault == "count" else added(jnp.ones_like(x)))  # fault: count


class Stem(nn.Module):
    fault: str = ""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images.transpose(0, 2, 3, 1)
        around = [(1, 1)] * 2 if self.fault == "padding" else [(0, 1)] * 2
        x = nn.Conv(CHANNELS, (3, 3), 2, padding=around, use_bias=False)(x)  # fault: padding
        x = hard_swish(GroupNorm(self.fault)(x))
        y = GroupNorm()(nn.Conv(CHANNELS, (3, 3), use_bias=False)(x))
        x = y + nn.Conv(CHANNELS, (1, 1), use_bias=False)(x)
        x = hard_swish(x)
        x = pooled(x, self.fault)
        x = x.max((1, 2))
        return nn.Dense(CLASSES)(x)


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    port = Stem(fault)
    return paritree.Pair(Reference().eval(), (port, port.init(jax.random.key(0), images)), (images,))
