"""N2: a deeper net with named blocks, and two ways in which Linen drops the names."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names
from ...figures import Tree
from ...record import Behaviour, Verdict, raised


def block_in_torch():
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())


def net_in_torch():
    model = nn.Sequential(OrderedDict((f"block{i}", block_in_torch()) for i in range(4)))
    return nn.Sequential(OrderedDict(model=model, Last_linear_layer=nn.Linear(16, 10)))


def in_torch():
    net = net_in_torch()

    class Inline(nn.Module):
        def __init__(self):
            super().__init__()
            self.Last_linear_layer = nn.Linear(16, 10)

        def forward(self, x):
            for _ in range(4):
                x = block_in_torch()(x)
            return self.Last_linear_layer(x)

    inline = Inline()
    inline(torch.ones(2, 16))
    return {
        "output shape": tuple(net(torch.ones(2, 16)).shape),
        "tensors": len(net.state_dict()),
        "scalars": sum(p.numel() for p in net.parameters()),
        "names": list(net.state_dict()),
        "a Sequential's child named 'first'": [
            name for name, _ in nn.Sequential(OrderedDict(first=nn.Linear(16, 1))).named_children()
        ],
        "children when blocks are built in the call": [name for name, _ in inline.named_children()],
    }


def block_in_linen():
    return linen.Sequential([linen.Dense(32), linen.relu, linen.Dense(16), linen.relu])


class BlocksInLinen(linen.Module):
    def setup(self):
        for i in range(4):
            setattr(self, f"block{i}", block_in_linen())

    def __call__(self, x):
        for i in range(4):
            x = getattr(self, f"block{i}")(x)
        return x


class NetInLinen(linen.Module):
    def setup(self):
        self.model = BlocksInLinen()
        self.Last_linear_layer = linen.Dense(10)

    def __call__(self, x):
        return self.Last_linear_layer(self.model(x))


class InlineInLinen(linen.Module):
    @linen.compact
    def __call__(self, x):
        for _ in range(4):
            x = block_in_linen()(x)
        return linen.Dense(10, name="Last_linear_layer")(x)


def made_in_linen(net):
    X = jnp.ones((2, 16))
    return net, net.init(jax.random.key(0), X), (X,)


def in_linen():
    net, variables, (X,) = made_in_linen(NetInLinen())
    params = variables["params"]
    _, inline, _ = made_in_linen(InlineInLinen())
    named = linen.Sequential([linen.Dense(1, name="first")])
    return {
        "output shape": net.apply(variables, X).shape,
        "tensors": len(jax.tree.leaves(params)),
        "scalars": sum(p.size for p in jax.tree.leaves(params)),
        "names": list(flatten_dict(params, sep=".")),
        "a Sequential's child named 'first'": list(named.init(jax.random.key(0), X)["params"]),
        "children when blocks are built in the call": list(inline["params"]),
    }


def block_in_nnx(rngs):
    return nnx.Sequential(nnx.Linear(16, 32, rngs=rngs), nnx.relu, nnx.Linear(32, 16, rngs=rngs), nnx.relu)


class BlocksInNnx(nnx.Module):
    def __init__(self, rngs):
        for i in range(4):
            setattr(self, f"block{i}", block_in_nnx(rngs))

    def __call__(self, x):
        for i in range(4):
            x = getattr(self, f"block{i}")(x)
        return x


class NetInNnx(nnx.Module):
    def __init__(self, rngs):
        self.model = BlocksInNnx(rngs)
        self.Last_linear_layer = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        return self.Last_linear_layer(self.model(x))


def in_nnx():
    class Inline(nnx.Module):
        def __init__(self, rngs):
            self.Last_linear_layer = nnx.Linear(16, 10, rngs=rngs)

        def __call__(self, x):
            for i in range(4):
                x = block_in_nnx(nnx.Rngs(i))(x)
            return self.Last_linear_layer(x)

    net, inline = NetInNnx(nnx.Rngs(0)), Inline(nnx.Rngs(0))
    inline(jnp.ones((2, 16)))
    state = nnx.state(net, nnx.Param)
    return {
        "output shape": net(jnp.ones((2, 16))).shape,
        "tensors": len(jax.tree.leaves(state)),
        "scalars": sum(p.size for p in jax.tree.leaves(state)),
        "names": [".".join(map(str, path)) for path, _ in nnx.to_flat_state(state)],
        "a Sequential's child named 'first'": raised(lambda: nnx.Linear(16, 1, name="first", rngs=nnx.Rngs(0))),
        "children when blocks are built in the call": list(nnx.state(inline)),
    }


RECORD = Behaviour(
    id="N2",
    title="The same names in all three, and two ways to lose them in Linen",
    statement="Named blocks of 16-32-16 and a last layer: 18 tensors, 4,458 scalars, from `model.block0.0.weight` to "
    "`Last_linear_layer.bias`. Linen overrules a name given inside a Sequential, and a Sequential built in a compact "
    "call leaves no level of its own.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"names": names},
    expect={
        "torch": {"tensors": 18, "scalars": 4458},
        "linen": {
            "tensors": 18,
            "scalars": 4458,
            "a Sequential's child named 'first'": ["layers_0"],
            "children when blocks are built in the call": [*(f"Dense_{i}" for i in range(8)), "Last_linear_layer"],
        },
        "nnx": {"tensors": 18, "scalars": 4458},
    },
    reason="A Linen module takes its name from the scope that adopts it. A Sequential adopts its list as `layers_i`, "
    "without a word on the name it replaces; in a compact call the outer scope adopts layers that are made there "
    "first. PyTorch and NNX register by attribute only, and never what is built in a call.",
    notes=(
        "The list that Linen returns keeps the layers but not the nesting: `Dense_2` is all that is left of the "
        "first layer of block 1.",
        "The blocks that PyTorch and NNX build in the call are new ones, untrained, in every call: an error, "
        "which nothing reports.",
    ),
    sources=("S3",),
    figures=(
        Tree("torch", "names of one's own", net_in_torch),
        Tree("linen", "names of one's own, by attributes in setup", lambda: made_in_linen(NetInLinen())),
        Tree("nnx", "names of one's own", lambda: NetInNnx(nnx.Rngs(0))),
        Tree(
            "linen",
            "blocks built in a compact call",
            lambda: made_in_linen(InlineInLinen()),
            "As many parameters, and no level is left of the blocks.",
        ),
    ),
)
