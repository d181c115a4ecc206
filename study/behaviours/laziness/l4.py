"""L4: an input of the wrong width."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict, raised


def in_torch():
    layer = nn.Linear(4, 8)
    error = raised(lambda: layer(torch.ones(2, 5)))
    return {
        "output for width 4": tuple(layer(torch.ones(2, 4)).shape),
        "error for width 5": error.type,
        "its text": error.text,
        "the text names the parameter": "weight" in error.text,
    }


def in_linen():
    layer = linen.Dense(8)
    variables = layer.init(jax.random.key(0), jnp.ones((2, 4)))
    error = raised(lambda: layer.apply(variables, jnp.ones((2, 5))))
    return {
        "output for width 4": layer.apply(variables, jnp.ones((2, 4))).shape,
        "error for width 5": error.type,
        "its text": error.text,
        "the text names the parameter": "kernel" in error.text,
    }


def in_nnx():
    layer = nnx.Linear(4, 8, rngs=nnx.Rngs(0))
    error = raised(lambda: layer(jnp.ones((2, 5))))
    return {
        "output for width 4": layer(jnp.ones((2, 4))).shape,
        "error for width 5": error.type,
        "its text": error.text,
        "the text names the parameter": "kernel" in error.text,
    }


RECORD = Behaviour(
    id="L4",
    title="A wrong width is caught by three different checks",
    statement="A layer made for width 4 refuses an input of width 5 in every framework, each with an error of its own.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"error for width 5": "RuntimeError"},
        "linen": {"error for width 5": "ScopeParamShapeError"},
        "nnx": {"error for width 5": "TypeError"},
    },
    reason="PyTorch and NNX store the weight and meet the mismatch in the matrix product. A Linen layer derives the "
    "shape anew from each input and compares it with the parameter that it was given, before any product.",
    notes=(
        "Linen's text calls the shape that the input implies the expected one: '(5, 8)' is what it wants, "
        "'(4, 8)' is what it has. Only Linen says which parameter is meant.",
    ),
)
