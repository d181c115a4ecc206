"""I11: an initializer of one's own, U(-10, 10) with the middle half set to zero."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Histogram, initializers
from ...record import Behaviour, Verdict


def weight_in_torch():
    def my_init(module):
        if isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -10, 10)
            with torch.no_grad():
                module.weight *= module.weight.abs() >= 5

    torch.manual_seed(0)
    layer = nn.Linear(256, 256)
    layer.apply(my_init)
    return layer.weight.detach()


def in_torch():
    weight = weight_in_torch()
    return {
        "share that is 0": round((weight == 0).float().mean().item(), 2),
        "share in [5, 10]": round(((weight >= 5) & (weight <= 10)).float().mean().item(), 2),
        "share in [-10, -5]": round(((weight >= -10) & (weight <= -5)).float().mean().item(), 2),
    }


def weight_in_linen():
    def my_init(key, shape, dtype=jnp.float32):
        weight = jax.random.uniform(key, shape, dtype, -10, 10)
        return weight * (jnp.abs(weight) >= 5)

    layer = linen.Dense(256, kernel_init=my_init)
    return layer.init(jax.random.key(0), jnp.ones((1, 256)))["params"]["kernel"]


def in_linen():
    weight = weight_in_linen()
    return {
        "share that is 0": round((weight == 0).mean().item(), 2),
        "share in [5, 10]": round(((weight >= 5) & (weight <= 10)).mean().item(), 2),
        "share in [-10, -5]": round(((weight >= -10) & (weight <= -5)).mean().item(), 2),
    }


def weight_in_nnx():
    def my_init(key, shape, dtype=jnp.float32):
        weight = jax.random.uniform(key, shape, dtype, -10, 10)
        return weight * (jnp.abs(weight) >= 5)

    return nnx.Linear(256, 256, kernel_init=my_init, rngs=nnx.Rngs(0)).kernel[...]


def in_nnx():
    weight = weight_in_nnx()
    return {
        "share that is 0": round((weight == 0).mean().item(), 2),
        "share in [5, 10]": round(((weight >= 5) & (weight <= 10)).mean().item(), 2),
        "share in [-10, -5]": round(((weight >= -10) & (weight <= -5)).mean().item(), 2),
    }


LAW = initializers.Masked(initializers.Uniform(-10.0, 10.0), 5.0).law((256, 256))
PARTS = "Half of the probability lies at 0, the stem; the line is the density of the rest."

RECORD = Behaviour(
    id="I11",
    title="An initializer of one's own: a function on a module, or a function of a key and a shape",
    statement=(
        "Draw from U(-10, 10) and set what is smaller than 5 in size to 0: half of the entries are 0, a quarter lie in "
        "[5, 10] and a quarter in [-10, -5], by 65,536 draws in every wing."
    ),
    verdict=Verdict.SAME,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        wing: {"share that is 0": 0.5, "share in [5, 10]": 0.25, "share in [-10, -5]": 0.25}
        for wing in ("torch", "linen", "nnx")
    },
    notes=(
        "Flax takes any function (key, shape, dtype) as an initializer, PyTorch any function on a module for `apply`.",
        "The initializer `uniform` of JAX cannot draw from [-10, 10): it starts at 0 (I10). jax.random.uniform can.",
        "Whether 5 itself is kept is I12, and the sign of the zeros I13.",
    ),
    sources=("S0", "S1", "S2", "S3"),
    figures=(
        Histogram("torch", "masked draws", weight_in_torch, LAW, PARTS),
        Histogram("linen", "masked draws", weight_in_linen, LAW, PARTS),
        Histogram("nnx", "masked draws", weight_in_nnx, LAW, PARTS),
    ),
)
