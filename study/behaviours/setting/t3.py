"""T3: a buffer, and what a cast of the whole model reaches."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Tree
from ...record import Behaviour, Verdict


def net_in_torch():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))
            self.register_buffer("mean", torch.zeros(2))
            self.plain = torch.ones(2)

    return Scale()


def in_torch():
    net = net_in_torch()
    net.to(torch.bfloat16)
    return {
        "parameters": [name for name, _ in net.named_parameters()],
        "buffers": [name for name, _ in net.named_buffers()],
        "whole state": sorted(net.state_dict()),
        "cast to bfloat16": [name for name in ("mean", "plain", "w") if getattr(net, name).dtype == torch.bfloat16],
    }


def net_in_linen():
    class Scale(linen.Module):
        def setup(self):
            self.w = self.param("w", linen.initializers.ones, (2,))
            self.mean = self.variable("buffers", "mean", jnp.zeros, 2)
            self.plain = jnp.ones(2)

        def __call__(self, x):
            return self.w * (x - self.mean.value) + self.plain

    net = Scale()
    return net, net.init(jax.random.key(0), jnp.ones(2))


def in_linen():
    net, variables = net_in_linen()
    cast = jax.tree.map(lambda array: array.astype(jnp.bfloat16), variables)
    bound = net.bind(cast)
    dtypes = {"mean": bound.mean.value.dtype, "plain": bound.plain.dtype, "w": bound.w.dtype}
    return {
        "parameters": list(variables["params"]),
        "buffers": list(variables["buffers"]),
        "whole state": sorted(name for collection in variables.values() for name in collection),
        "cast to bfloat16": [name for name, dtype in dtypes.items() if dtype == jnp.bfloat16],
    }


class Buffer(nnx.Variable):
    pass


def net_in_nnx():
    class Scale(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.ones(2))
            self.mean = Buffer(jnp.zeros(2))
            self.plain = jnp.ones(2)

    return Scale()


def in_nnx():
    net = net_in_nnx()
    nnx.update(net, jax.tree.map(lambda array: array.astype(jnp.bfloat16), nnx.state(net)))
    return {
        "parameters": list(nnx.state(net, nnx.Param)),
        "buffers": list(nnx.state(net, Buffer)),
        "whole state": sorted(nnx.state(net)),
        "cast to bfloat16": [name for name in ("mean", "plain", "w") if getattr(net, name).dtype == jnp.bfloat16],
    }


RECORD = Behaviour(
    id="T3",
    title="A buffer is state that is not trained; a plain array is left behind, except in NNX",
    statement=(
        "A module holds a parameter w, a buffer mean and a plain array. The buffer is in the whole state and not among "
        "the parameters: `register_buffer`, a collection of one's own in Linen, a subclass of Variable in NNX. A cast "
        "of the model reaches the parameter and the buffer, and in NNX the plain array too."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"whole state": ["mean", "w"], "cast to bfloat16": ["mean", "w"]},
        "linen": {"whole state": ["mean", "w"], "cast to bfloat16": ["mean", "w"]},
        "nnx": {"whole state": ["mean", "plain", "w"], "cast to bfloat16": ["mean", "plain", "w"]},
    },
    reason=(
        "PyTorch's `.to()` and a map over Linen's variables visit what was registered, and a plain array was not. An "
        "NNX module is a pytree of all its arrays (T1), so a map over its state finds the plain array as well."
    ),
    notes=(
        "`.to(device)` takes the same route as `.to(dtype)`: a plain tensor stays on the old device, and the forward "
        "then raises. `register_buffer(..., persistent=False)` is moved and not saved.",
        "The name of the Linen collection is free; BatchNorm calls its own `batch_stats`. Everything outside `params` "
        "is outside the gradient because the loss is differentiated by `params` alone.",
    ),
    figures=(
        Tree("torch", "a round dot is trained, a square one is not", net_in_torch),
        Tree("linen", "a buffer in a collection of its own", net_in_linen),
        Tree("nnx", "a buffer of a class of its own", net_in_nnx),
    ),
)
