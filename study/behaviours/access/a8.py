"""A8: a layer reached by its index and by its name."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict, raised


def in_torch():
    net = nn.Sequential()
    net.add_module("Linear_1", nn.Linear(20, 256))
    net.add_module("relu", nn.ReLU())
    net.add_module("Linear_2", nn.Linear(256, 10))
    return {
        "parameters reached by index": len(list(net[0].parameters())),
        "parameters reached by name": len(list(net.Linear_1.parameters())),
        "index and name give one object": net[0] is net.Linear_1,
    }


def in_linen():
    class Named(linen.Module):
        def setup(self):
            self.Linear_1 = linen.Dense(256)
            self.Linear_2 = linen.Dense(10)

        def __call__(self, x):
            return self.Linear_2(linen.relu(self.Linear_1(x)))

    listed = linen.Sequential([linen.Dense(256), linen.relu, linen.Dense(10)])
    named = Named().bind(Named().init(jax.random.key(0), jnp.ones((2, 20))))
    return {
        "parameters reached by index": raised(lambda: listed.layers[0].variables),
        "parameters reached by name": len(jax.tree.leaves(named.Linear_1.variables)),
        "index and name give one object": raised(lambda: named[0]),
    }


def in_nnx():
    class Named(nnx.Module):
        def __init__(self, rngs):
            self.Linear_1 = nnx.Linear(20, 256, rngs=rngs)
            self.Linear_2 = nnx.Linear(256, 10, rngs=rngs)

    named = Named(nnx.Rngs(0))
    rngs = nnx.Rngs(0)
    listed = nnx.Sequential(nnx.Linear(20, 256, rngs=rngs), nnx.relu, nnx.Linear(256, 10, rngs=rngs))
    return {
        "parameters reached by index": len(jax.tree.leaves(nnx.state(listed.layers[0]))),
        "parameters reached by name": len(jax.tree.leaves(nnx.state(named.Linear_1))),
        "index and name give one object": raised(lambda: named[0]),
    }


RECORD = Behaviour(
    id="A8",
    title="In PyTorch a child has an index and a name; in Flax it has one of the two",
    statement="`net[0]` and `net.Linear_1` are one object. A Flax Sequential numbers its children and a Flax class "
    "names them; no Flax container does both. In Linen the index reaches a definition, which holds no parameters.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={"torch": {"index and name give one object": True, "parameters reached by index": 2}},
    reason="A PyTorch Sequential keeps its children in an ordered dict, whose keys are attributes and whose order "
    "gives the index. A Flax Sequential keeps a list. A Linen module has arrays only while it is bound to some.",
    mistakes=(
        "Notebook S3 announces the second linear layer and then takes `Linear_1`, which is the first; the second is "
        "`Linear_2` (N4).",
    ),
    sources=("S3",),
)
