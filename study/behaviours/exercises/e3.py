"""E3: a table of the initializers, by what they draw."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Histogram, initializers
from ...record import Behaviour, Verdict


def moments(array):
    """The spread, two digits; the mean and the end of the tails in units of it. A tail beyond 3 is called open."""
    array = np.asarray(array, np.float64)
    mean, std = array.mean(), array.std()
    if std == 0:
        return {"constant": float(mean)}
    end = float(np.abs(array - mean).max() / std)
    return {
        "std": float(f"{std:.2g}"),
        "mean / std": round(float(mean / std), 1) + 0.0,
        "tails end at": round(end, 1) if end < 3 else "open",
    }


def in_torch():
    torch.manual_seed(0)

    def drawn(initialize):
        return moments(initialize(torch.empty(600, 1000)))

    def weight(layer):
        return moments(layer.weight.detach())

    linear = nn.Linear(1000, 600)
    return {
        "normal, as it comes": drawn(nn.init.normal_),
        "uniform, as it comes": drawn(nn.init.uniform_),
        "truncated normal, as it comes": drawn(nn.init.trunc_normal_),
        "Xavier uniform": drawn(nn.init.xavier_uniform_),
        "Xavier normal": drawn(nn.init.xavier_normal_),
        "Kaiming uniform": drawn(nn.init.kaiming_uniform_),
        "Kaiming normal": drawn(nn.init.kaiming_normal_),
        "orthogonal": drawn(nn.init.orthogonal_),
        "the weight of a linear layer": weight(linear),
        "the bias of a linear layer": moments(linear.bias.detach()),
        "the weight of a convolution": weight(nn.Conv2d(64, 128, 3)),
        "the table of an embedding": weight(nn.Embedding(1000, 600)),
        "the weight of a layer norm": weight(nn.LayerNorm(600)),
        "offered": {
            name: hasattr(nn.init, f"{name}_")
            for name in ("orthogonal", "dirac", "sparse", "lecun_normal", "variance_scaling", "delta_orthogonal")
        },
    }


def in_linen():
    init, key = linen.initializers, jax.random.key(0)

    def drawn(initializer):
        return moments(initializer(key, (1000, 600), jnp.float32))

    def parameter(layer, name, *shape, dtype=jnp.float32):
        return moments(layer.init(key, jnp.zeros(shape, dtype))["params"][name])

    return {
        "normal, as it comes": drawn(init.normal()),
        "uniform, as it comes": drawn(init.uniform()),
        "truncated normal, as it comes": drawn(init.truncated_normal()),
        "Xavier uniform": drawn(init.xavier_uniform()),
        "Xavier normal": drawn(init.xavier_normal()),
        "Kaiming uniform": drawn(init.kaiming_uniform()),
        "Kaiming normal": drawn(init.kaiming_normal()),
        "orthogonal": drawn(init.orthogonal()),
        "the weight of a linear layer": parameter(linen.Dense(600), "kernel", 1, 1000),
        "the bias of a linear layer": parameter(linen.Dense(600), "bias", 1, 1000),
        "the weight of a convolution": parameter(linen.Conv(128, (3, 3)), "kernel", 1, 8, 8, 64),
        "the table of an embedding": parameter(linen.Embed(1000, 600), "embedding", 1, dtype=jnp.int32),
        "the weight of a layer norm": parameter(linen.LayerNorm(), "scale", 1, 600),
        "offered": {
            name: hasattr(init, name)
            for name in ("orthogonal", "dirac", "sparse", "lecun_normal", "variance_scaling", "delta_orthogonal")
        },
    }


def in_nnx():
    init, rngs = nnx.initializers, nnx.Rngs(0)

    def drawn(initializer):
        return moments(initializer(rngs(), (1000, 600), jnp.float32))

    linear = nnx.Linear(1000, 600, rngs=rngs)
    return {
        "normal, as it comes": drawn(init.normal()),
        "uniform, as it comes": drawn(init.uniform()),
        "truncated normal, as it comes": drawn(init.truncated_normal()),
        "Xavier uniform": drawn(init.xavier_uniform()),
        "Xavier normal": drawn(init.xavier_normal()),
        "Kaiming uniform": drawn(init.kaiming_uniform()),
        "Kaiming normal": drawn(init.kaiming_normal()),
        "orthogonal": drawn(init.orthogonal()),
        "the weight of a linear layer": moments(linear.kernel[...]),
        "the bias of a linear layer": moments(linear.bias[...]),
        "the weight of a convolution": moments(nnx.Conv(64, 128, (3, 3), rngs=rngs).kernel[...]),
        "the table of an embedding": moments(nnx.Embed(1000, 600, rngs=rngs).embedding[...]),
        "the weight of a layer norm": moments(nnx.LayerNorm(600, rngs=rngs).scale[...]),
        "offered": {
            name: hasattr(init, name)
            for name in ("orthogonal", "dirac", "sparse", "lecun_normal", "variance_scaling", "delta_orthogonal")
        },
    }


_UNIT = {"std": 1.0, "mean / std": 0.0, "tails end at": "open"}
_HUNDREDTH = {"std": 0.01, "mean / std": 0.0, "tails end at": "open"}

SHAPE = (600, 1000)


def in_flax(initializer):
    return lambda: initializer(jax.random.key(0), SHAPE[::-1], jnp.float32)


RECORD = Behaviour(
    id="E3",
    title="The same names draw different numbers: look at the spread, the mean and the tails",
    question="Fill a weight of 1000 inputs and 600 outputs with each initializer that has the same name in PyTorch "
    "and in JAX. Which of them draw from the same distribution?",
    statement="Each initializer fills a weight of 1000 inputs and 600 outputs, with its arguments as they come, and "
    "each layer shows its own default. Both Xavier and Kaiming agree in spread; the normal, the uniform and the "
    "truncated normal do not, nor do the layers' defaults.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"normal, as it comes": _UNIT, "the table of an embedding": _UNIT},
        "linen": {"normal, as it comes": _HUNDREDTH, "the bias of a linear layer": {"constant": 0.0}},
        "nnx": {"normal, as it comes": _HUNDREDTH, "the bias of a linear layer": {"constant": 0.0}},
    },
    reason="The libraries chose their defaults apart: PyTorch draws a layer's weight and bias from the uniform "
    "distribution on +-1/sqrt(fan_in), Flax the weight from a truncated normal of three times that variance and "
    "the bias as 0; and Flax's normal initializers of the scaling family are truncated at two standard deviations.",
    notes=(
        "A uniform distribution ends at 1.7 of its standard deviations, a normal one truncated at two at 2.3 of what "
        "is left. Flax widens the scaled families again to the variance that was asked for, but not its "
        "plain `truncated_normal`, and PyTorch does not widen its own.",
        "PyTorch's `trunc_normal_` cuts at the values -2 and 2, not at two standard deviations: with std=0.02 it cuts "
        "nothing.",
        "Draws of the three cannot agree number by number; what is compared is rounded to what the draws settle.",
    ),
    sources=("S3",),
    figures=(
        Histogram(
            "torch",
            "truncated normal, as it comes",
            lambda: nn.init.trunc_normal_(torch.empty(SHAPE)),
            initializers.TruncatedNormal().law(SHAPE),
            "The line is N(0, 1), cut at -2 and 2.",
        ),
        Histogram(
            "linen",
            "truncated normal, as it comes",
            in_flax(linen.initializers.truncated_normal()),
            initializers.TruncatedNormal(std=0.01, cut="sigma").law(SHAPE),
            "The same shape at a hundredth of the size: the axis is another one.",
        ),
        Histogram(
            "torch",
            "Kaiming normal",
            lambda: nn.init.kaiming_normal_(torch.empty(SHAPE)),
            initializers.Kaiming("normal").law(SHAPE),
            "The line is a normal density.",
            (-0.25, 0.25),
        ),
        Histogram(
            "linen",
            "Kaiming normal",
            in_flax(linen.initializers.kaiming_normal()),
            initializers.Kaiming("truncated_normal").law(SHAPE),
            "The same standard deviation, but no tails: the normal is cut and widened again.",
            (-0.25, 0.25),
        ),
    ),
)
