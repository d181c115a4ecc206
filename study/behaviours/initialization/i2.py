"""I2: a small normal for every weight and zero for every bias."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Histogram, initializers
from ...record import Behaviour, Verdict


def init_normal(module):
    if type(module) is nn.Linear:
        nn.init.normal_(module.weight, mean=0, std=0.01)
        nn.init.zeros_(module.bias)


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    torch.manual_seed(0)
    net.apply(init_normal)

    wide = nn.Linear(256, 256)
    wide.apply(init_normal)
    return {
        "first row of layer 0": [round(value, 4) for value in net[0].weight[0].tolist()],
        "biases": sorted({value for layer in (net[0], net[2]) for value in layer.bias.tolist()}),
        "mean of 65,536 draws": round(abs(wide.weight.mean().item()), 3),
        "std of 65,536 draws": round(wide.weight.std().item(), 4),
        "std, re-initialized after construction": round(wide.weight.std().item(), 4),
    }


def wide_in_linen():
    layer = linen.Dense(256, kernel_init=linen.initializers.normal(0.01))
    return layer.init(jax.random.key(0), jnp.ones((1, 256)))["params"]["kernel"]


def in_linen():
    normal = linen.initializers.normal(0.01)
    net = linen.Sequential([linen.Dense(8, kernel_init=normal), linen.relu, linen.Dense(1, kernel_init=normal)])
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))["params"]

    def by_path(path, old):
        if path[-1].key == "bias":
            return jnp.zeros_like(old)
        return normal(jax.random.key(0), old.shape, old.dtype)

    wide = wide_in_linen()
    default = linen.Dense(256).init(jax.random.key(0), jnp.ones((1, 256)))["params"]
    again = jax.tree.map_with_path(by_path, default)
    return {
        "first row of layer 0": [round(value, 4) for value in params["layers_0"]["kernel"][:, 0].tolist()],
        "biases": sorted({value for layer in params.values() for value in layer["bias"].tolist()}),
        "mean of 65,536 draws": round(abs(wide.mean().item()), 3),
        "std of 65,536 draws": round(wide.std().item(), 4),
        "std, re-initialized after construction": round(again["kernel"].std().item(), 4),
    }


def wide_in_nnx():
    return nnx.Linear(256, 256, kernel_init=nnx.initializers.normal(0.01), rngs=nnx.Rngs(0)).kernel[...]


def in_nnx():
    normal = nnx.initializers.normal(0.01)

    def init_normal(model, rngs):
        for _, module in nnx.iter_modules(model):
            if type(module) is nnx.Linear:
                module.kernel[...] = normal(rngs.params(), module.kernel.shape)
                module.bias[...] = jnp.zeros(module.bias.shape)

    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    init_normal(net, nnx.Rngs(0))

    wide = wide_in_nnx()
    again = nnx.Linear(256, 256, rngs=nnx.Rngs(1))
    init_normal(again, nnx.Rngs(0))
    return {
        "first row of layer 0": [round(value, 4) for value in net.layers[0].kernel[:, 0].tolist()],
        "biases": sorted({value for layer in (net.layers[0], net.layers[2]) for value in layer.bias[...].tolist()}),
        "mean of 65,536 draws": round(abs(wide.mean().item()), 3),
        "std of 65,536 draws": round(wide.std().item(), 4),
        "std, re-initialized after construction": round(again.kernel[...].std().item(), 4),
    }


LAW = initializers.Normal(0.0, 0.01).law((256, 256))
SPAN = (-0.045, 0.045)

RECORD = Behaviour(
    id="I2",
    title="The same normal initializer gives the same distribution, never the same numbers",
    statement=(
        "Every weight from `N(0, 0.01**2)`, every bias 0. PyTorch does it after construction, with apply; Linen at "
        "init, by kernel_init, or afterwards by path; NNX either by kernel_init or by a loop over its modules. The "
        "first row that PyTorch draws from seed 0 reproduces exactly, and no seed of JAX gives it."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {
            "first row of layer 0": [-0.0113, -0.0115, -0.0025, -0.0043],
            "std of 65,536 draws": 0.01,
        },
        "linen": {"std of 65,536 draws": 0.01},
        "nnx": {"std of 65,536 draws": 0.01},
    },
    reason=(
        "PyTorch's CPU generator is a Mersenne Twister with one state that every draw advances; JAX hashes an explicit "
        "key with Threefry, and Linen derives the key from the path, NNX from a counter. Equal seeds are unrelated "
        "streams, so compare distributions, or carry the weights over."
    ),
    notes=("The seed is set just before apply: construction also draws, from the default initializers.",),
    sources=("S0", "S2"),
    figures=(
        Histogram(
            "torch",
            "a wide layer",
            lambda: nn.Linear(256, 256).apply(init_normal).weight.detach(),
            LAW,
            "The line is the density of `N(0, 0.01**2)`.",
            SPAN,
        ),
        Histogram("linen", "a wide layer", wide_in_linen, LAW, "The same law, other numbers.", SPAN),
        Histogram("nnx", "a wide layer", wide_in_nnx, LAW, "The same law, other numbers.", SPAN),
    ),
)
