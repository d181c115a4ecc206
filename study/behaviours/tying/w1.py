"""W1: one shared layer in two slots of a net."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names
from ...figures import Tree
from ...record import Behaviour, Verdict


def net_in_torch():
    shared = nn.Linear(8, 8)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(8, 1))


def in_torch():
    net = net_in_torch()
    net(torch.ones(2, 4))
    twin = nn.Linear(8, 8)  # for contrast, a layer of the same kind that is not shared
    return {
        "rows equal": (net[2].weight == net[4].weight).all(dim=1).tolist(),
        "a twin's rows equal": (net[2].weight == twin.weight).all(dim=1).tolist(),
        "parameters": [name for name, _ in net.named_parameters()],
        "parameters of slot 4": [name for name, _ in net.named_parameters() if name.startswith("4.")],
    }


def net_in_linen():
    shared = linen.Dense(8)
    net = linen.Sequential([linen.Dense(8), linen.relu, shared, linen.relu, shared, linen.relu, linen.Dense(1)])
    return net, net.init(jax.random.key(0), jnp.ones((2, 4)))


def in_linen():
    net, variables = net_in_linen()

    bound = net.bind(variables)  # a bound module finds its parameters; slot 4 finds those of layers_2
    kernels = [bound.layers[slot].variables["params"]["kernel"] for slot in (2, 4)]
    twin = linen.Dense(8).init(jax.random.key(1), jnp.ones((2, 8)))["params"]["kernel"]
    paths = list(flatten_dict(variables["params"], sep="."))
    return {
        "rows equal": (kernels[0] == kernels[1]).all(axis=0).tolist(),
        "a twin's rows equal": (kernels[0] == twin).all(axis=0).tolist(),
        "parameters": paths,
        "parameters of slot 4": [path for path in paths if path.startswith("layers_4")],
    }


def net_in_nnx(rngs):
    shared = nnx.Linear(8, 8, rngs=rngs)
    first, last = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
    return nnx.Sequential(first, nnx.relu, shared, nnx.relu, shared, nnx.relu, last)


def in_nnx():
    rngs = nnx.Rngs(0)
    net = net_in_nnx(rngs)

    kernels = [net.layers[slot].kernel for slot in (2, 4)]
    twin = nnx.Linear(8, 8, rngs=rngs).kernel
    paths = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))]
    return {
        "rows equal": (kernels[0] == kernels[1]).all(axis=0).tolist(),
        "a twin's rows equal": (kernels[0] == twin).all(axis=0).tolist(),
        "parameters": paths,
        "parameters of slot 4": [path for path in paths if path.startswith("layers.4")],
    }


RECORD = Behaviour(
    id="W1",
    title="A layer put into two slots is one parameter, listed under the first",
    statement="Slots 2 and 4 of a net hold one Linear(8, 8): every row of the two weights is equal, and the list of "
    "parameters names slots 0, 2 and 6 only.",
    verdict=Verdict.RELABELLED,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"parameters": names},
    expect={
        "torch": {"rows equal": [True] * 8, "parameters of slot 4": []},
        "linen": {"rows equal": [True] * 8, "parameters of slot 4": []},
        "nnx": {"rows equal": [True] * 8, "parameters of slot 4": []},
    },
    notes=("Equal rows are what a tie implies, not what it is: W3 tells equal from identical.",),
    sources=("S0", "S2", "S4"),
    figures=(
        Tree("torch", "two paths, one parameter", net_in_torch),
        Tree("linen", "one name, read twice", net_in_linen, "Slot 4 is a use of `layers_2` in the program only."),
        Tree("nnx", "two paths, one Variable", lambda: net_in_nnx(nnx.Rngs(0))),
    ),
)
