"""A1: a small MLP on an input, from building it to its output."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict, raised


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    X = torch.ones(2, 4)
    y = net(X)
    return {
        "output shape": tuple(y.shape),
        "called as built": tuple(net(X).shape),
        "parameters without a key": len(list(nn.Linear(4, 8).parameters())),
        "parameters without an input": len(list(net.parameters())),
        "relu is a module": isinstance(net[1], nn.Module),
        "grad_fn of the output": type(y.grad_fn).__name__,
    }


def in_linen():
    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    X = jnp.ones((2, 4))
    variables = net.init(jax.random.key(0), X)
    y = net.apply(variables, X)
    return {
        "output shape": y.shape,
        "called as built": raised(lambda: net(X)),
        "parameters without a key": raised(lambda: net.init()),
        "parameters without an input": raised(lambda: net.init(jax.random.key(0))),
        "relu is a module": isinstance(net.layers[1], linen.Module),
        "grad_fn of the output": raised(lambda: y.grad_fn),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    X = jnp.ones((2, 4))
    y = net(X)
    return {
        "output shape": y.shape,
        "called as built": net(X).shape,
        "parameters without a key": raised(lambda: nnx.Linear(4, 8)),
        "parameters without an input": len(jax.tree.leaves(nnx.state(net, nnx.Param))),
        "relu is a module": isinstance(net.layers[1], nnx.Module),
        "grad_fn of the output": raised(lambda: y.grad_fn),
    }


RECORD = Behaviour(
    id="A1",
    title="A Linen model is called through `init` and `apply`, a PyTorch or NNX model as it is",
    statement="An MLP 4-8-1 maps an input of shape (2, 4) to an output of shape (2, 1) on all wings. What must be "
    "at hand before that call, and what the output carries, differ.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"output shape": (2, 1), "grad_fn of the output": "AddmmBackward0"},
        "linen": {"output shape": (2, 1), "relu is a module": False},
        "nnx": {"output shape": (2, 1), "relu is a module": False},
    },
    reason="A Linen module is a definition without arrays: `init` makes the parameters, from an explicit key and "
    "from the shape of an input, and `apply` takes them back in. JAX has no global generator and records no "
    "operations on an output, so both Flax wings want a key, and neither output has a grad_fn.",
    notes=(
        "In Flax relu is a plain function: it takes a slot of the Sequential (so the second Dense is `layers_2`), "
        "but it is not a module.",
    ),
    sources=("S0", "S2", "S4"),
)
