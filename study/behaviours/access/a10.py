"""A10: a ReLU layer has no parameters."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict
from ._forms import slots


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    return {
        "parameters of the relu": len(list(net[1].parameters())),
        "children with parameters": [name for name, child in net.named_children() if child.state_dict()],
    }


def in_linen():
    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    return {
        "parameters of the relu": len(jax.tree.leaves(params.get("layers_1", {}))),
        "children with parameters": list(params),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    layers = nnx.state(net)["layers"]
    return {
        "parameters of the relu": len(jax.tree.leaves(layers.get(1, {}))),
        "children with parameters": list(layers),
    }


RECORD = Behaviour(
    id="A10",
    title="A ReLU has no parameters, and still takes a number",
    statement="In PyTorch it is a layer with an empty state_dict; in the Flax trees it has no key at all. The linear "
    "layers around it are numbers 0 and 2 on all wings.",
    verdict=Verdict.RELABELLED,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"children with parameters": slots},
    expect={wing: {"parameters of the relu": 0} for wing in ("torch", "linen", "nnx")},
    notes=(
        "Paths may therefore have gaps. A port that writes relu between the calls instead of into the Sequential "
        "numbers its layers 0 and 1, and no longer matches by path.",
    ),
    sources=("S3",),
)
