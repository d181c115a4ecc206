"""I1: the initializers that a linear layer has when nobody chooses one."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Histogram, initializers
from ...record import Behaviour, Verdict


def default_in_torch():
    torch.manual_seed(0)
    return nn.Linear(16, 65536)


def in_torch():
    layer = default_in_torch()

    def in_fan_units(values):  # multiplied by sqrt(fan_in), so that the figures hold for every width
        values = values.detach() * 16**0.5
        return {"std": round(values.std().item(), 2), "largest": round(values.abs().max().item(), 1)}

    return {
        "default weight * sqrt(fan_in)": in_fan_units(layer.weight),
        "default bias * sqrt(fan_in)": in_fan_units(layer.bias),
        "PyTorch's rule, weight * sqrt(fan_in)": in_fan_units(layer.weight),
        "PyTorch's rule, bias * sqrt(fan_in)": in_fan_units(layer.bias),
    }


def default_in_linen():
    return linen.Dense(65536).init(jax.random.key(0), jnp.ones((1, 16)))["params"]


def in_linen():
    def in_fan_units(values):
        values = values * 16**0.5
        return {"std": round(values.std().item(), 2), "largest": round(jnp.abs(values).max().item(), 1)}

    def uniform_bias(key, shape, dtype=jnp.float32):
        bound = 16**-0.5  # a bias has the shape (out,): its fan_in must be said
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    x = jnp.ones((1, 16))
    default = default_in_linen()
    kernel_init = linen.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    torch_like = linen.Dense(65536, kernel_init=kernel_init, bias_init=uniform_bias).init(jax.random.key(0), x)[
        "params"
    ]
    return {
        "default weight * sqrt(fan_in)": in_fan_units(default["kernel"]),
        "default bias * sqrt(fan_in)": in_fan_units(default["bias"]),
        "PyTorch's rule, weight * sqrt(fan_in)": in_fan_units(torch_like["kernel"]),
        "PyTorch's rule, bias * sqrt(fan_in)": in_fan_units(torch_like["bias"]),
    }


def default_in_nnx():
    return nnx.Linear(16, 65536, rngs=nnx.Rngs(0))


def in_nnx():
    def in_fan_units(param):
        values = param[...] * 16**0.5
        return {"std": round(values.std().item(), 2), "largest": round(jnp.abs(values).max().item(), 1)}

    def uniform_bias(key, shape, dtype=jnp.float32):
        bound = 16**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    default = default_in_nnx()
    kernel_init = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    torch_like = nnx.Linear(16, 65536, kernel_init=kernel_init, bias_init=uniform_bias, rngs=nnx.Rngs(0))
    return {
        "default weight * sqrt(fan_in)": in_fan_units(default.kernel),
        "default bias * sqrt(fan_in)": in_fan_units(default.bias),
        "PyTorch's rule, weight * sqrt(fan_in)": in_fan_units(torch_like.kernel),
        "PyTorch's rule, bias * sqrt(fan_in)": in_fan_units(torch_like.bias),
    }


WEIGHT, BIAS, SPAN = (65536, 16), (65536,), (-0.65, 0.65)
TORCH_LAW, FLAX_LAW = initializers.TORCH_WEIGHT.law(WEIGHT), initializers.FLAX_KERNEL.law(WEIGHT)
TORCH_BIAS_LAW, FLAX_BIAS_LAW = initializers.Uniform(-0.25, 0.25).law(BIAS), initializers.Zeros().law(BIAS)

RECORD = Behaviour(
    id="I1",
    title="The default initializers differ by a factor of sqrt(3), and in the bias",
    statement=(
        "PyTorch draws weight and bias of a linear layer from U(-b, b) with b = 1/sqrt(fan_in), of std "
        "1/sqrt(3 fan_in). Flax draws the kernel from lecun_normal, a truncated normal of std 1/sqrt(fan_in), and sets "
        "the bias to 0. The last two facts show Flax with PyTorch's rule."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {
            "default weight * sqrt(fan_in)": {"std": 0.58, "largest": 1.0},
            "default bias * sqrt(fan_in)": {"std": 0.58, "largest": 1.0},
        },
        "linen": {
            "default weight * sqrt(fan_in)": {"std": 1.0, "largest": 2.3},
            "default bias * sqrt(fan_in)": {"std": 0.0, "largest": 0.0},
        },
        "nnx": {
            "default weight * sqrt(fan_in)": {"std": 1.0, "largest": 2.3},
            "default bias * sqrt(fan_in)": {"std": 0.0, "largest": 0.0},
        },
    },
    reason=(
        "A default is a choice of the library, and changing it would change every model that relies on it: PyTorch "
        "keeps an old bound of its own, Flax took LeCun's rule, which keeps the variance of the signal. A port must "
        "therefore name its initializers and not rely on the defaults of its own framework."
    ),
    notes=(
        "PyTorch's rule in Flax: `kernel_init=variance_scaling(1/3, 'fan_in', 'uniform')`, since the variance of "
        "U(-b, b) is `b**2 / 3`. The bias needs a function of its own: an initializer sees only the shape (out,), in "
        "which fan_in does not occur, so it must be closed over.",
        "The largest Flax draw tends to 2/0.8796 = 2.27: JAX cuts at two standard deviations and widens the normal by "
        "1/0.8796, so that its std is right after the cut.",
    ),
    sources=("S0", "S1"),
    figures=(
        Histogram(
            "torch",
            "weight",
            lambda: default_in_torch().weight.detach(),
            TORCH_LAW,
            "The line is the density of U(-1/4, 1/4), since fan_in is 16.",
            SPAN,
        ),
        Histogram(
            "linen",
            "weight",
            lambda: default_in_linen()["kernel"],
            FLAX_LAW,
            "The line is a normal cut at two standard deviations, of std 1/4 after the cut.",
            SPAN,
        ),
        Histogram(
            "nnx",
            "weight",
            lambda: default_in_nnx().kernel[...],
            FLAX_LAW,
            "The line is a normal cut at two standard deviations, of std 1/4 after the cut.",
            SPAN,
        ),
        Histogram(
            "torch",
            "bias",
            lambda: default_in_torch().bias.detach(),
            TORCH_BIAS_LAW,
            "The line is the density of U(-1/4, 1/4).",
            SPAN,
        ),
        Histogram(
            "linen",
            "bias",
            lambda: default_in_linen()["bias"],
            FLAX_BIAS_LAW,
            "All of the probability lies at one point.",
            SPAN,
        ),
        Histogram(
            "nnx",
            "bias",
            lambda: default_in_nnx().bias[...],
            FLAX_BIAS_LAW,
            "All of the probability lies at one point.",
            SPAN,
        ),
    ),
)
