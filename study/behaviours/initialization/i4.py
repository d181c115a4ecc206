"""I4: a constant for every weight, zero for every bias."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    def init_constant(module):
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 1)
            nn.init.zeros_(module.bias)

    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    net.apply(init_constant)
    return {
        "weights": sorted({value for layer in (net[0], net[2]) for value in layer.weight.flatten().tolist()}),
        "biases": sorted({value for layer in (net[0], net[2]) for value in layer.bias.tolist()}),
        "output for an input of ones": net(torch.ones(1, 4)).item(),
    }


def in_linen():
    ones = linen.initializers.constant(1.0)
    net = linen.Sequential([linen.Dense(8, kernel_init=ones), linen.relu, linen.Dense(1, kernel_init=ones)])
    x = jnp.ones((1, 4))
    variables = net.init(jax.random.key(0), x)
    layers = variables["params"].values()
    return {
        "weights": sorted({value for layer in layers for value in layer["kernel"].flatten().tolist()}),
        "biases": sorted({value for layer in layers for value in layer["bias"].tolist()}),
        "output for an input of ones": net.apply(variables, x).item(),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    first = nnx.Linear(4, 8, kernel_init=nnx.initializers.constant(1.0), rngs=rngs)  # at construction
    last = nnx.Linear(8, 1, rngs=rngs)
    last.kernel[...] = jnp.ones_like(last.kernel[...])  # or afterwards
    net = nnx.Sequential(first, nnx.relu, last)
    return {
        "weights": sorted({value for layer in (first, last) for value in layer.kernel[...].flatten().tolist()}),
        "biases": sorted({value for layer in (first, last) for value in layer.bias[...].tolist()}),
        "output for an input of ones": net(jnp.ones((1, 4))).item(),
    }


RECORD = Behaviour(
    id="I4",
    title="A constant gives the same numbers everywhere, since nothing is drawn",
    statement=(
        "Weights 1 and biases 0 in 4-8-1. An input of ones gives 4 in each of the 8 hidden units and 32 at the output, "
        "in every wing: nothing was drawn."
    ),
    verdict=Verdict.SAME,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        wing: {"weights": [1.0], "biases": [0.0], "output for an input of ones": 32.0}
        for wing in ("torch", "linen", "nnx")
    },
    notes=(
        "The biases need no line in Flax, where 0 is the default; PyTorch must set them.",
        "A constant weight shows a mechanism and trains badly: equal hidden units get equal gradients and stay equal.",
        "It also hides a wrong layout: a constant matrix is its own transpose, up to the shape.",
    ),
    sources=("S0", "S2", "S3"),
)
