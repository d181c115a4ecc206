"""A4: where a gradient is found, before and after one is computed."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict, raised


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    bias = net[2].bias
    before = bias.grad
    returned = net(torch.ones(2, 4)).sum().backward()
    return {
        "bias.grad before": before,
        "differentiating returns": type(returned).__name__,
        "bias.grad after": bias.grad.tolist(),
        "the gradient of the bias": bias.grad.tolist(),
    }


def in_linen():
    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    X = jnp.ones((2, 4))
    params = net.init(jax.random.key(0), X)["params"]
    bias = params["layers_2"]["bias"]
    before = raised(lambda: bias.grad)
    grads = jax.grad(lambda params: net.apply({"params": params}, X).sum())(params)
    return {
        "bias.grad before": before,
        "differentiating returns": type(grads).__name__,
        "bias.grad after": raised(lambda: bias.grad),
        "the gradient of the bias": grads["layers_2"]["bias"].tolist(),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    bias = net.layers[2].bias
    before = raised(lambda: bias.grad)
    grads = nnx.grad(lambda net: net(jnp.ones((2, 4))).sum())(net)
    return {
        "bias.grad before": before,
        "differentiating returns": type(grads).__name__,
        "bias.grad after": raised(lambda: bias.grad),
        "the gradient of the bias": grads["layers"][2]["bias"].tolist(),
    }


RECORD = Behaviour(
    id="A4",
    title="PyTorch writes a gradient onto the parameter; JAX returns it",
    statement="`.grad` is None before `backward`, which returns nothing and fills it. A JAX array has no `.grad`: the "
    "gradient, the same number, is what `jax.grad` or `nnx.grad` returns.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"bias.grad before": None, "differentiating returns": "NoneType"},
        "linen": {"differentiating returns": "dict"},
        "nnx": {"differentiating returns": "State"},
    },
    reason="In JAX differentiation turns a function into another function, and its result is a value like any other; "
    "an array that never changes has no place to keep it.",
    mistakes=(
        "Notebooks S0, S2 and S4 test `grad == None`, where `grad is None` is meant: `==` is a tensor's own, "
        "element-wise operator, and only happens to give a single False on None.",
    ),
    sources=("S0", "S1", "S2", "S3", "S4"),
)
