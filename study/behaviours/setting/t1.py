"""T1: a parameter against a plain array attribute."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.full((2,), 3.0))
            self.plain = torch.ones(2)

        def forward(self, x):
            return self.w * x + self.plain

    net = Scale()
    net(torch.ones(2)).sum().backward()
    return {
        "output": net(torch.ones(2)).tolist(),
        "parameters": [name for name, _ in net.named_parameters()],
        "whole state": list(net.state_dict()),
        "gets a gradient": [name for name in ("plain", "w") if getattr(net, name).grad is not None],
    }


def in_linen():
    class Scale(linen.Module):
        def setup(self):
            self.w = self.param("w", linen.initializers.constant(3.0), (2,))
            self.plain = jnp.ones(2)

        def __call__(self, x):
            return self.w * x + self.plain

    net, x = Scale(), jnp.ones(2)
    variables = net.init(jax.random.key(0), x)
    gradient = jax.grad(lambda params: net.apply({"params": params}, x).sum())(variables["params"])
    return {
        "output": net.apply(variables, x).tolist(),
        "parameters": list(variables["params"]),
        "whole state": [name for collection in variables.values() for name in collection],
        "gets a gradient": list(gradient),
    }


def in_nnx():
    class Scale(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.full(2, 3.0))
            self.plain = jnp.ones(2)

        def __call__(self, x):
            return self.w * x + self.plain

    net = Scale()
    gradient = nnx.grad(lambda net: net(jnp.ones(2)).sum())(net)  # with respect to nnx.Param, by default
    return {
        "output": net(jnp.ones(2)).tolist(),
        "parameters": list(nnx.state(net, nnx.Param)),
        "whole state": list(nnx.state(net)),
        "gets a gradient": list(gradient),
    }


RECORD = Behaviour(
    id="T1",
    title="A plain array is no parameter anywhere, but NNX counts it as state",
    statement=(
        "A module holds a parameter w and a plain array. In PyTorch and Linen only w is registered, and the plain "
        "array is in no list. In NNX `nnx.state(m)` has both; the filter `nnx.Param` drops the plain one."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"parameters": ["w"], "whole state": ["w"]},
        "linen": {"parameters": ["w"], "whole state": ["w"]},
        "nnx": {"parameters": ["w"], "whole state": ["plain", "w"]},
    },
    reason=(
        "An NNX module is a pytree, and its leaves are all the arrays that it holds, since a transformation must carry "
        "each of them. Being a parameter is a matter of the Variable's class. In PyTorch and Linen the registry "
        "decides, and an array that was not registered is invisible."
    ),
    notes=(
        "A trap for checkpoints: the plain array is saved with `nnx.state(m)`, and with neither of the others.",
        "Count and carry parameters with `nnx.state(m, nnx.Param)`, never with the bare state.",
    ),
    sources=("S1",),
)
