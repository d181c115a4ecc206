"""I10: what `normal` and `uniform` draw when no scale is given."""

import jax
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Histogram, initializers
from ...record import Behaviour, Verdict


def in_torch():
    torch.manual_seed(0)
    weight = torch.empty(256, 256)
    normal = nn.init.normal_(weight).std().item()
    uniform = nn.init.uniform_(weight).aminmax()
    unit_normal = nn.init.normal_(weight, std=1.0).std().item()
    unit_uniform = nn.init.uniform_(weight, 0.0, 1.0).aminmax()
    return {
        "normal: std": round(normal, 2),
        "uniform: lowest and highest": [round(end.item(), 3) for end in uniform],
        "normal, std 1 said aloud: std": round(unit_normal, 2),
        "uniform, scale 1 said aloud: lowest and highest": [round(end.item(), 3) for end in unit_uniform],
    }


def in_linen():
    key, shape = jax.random.key(0), (256, 256)
    normal = linen.initializers.normal()(key, shape)
    uniform = linen.initializers.uniform()(key, shape)
    unit_normal = linen.initializers.normal(1.0)(key, shape)
    unit_uniform = linen.initializers.uniform(1.0)(key, shape)
    return {
        "normal: std": round(normal.std().item(), 2),
        "uniform: lowest and highest": [round(uniform.min().item(), 3), round(uniform.max().item(), 3)],
        "normal, std 1 said aloud: std": round(unit_normal.std().item(), 2),
        "uniform, scale 1 said aloud: lowest and highest": [
            round(unit_uniform.min().item(), 3),
            round(unit_uniform.max().item(), 3),
        ],
    }


def in_nnx():
    def draw(initializer):
        kernel = nnx.Linear(256, 256, kernel_init=initializer, rngs=nnx.Rngs(0)).kernel
        return kernel[...]

    normal = draw(nnx.initializers.normal())
    uniform = draw(nnx.initializers.uniform())
    unit_normal = draw(nnx.initializers.normal(1.0))
    unit_uniform = draw(nnx.initializers.uniform(1.0))
    return {
        "normal: std": round(normal.std().item(), 2),
        "uniform: lowest and highest": [round(uniform.min().item(), 3), round(uniform.max().item(), 3)],
        "normal, std 1 said aloud: std": round(unit_normal.std().item(), 2),
        "uniform, scale 1 said aloud: lowest and highest": [
            round(unit_uniform.min().item(), 3),
            round(unit_uniform.max().item(), 3),
        ],
    }


def as_it_comes_in_flax(initializer):
    return initializer()(jax.random.key(0), (256, 256))


SHAPE, WIDE, UNIT = (256, 256), (-4.2, 4.2), (-0.05, 1.05)

RECORD = Behaviour(
    id="I10",
    title="`normal` and `uniform` without a scale: 1 in PyTorch, 0.01 in JAX",
    statement=(
        "`normal_` draws with std 1 and `uniform_` from [0, 1). JAX's `normal()` has std 0.01 and `uniform()` draws "
        "from [0, 0.01). With the scale given they agree."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"normal: std": 1.0, "uniform: lowest and highest": [0.0, 1.0]},
        "linen": {"normal: std": 0.01, "uniform: lowest and highest": [0.0, 0.01]},
        "nnx": {"normal: std": 0.01, "uniform: lowest and highest": [0.0, 0.01]},
    },
    reason=(
        "The defaults are two libraries' choices: PyTorch's is the standard distribution, JAX's a scale at which a "
        "layer can be trained. The same word with no argument is a factor of 100 apart, and no error says so."
    ),
    notes=(
        "`uniform(s)` of JAX is [0, s), never [-s, s): for a symmetric one write a function (I1, I11), or use "
        "variance_scaling.",
    ),
    mistakes=(
        "Notebook S3 heads a cell with `normal_` 'all parameters to 1'. What it sets is the std: about a third of the "
        "draws lie beyond plus and minus 1, and none is the constant 1 (I4).",
    ),
    sources=("S0", "S3"),
    figures=(
        Histogram(
            "torch",
            "`normal_`, as it comes",
            lambda: nn.init.normal_(torch.empty(SHAPE)),
            initializers.Normal().law(SHAPE),
            "The line is the density of N(0, 1).",
            WIDE,
        ),
        Histogram(
            "linen",
            "`normal()`, on the same axis",
            lambda: as_it_comes_in_flax(linen.initializers.normal),
            initializers.Normal(0.0, 0.01).law(SHAPE),
            "The density of `N(0, 0.01**2)` is cut off at the top.",
            WIDE,
        ),
        Histogram(
            "torch",
            "`uniform_`, as it comes",
            lambda: nn.init.uniform_(torch.empty(SHAPE)),
            initializers.Uniform().law(SHAPE),
            "The line is the density of U(0, 1).",
            UNIT,
        ),
        Histogram(
            "linen",
            "`uniform()`, on the same axis",
            lambda: as_it_comes_in_flax(linen.initializers.uniform),
            initializers.Uniform(0.0, 0.01).law(SHAPE),
            "The density of U(0, 0.01) is cut off at the top.",
            UNIT,
        ),
    ),
)
