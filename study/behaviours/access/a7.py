"""A7: one parameter looked up by its path."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...record import Behaviour, Verdict
from ._forms import native


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    path = "2.bias"
    found = net.state_dict()[path]
    return {
        "path": path,
        "shape": tuple(found.shape),
        "it is the layer's own bias": found.data_ptr() == net[2].bias.data_ptr(),
    }


def in_linen():
    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    path = "layers_2.bias"
    found = flatten_dict(params, sep=".")[path]
    return {
        "path": path,
        "shape": found.shape,
        "it is the layer's own bias": found is params["layers_2"]["bias"],
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    path = ("layers", 2, "bias")
    found = nnx.state(net)
    for key in path:  # state["layers"][2]["bias"]
        found = found[key]
    return {
        "path": path,
        "shape": found.shape,
        "it is the layer's own bias": found is net.layers[2].bias,
    }


RECORD = Behaviour(
    id="A7",
    title="Look-up by path: PyTorch's state_dict is flat, Flax's trees are nested",
    statement="`state_dict()['2.bias']` finds a bias by one dotted string. A Linen tree is walked key by key, or "
    "flattened first; an NNX State is walked with the index as a number.",
    verdict=Verdict.RELABELLED,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"path": native},
    expect={wing: {"shape": (1,), "it is the layer's own bias": True} for wing in ("torch", "linen", "nnx")},
    notes=(
        "The nested Flax trees know no dotted string: `state['layers.2.bias']` is a KeyError, and so is the index as "
        "text, `state['layers']['2']`.",
    ),
    sources=("S0", "S2", "S3"),
)
