"""I14: an initializer works in place under no_grad, or is a pure function."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    torch.manual_seed(0)
    layer = nn.Linear(4, 8)
    old = layer.weight.data  # the same storage
    first = nn.init.normal_(layer.weight, std=0.01).tolist()
    second = nn.init.normal_(layer.weight, std=0.01).tolist()

    scale = torch.tensor(2.0, requires_grad=True)
    filled = nn.init.constant_(torch.empty(3), scale)

    layer(torch.ones(1, 4)).sum().backward()
    return {
        "the old array is overwritten": old.tolist() == second,
        "the same call twice gives the same draws": first == second,
        "a gradient flows through the initializer to its scale": filled.requires_grad,
        "the weight gets a gradient afterwards": layer.weight.grad is not None,
    }


def in_linen():
    layer, x = linen.Dense(8), jnp.ones((1, 4))
    params = layer.init(jax.random.key(0), x)["params"]
    old = params["kernel"]
    normal = linen.initializers.normal(0.01)
    first = normal(jax.random.key(1), (4, 8)).tolist()
    second = normal(jax.random.key(1), (4, 8))
    params = {**params, "kernel": second}

    def filled(scale):
        return linen.initializers.constant(scale)(jax.random.key(0), (3,)).sum()

    gradient = jax.grad(lambda params: layer.apply({"params": params}, x).sum())(params)
    return {
        "the old array is overwritten": old.tolist() == second.tolist(),
        "the same call twice gives the same draws": first == second.tolist(),
        "a gradient flows through the initializer to its scale": jax.grad(filled)(2.0).item() != 0,
        "the weight gets a gradient afterwards": bool((gradient["kernel"] != 0).all()),
    }


def in_nnx():
    layer, x = nnx.Linear(4, 8, rngs=nnx.Rngs(0)), jnp.ones((1, 4))
    old = layer.kernel[...]
    normal = nnx.initializers.normal(0.01)
    first = normal(jax.random.key(1), layer.kernel.shape).tolist()
    second = normal(jax.random.key(1), layer.kernel.shape)
    layer.kernel[...] = second  # the Variable holds another array now; the old one is as it was

    def filled(scale):
        return nnx.initializers.constant(scale)(jax.random.key(0), (3,)).sum()

    gradient = nnx.grad(lambda layer: layer(x).sum())(layer)
    return {
        "the old array is overwritten": old.tolist() == second.tolist(),
        "the same call twice gives the same draws": first == second.tolist(),
        "a gradient flows through the initializer to its scale": jax.grad(filled)(2.0).item() != 0,
        "the weight gets a gradient afterwards": bool((gradient["kernel"][...] != 0).all()),
    }


RECORD = Behaviour(
    id="I14",
    title="PyTorch's initializers write in place, unrecorded; JAX's are pure functions",
    statement=(
        "An initializer of PyTorch writes into the parameter under `no_grad`: nothing is recorded, and each call "
        "advances the global generator. An initializer of JAX is a pure function: the same key gives the same draws, "
        "and it can be differentiated; NNX then assigns the result. Either way the weight is trainable afterwards."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"a gradient flows through the initializer to its scale": False, "the old array is overwritten": True},
        "linen": {"the same call twice gives the same draws": True, "the old array is overwritten": False},
        "nnx": {"the same call twice gives the same draws": True, "the old array is overwritten": False},
    },
    reason=(
        "Autograd records what is done to a parameter, so writing into one is allowed only where recording is off "
        "(S2). JAX records nothing outside a transformation and its arrays never change, so its initializers need no "
        "exception to any rule: they take a key and return an array."
    ),
    sources=("S1",),
)
