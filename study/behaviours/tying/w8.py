"""W8: a shared container with a named child, used in two slots."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names
from ...figures import Tree
from ...record import Behaviour, Verdict, raised


def net_in_torch():
    shared = nn.Sequential()
    shared.add_module("linear_shared", nn.Linear(8, 8))
    shared.add_module("relu_shared", nn.ReLU())
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), shared, shared, nn.Linear(8, 10))


def in_torch():
    net = net_in_torch()
    unnamed = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    plain = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), unnamed, unnamed, nn.Linear(8, 10))
    return {
        "equal entries": int((net[2][0].weight == net[3][0].weight).sum()),
        "parameters, child named": [name for name, _ in net.named_parameters()],
        "entries of the second slot": [name for name in net.state_dict() if name.startswith("3.")],
        "parameters, child not named": [name for name, _ in plain.named_parameters()],
        "a name given to a child of a Sequential": next(iter(net[2].state_dict())),
    }


class SharedInLinen(linen.Module):
    def setup(self):
        self.linear_shared = linen.Dense(8)

    def __call__(self, x):
        return linen.relu(self.linear_shared(x))


def net_in_linen(shared):
    net = linen.Sequential([linen.Dense(8), linen.relu, shared, shared, linen.Dense(10)])
    return net, net.init(jax.random.key(0), jnp.ones((2, 20)))


def in_linen():
    def init(shared):
        net, variables = net_in_linen(shared)
        return net.bind(variables), list(flatten_dict(variables["params"], sep="."))

    bound, paths = init(SharedInLinen())
    kernels = [bound.layers[slot].variables["params"]["linear_shared"]["kernel"] for slot in (2, 3)]
    _, plain = init(linen.Sequential([linen.Dense(8), linen.relu]))

    named = linen.Sequential([linen.Dense(8, name="linear_shared"), linen.relu])  # the name is replaced by layers_0
    variables = named.init(jax.random.key(0), jnp.ones((2, 8)))
    return {
        "equal entries": int((kernels[0] == kernels[1]).sum()),
        "parameters, child named": paths,
        "entries of the second slot": [path for path in paths if path.startswith("layers_3")],
        "parameters, child not named": plain,
        "a name given to a child of a Sequential": next(iter(flatten_dict(variables["params"], sep="."))),
    }


class SharedInNnx(nnx.Module):
    def __init__(self, rngs):
        self.linear_shared = nnx.Linear(8, 8, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.linear_shared(x))


def net_in_nnx(shared):
    first, last = nnx.Linear(20, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 10, rngs=nnx.Rngs(1))
    return nnx.Sequential(first, nnx.relu, shared, shared, last)


def in_nnx():
    def build(shared):
        net = net_in_nnx(shared)
        return net, [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))]

    net, paths = build(SharedInNnx(nnx.Rngs(2)))
    _, plain = build(nnx.Sequential(nnx.Linear(8, 8, rngs=nnx.Rngs(2)), nnx.relu))
    kernels = [net.layers[slot].linear_shared.kernel for slot in (2, 3)]
    return {
        "equal entries": int((kernels[0] == kernels[1]).sum()),
        "parameters, child named": paths,
        "entries of the second slot": [path for path in paths if path.startswith("layers.3")],
        "parameters, child not named": plain,
        "a name given to a child of a Sequential": raised(
            lambda: nnx.Sequential(linear_shared=SharedInNnx(nnx.Rngs(2)))
        ),
    }


RECORD = Behaviour(
    id="W8",
    title="A shared container carries its children's names into the first slot only",
    statement="A container with a child named linear_shared sits in slots 2 and 3; the child's 8x8 weights agree in "
    "all 64 entries. PyTorch's state dict spells the child's path under both slots; Linen and NNX have it under "
    "slot 2 only, and need a class of their own to keep the name.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"parameters, child named": names, "parameters, child not named": names},
    expect={
        "torch": {
            "equal entries": 64,
            "entries of the second slot": ["3.linear_shared.weight", "3.linear_shared.bias"],
        },
        "linen": {
            "equal entries": 64,
            "entries of the second slot": [],
            "a name given to a child of a Sequential": "layers_0.kernel",
        },
        "nnx": {"equal entries": 64, "entries of the second slot": []},
    },
    reason="PyTorch's Sequential is a dict of named children and its state dict lists every path. Linen's and NNX's "
    "Sequential are lists: they number their layers, and a tie is kept under one path.",
    notes=(
        "A trap in Linen: name='linear_shared' on a child of a Sequential is replaced by layers_0 without a word. "
        "An NNX layer takes no name, and an NNX Sequential takes no keywords.",
    ),
    sources=("S3",),
    figures=(
        Tree("torch", "the name stands under both slots", net_in_torch),
        Tree(
            "linen",
            "the name stands under the first slot",
            lambda: (*net_in_linen(SharedInLinen()), (jnp.ones((2, 20)),)),
            "Slot 3 is a use of it in the program only.",
        ),
        Tree("nnx", "two paths, one Variable", lambda: net_in_nnx(SharedInNnx(nnx.Rngs(2)))),
    ),
)
