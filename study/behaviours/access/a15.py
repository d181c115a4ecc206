"""A15: whether the state that a model gives out is a copy."""

import operator

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict, raised


def in_torch():
    layer = nn.Linear(4, 3)
    kept = layer.state_dict()
    with torch.no_grad():
        layer.weight[0, 0] = 42.0
    seen = kept["weight"][0, 0].item() == 42.0
    kept["weight"][0, 0] = 7.0
    return {
        "the state holds the model's own arrays": kept["weight"].data_ptr() == layer.weight.data_ptr(),
        "a kept state follows the model": seen,
        "writing to the state": "changes the model" if layer.weight[0, 0].item() == 7.0 else "changes a copy",
        "requires_grad": kept["weight"].requires_grad,
    }


def in_linen():
    layer = linen.Dense(3)
    X = jnp.ones((2, 4))
    params = layer.init(jax.random.key(0), X)["params"]
    kept = params
    params = {**params, "kernel": params["kernel"].at[0, 0].set(42.0)}
    return {
        "the state holds the model's own arrays": layer.bind({"params": kept}).variables["params"]["kernel"]
        is kept["kernel"],
        "a kept state follows the model": kept["kernel"][0, 0].item() == 42.0,
        "writing to the state": raised(lambda: operator.setitem(kept["kernel"], (0, 0), 7.0)),
        "requires_grad": raised(lambda: kept["kernel"].requires_grad),
    }


def in_nnx():
    layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    kept = nnx.state(layer)
    layer.kernel[0, 0] = 42.0
    seen = kept["kernel"][0, 0].item() == 42.0
    kept["kernel"][0, 0] = 7.0
    return {
        "the state holds the model's own arrays": kept["kernel"] is layer.kernel,
        "a kept state follows the model": seen,
        "writing to the state": "changes the model" if layer.kernel[0, 0].item() == 7.0 else "changes a copy",
        "requires_grad": raised(lambda: kept["kernel"].requires_grad),
    }


RECORD = Behaviour(
    id="A15",
    title="A state_dict and an NNX State are views of the model; a Linen tree is the model's values",
    statement="Entries of a state_dict share storage with the parameters (and have requires_grad False); an NNX State "
    "holds the very same Variables. A change is seen both ways. Linen's tree is the storage itself, and no entry of "
    "it ever changes.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"the state holds the model's own arrays": True, "requires_grad": False},
        "linen": {"a kept state follows the model": False},
        "nnx": {"the state holds the model's own arrays": True, "a kept state follows the model": True},
    },
    reason="A jax.Array cannot be written to, so an update of a Linen model is a new tree and the old one keeps its "
    "values. PyTorch and NNX update in place, and a state that shares the storage moves along. No JAX array has a "
    "requires_grad: what is differentiated is chosen by the call of grad.",
    notes=(
        "A trap: a state_dict or an nnx.State kept as 'the best so far' follows the training. Copy it (deepcopy, "
        "`jax.tree.map(jnp.copy, state)`). A kept Linen tree needs no copy.",
    ),
    sources=("S3",),
)
