"""A3: the object that a bias is, and the array in it."""

import warnings

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Absent, Behaviour, Verdict, raised


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    bias = net[2].bias
    return {
        "type of the bias": type(bias).__name__,
        "it is an array": isinstance(bias, torch.Tensor),
        "type of the array in it": type(bias.data).__name__,
        "type of bias + 1": type(bias + 1).__name__,
        "bias.value": raised(lambda: bias.value),
    }


def in_linen():
    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    bias = net.init(jax.random.key(0), jnp.ones((2, 4)))["params"]["layers_2"]["bias"]
    return {
        "type of the bias": type(bias).__name__,
        "it is an array": isinstance(bias, jax.Array),
        "type of the array in it": Absent("the parameter is the array itself, no class wraps it"),
        "type of bias + 1": type(bias + 1).__name__,
        "bias.value": raised(lambda: bias.value),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    bias = net.layers[2].bias
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        by_value = raised(lambda: bias.value)
    return {
        "type of the bias": type(bias).__name__,
        "it is an array": isinstance(bias, jax.Array),
        "type of the array in it": type(bias[...]).__name__,
        "type of bias + 1": type(bias + 1).__name__,
        "bias.value": by_value,
    }


RECORD = Behaviour(
    id="A3",
    title="A parameter is a kind of tensor (PyTorch), a bare array (Linen) or a box with an array in it (NNX)",
    statement="PyTorch's Parameter is a Tensor, and `.data` is the plain Tensor in it. A Linen parameter is a "
    "jax.Array like any other. An NNX Param is no array: it is read with `param[...]`, though arithmetic takes it "
    "as it is.",
    verdict=Verdict.ABSENT,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"type of the bias": "Parameter", "type of the array in it": "Tensor"},
        "linen": {"it is an array": True},
        "nnx": {"type of the bias": "Param", "it is an array": False},
    },
    reason="A class that marks an array as trained is needed where modules hold their arrays. A Linen module holds "
    "none: the collection `params` is the mark. A jax.Array cannot change, so an NNX model, which can, needs a box "
    "around it, and the box cannot be the array.",
    notes=("ArrayImpl is the concrete class behind jax.Array.",),
    sources=("S0", "S2", "S4"),
)
