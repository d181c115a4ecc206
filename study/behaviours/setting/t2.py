"""T2: what class a parameter is."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Absent, Behaviour, Verdict


def in_torch():
    weight = nn.Linear(4, 8).weight
    return {
        "class of a parameter": type(weight).__name__,
        "the class is a subclass of the array class": issubclass(nn.Parameter, torch.Tensor),
        "a parameter is an array": isinstance(weight, torch.Tensor),
        "it works where an array does": torch.sum(weight * 2).ndim == 0,
        "a result is a parameter again": isinstance(weight * 2, nn.Parameter),
    }


def in_linen():
    weight = linen.Dense(8).init(jax.random.key(0), jnp.ones((1, 4)))["params"]["kernel"]
    return {
        "class of a parameter": "jax.Array" if isinstance(weight, jax.Array) else type(weight).__name__,
        "the class is a subclass of the array class": Absent("there is no parameter class, only a place in the tree"),
        "a parameter is an array": isinstance(weight, jax.Array),
        "it works where an array does": jnp.sum(weight * 2).ndim == 0,
        "a result is a parameter again": Absent("there is no parameter class, only a place in the tree"),
    }


def in_nnx():
    weight = nnx.Linear(4, 8, rngs=nnx.Rngs(0)).kernel
    return {
        "class of a parameter": type(weight).__name__,
        "the class is a subclass of the array class": issubclass(nnx.Param, jax.Array),
        "a parameter is an array": isinstance(weight, jax.Array),
        "it works where an array does": jnp.sum(weight * 2).ndim == 0,
        "a result is a parameter again": isinstance(weight * 2, nnx.Param),
    }


RECORD = Behaviour(
    id="T2",
    title="A parameter is an array in PyTorch and Linen, and holds one in NNX",
    statement=(
        "`nn.Parameter` is a subclass of Tensor, so a parameter is a tensor. In Linen it is a bare jax.Array, and "
        "nothing about the array says that it is a parameter. `nnx.Param` is a container: no jax.Array, though it "
        "works in arithmetic as one."
    ),
    verdict=Verdict.ABSENT,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"the class is a subclass of the array class": True},
        "nnx": {"the class is a subclass of the array class": False},
    },
    reason=(
        "Linen marks a parameter by its place, the collection `params`, and so has no class for it. NNX needs an "
        "object that keeps its identity while its array is replaced, and a jax.Array cannot be that; a tensor can, "
        "because it changes in place."
    ),
    notes=(
        "`isinstance(p, jax.Array)` is therefore a wrong test on an NNX model; read the array with `p[...]` (A3).",
        "A result of arithmetic is a plain array in every wing, so assigning it back to the attribute loses the "
        "parameter (T4).",
    ),
    sources=("S1",),
)
