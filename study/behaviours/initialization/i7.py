"""I7: Xavier on the whole net, and what the transpose does to its bound."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ... import canonical
from ...figures import Histogram, initializers
from ...record import Behaviour, Verdict


def weights_in_torch():
    def xavier(module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))
    net.apply(xavier)
    return [net[0].weight.detach(), net[2].weight.detach()]


def in_torch():
    weights = weights_in_torch()
    bounds = [(6 / sum(weight.shape)) ** 0.5 for weight in weights]
    largest = [weight.abs().max().item() for weight in weights]
    return {
        "initializer": nn.init.xavier_uniform_.__name__,
        "weight shapes": [tuple(weight.shape) for weight in weights],
        "bounds sqrt(6 / (fan_in + fan_out))": bounds,
        "bounds of the transposed shapes": [(6 / sum(weight.T.shape)) ** 0.5 for weight in weights],
        "largest draw / bound": [round(draw / bound, 2) for draw, bound in zip(largest, bounds, strict=True)],
        "no draw beyond the bound": all(draw <= bound for draw, bound in zip(largest, bounds, strict=True)),
    }


def weights_in_linen():
    xavier = linen.initializers.xavier_uniform()
    net = linen.Sequential([linen.Dense(256, kernel_init=xavier), linen.relu, linen.Dense(10, kernel_init=xavier)])
    params = net.init(jax.random.key(0), jnp.ones((1, 20)))["params"]
    return [params["layers_0"]["kernel"], params["layers_2"]["kernel"]]


def in_linen():
    weights = weights_in_linen()
    bounds = [(6 / sum(weight.shape)) ** 0.5 for weight in weights]
    largest = [jnp.abs(weight).max().item() for weight in weights]
    return {
        "initializer": linen.initializers.xavier_uniform.__name__,
        "weight shapes": [weight.shape for weight in weights],
        "bounds sqrt(6 / (fan_in + fan_out))": bounds,
        "bounds of the transposed shapes": [(6 / sum(weight.T.shape)) ** 0.5 for weight in weights],
        "largest draw / bound": [round(draw / bound, 2) for draw, bound in zip(largest, bounds, strict=True)],
        "no draw beyond the bound": all(draw <= bound for draw, bound in zip(largest, bounds, strict=True)),
    }


def weights_in_nnx():
    xavier = nnx.initializers.xavier_uniform()
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(20, 256, rngs=rngs), nnx.relu, nnx.Linear(256, 10, rngs=rngs))
    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.Linear):
            module.kernel[...] = xavier(rngs.params(), module.kernel.shape)
    return [net.layers[0].kernel[...], net.layers[2].kernel[...]]


def in_nnx():
    weights = weights_in_nnx()
    bounds = [(6 / sum(weight.shape)) ** 0.5 for weight in weights]
    largest = [jnp.abs(weight).max().item() for weight in weights]
    return {
        "initializer": nnx.initializers.xavier_uniform.__name__,
        "weight shapes": [weight.shape for weight in weights],
        "bounds sqrt(6 / (fan_in + fan_out))": bounds,
        "bounds of the transposed shapes": [(6 / sum(weight.T.shape)) ** 0.5 for weight in weights],
        "largest draw / bound": [round(draw / bound, 2) for draw, bound in zip(largest, bounds, strict=True)],
        "no draw beyond the bound": all(draw <= bound for draw, bound in zip(largest, bounds, strict=True)),
    }


def one_name(wing, name):
    """Xavier Glorot is one author: PyTorch names the initializer by his first name, JAX by his last."""
    return {"xavier_uniform_": "xavier uniform", "glorot_uniform": "xavier uniform"}[name]


def transposed_shapes(wing, shapes):
    return [canonical.transposed(wing, shape) for shape in shapes]


LAW = initializers.Xavier().law((256, 20))
BOUND = "The line is the density of U(-b, b) with b = sqrt(6 / 276)."

RECORD = Behaviour(
    id="I7",
    title="Xavier's bound is symmetric in fan_in and fan_out, so the transpose leaves it unchanged",
    statement=(
        "Xavier draws from U(-b, b) with b = sqrt(6 / (fan_in + fan_out)): 0.1474 for 20 -> 256 and 0.1502 for "
        "256 -> 10, in both layouts. JAX's `xavier_uniform` is an alias of its `glorot_uniform`."
    ),
    verdict=Verdict.RELABELLED,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"initializer": one_name, "weight shapes": transposed_shapes},
    expect={
        "torch": {"bounds sqrt(6 / (fan_in + fan_out))": [0.1474, 0.1502]},
        "linen": {"bounds sqrt(6 / (fan_in + fan_out))": [0.1474, 0.1502], "initializer": "glorot_uniform"},
        "nnx": {"bounds sqrt(6 / (fan_in + fan_out))": [0.1474, 0.1502], "initializer": "glorot_uniform"},
    },
    notes=(
        "This holds for Xavier because it takes the sum. An initializer that uses fan_in alone (Kaiming, LeCun, "
        "PyTorch's default) must know the layout: JAX reads the last two axes as (in, out), PyTorch the first two as "
        "(out, in).",
    ),
    sources=("S3",),
    figures=(
        Histogram("torch", "the layer 20 -> 256", lambda: weights_in_torch()[0], LAW, BOUND),
        Histogram("linen", "the layer 20 -> 256", lambda: weights_in_linen()[0], LAW, BOUND),
        Histogram("nnx", "the layer 20 -> 256", lambda: weights_in_nnx()[0], LAW, BOUND),
    ),
)
