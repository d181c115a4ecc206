"""A6: the names of one layer's parameters and of a whole net's."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names
from ...figures import Tree
from ...record import Behaviour, Verdict
from ._forms import native


def net_in_torch():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def in_torch():
    net = net_in_torch()
    return {
        "names of one layer": [name for name, _ in net[0].named_parameters()],
        "names of the net": [name for name, _ in net.named_parameters()],
        "native path of the first matrix": next(name for name, p in net.named_parameters() if p is net[0].weight),
    }


def net_in_linen():
    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    return net, net.init(jax.random.key(0), jnp.ones((2, 4)))


def in_linen():
    _, variables = net_in_linen()
    params = variables["params"]
    flat = flatten_dict(params)
    return {
        "names of one layer": list(params["layers_0"]),
        "names of the net": list(flatten_dict(params, sep=".")),
        "native path of the first matrix": next(path for path, p in flat.items() if p is params["layers_0"]["kernel"]),
    }


def net_in_nnx():
    rngs = nnx.Rngs(0)
    return nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))


def in_nnx():
    net = net_in_nnx()
    flat = nnx.to_flat_state(nnx.state(net, nnx.Param))
    return {
        "names of one layer": list(nnx.state(net.layers[0], nnx.Param)),
        "names of the net": [".".join(map(str, path)) for path, _ in flat],
        "native path of the first matrix": next(path for path, p in flat if p is net.layers[0].kernel),
    }


RECORD = Behaviour(
    id="A6",
    title="One name, three spellings: `0.weight`, `layers_0.kernel`, `('layers', 0, 'kernel')`",
    statement="A layer asked alone spells its parameters without a prefix; the net puts each child's name before "
    "them. The names differ by a fixed rule, and so can be put into one spelling.",
    verdict=Verdict.RELABELLED,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"names of one layer": names, "names of the net": names, "native path of the first matrix": native},
    expect={
        "torch": {"names of the net": ["0.weight", "0.bias", "2.weight", "2.bias"]},
        "linen": {"native path of the first matrix": ("layers_0", "kernel")},
        "nnx": {"native path of the first matrix": ("layers", 0, "kernel")},
    },
    notes=(
        "`relu` has no parameters and still takes its index in all three: the second linear layer is child 2 (A10).",
        "The lists are compared without their order, which is a row of its own (A12).",
    ),
    sources=("S0", "S1", "S2", "S4"),
    figures=(
        Tree("torch", "a level is an index", net_in_torch, "A path is the names from the left, joined by dots."),
        Tree("linen", "a level is a key of a dict", net_in_linen, "The kernel is stored as (in, out)."),
        Tree("nnx", "the list is a level of its own", net_in_nnx, "The kernel is stored as (in, out)."),
    ),
)
