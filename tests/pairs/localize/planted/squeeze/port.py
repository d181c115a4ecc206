"""The image model in Linen: channels last throughout, pixels normed on the way in, the gate as two dense layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn

import paritree

from .reference import CLASSES, DEPTH, SQUEEZED, WIDTH
from .reference import Classifier as Reference

FAULTS = {
    "squeeze": None,
    "sigmoid": r"(?i)sigmoid",
    "place": None,
    "skip": r"(?i)skip|residual",
}


class Block(nn.Module):
    fault: str = ""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        filtered = nn.Conv(WIDTH, (3, 3), feature_group_count=WIDTH, name="depthwise")(x)
        y = nn.LayerNorm(1e-6, use_fast_variance=False, name="norm")(filtered)
        pooled = (filtered if self.fault == "squeeze" else y).mean((1, 2))  # fault: squeeze
        s = nn.Dense(WIDTH, name="up")(nn.relu(nn.Dense(SQUEEZED, name="down")(pooled)))
        s = nn.hard_sigmoid(s) if self.fault == "sigmoid" else nn.sigmoid(s)  # fault: sigmoid
        y = y * s[:, None, None]
        scale = self.param("layer_scale", nn.initializers.constant(0.5), (WIDTH,))
        y = nn.Conv(WIDTH, (1, 1), name="pointwise")(y * scale if self.fault == "place" else y)  # fault: place
        y = (y if self.fault == "place" else y * scale) / DEPTH**0.5  # fault: place
        return (filtered if self.fault == "skip" else x) + y  # fault: skip


class Classifier(nn.Module):
    fault: str = ""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = jnp.moveaxis(images, 1, -1)
        x = (x - 127.5) / 127.5
        x = nn.Conv(WIDTH, (2, 2), 2, padding="VALID")(x)
        x = nn.LayerNorm(1e-6, use_fast_variance=False)(x)
        x = Block(self.fault, name="block1")(x)
        x = Block(name="block2")(x)
        return nn.Dense(CLASSES)(nn.LayerNorm(1e-5, use_fast_variance=False)(x.mean((1, 2))))


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    images = np.random.default_rng(0).uniform(0, 255, size=(2, 3, 8, 8)).astype(np.float32)
    port = Classifier(fault)
    return paritree.Pair(Reference().eval(), (port, port.init(jax.random.key(0), images)), (images,))
