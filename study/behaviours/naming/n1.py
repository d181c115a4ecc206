"""N1: blocks with names of their own inside a Sequential."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names, path
from ...figures import Tree
from ...record import Behaviour, Verdict, raised


def block_in_torch():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())


def net_in_torch():
    blocks = nn.Sequential()
    for i in range(4):
        blocks.add_module(f"block {i}", block_in_torch())
    return nn.Sequential(blocks, nn.Linear(4, 1))


def in_torch():
    net = net_in_torch()
    other = nn.Sequential(OrderedDict((f"block{i}", block_in_torch()) for i in range(4)))

    def matrix_in(child, add=nn.Module.add_module):
        parent = nn.Module()
        add(parent, child, nn.Linear(4, 1))
        return next(iter(parent.state_dict()))

    return {
        "output shape": tuple(net(torch.ones(2, 4)).shape),
        "tensors": len(net.state_dict()),
        "scalars": sum(p.numel() for p in net.parameters()),
        "names": [name for name, _ in net.named_parameters()],
        "children named the other way": [name for name, _ in other.named_children()],
        "path of a matrix in the child 'block 0'": matrix_in("block 0"),
        "in the child 'a/b'": matrix_in("a/b"),
        "in the child 'a.b'": raised(lambda: matrix_in("a.b")),
        "in the child 'a.b', set by setattr": matrix_in("a.b", add=setattr),
        "in a child with an empty name": raised(lambda: matrix_in("")),
    }


class BlocksInLinen(linen.Module):
    def setup(self):
        for i in range(4):
            block = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(4), linen.relu])
            setattr(self, f"block {i}", block)

    def __call__(self, x):
        for i in range(4):
            x = getattr(self, f"block {i}")(x)
        return x


def net_in_linen():
    net, x = linen.Sequential([BlocksInLinen(), linen.Dense(1)]), jnp.ones((2, 4))
    return net, net.init(jax.random.key(0), x), (x,)


def in_linen():
    class Other(linen.Module):
        child_names: tuple[str, ...]

        @linen.compact
        def __call__(self, x):
            for name in self.child_names:
                x = linen.Dense(4, name=name)(x)
            return x

    class BySetattr(linen.Module):
        def setup(self):
            setattr(self, "a.b", linen.Dense(1))

        def __call__(self, x):
            return getattr(self, "a.b")(x)

    def matrix_in(child):
        return next(iter(flatten_dict(Other((child,)).init(key, X)["params"], sep=".")))

    key = jax.random.key(0)
    net, variables, (X,) = net_in_linen()
    params = variables["params"]
    return {
        "output shape": net.apply({"params": params}, X).shape,
        "tensors": len(jax.tree.leaves(params)),
        "scalars": sum(p.size for p in jax.tree.leaves(params)),
        "names": list(flatten_dict(params, sep=".")),
        "children named the other way": list(Other(tuple(f"block{i}" for i in range(4))).init(key, X)["params"]),
        "path of a matrix in the child 'block 0'": matrix_in("block 0"),
        "in the child 'a/b'": matrix_in("a/b"),
        "in the child 'a.b'": matrix_in("a.b"),
        "in the child 'a.b', set by setattr": next(iter(flatten_dict(BySetattr().init(key, X)["params"], sep="."))),
        "in a child with an empty name": matrix_in(""),
    }


def block_in_nnx(rngs):
    return nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 4, rngs=rngs), nnx.relu)


class BlocksInNnx(nnx.Module):
    def __init__(self, rngs):
        for i in range(4):
            setattr(self, f"block {i}", block_in_nnx(rngs))

    def __call__(self, x):
        for i in range(4):
            x = getattr(self, f"block {i}")(x)
        return x


def net_in_nnx(rngs):
    return nnx.Sequential(BlocksInNnx(rngs), nnx.Linear(4, 1, rngs=rngs))


def in_nnx():
    def paths(model):
        return [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model))]

    def matrix_in(child):
        return paths(nnx.Dict({child: nnx.Linear(4, 1, use_bias=False, rngs=rngs)}))[0]

    rngs = nnx.Rngs(0)
    net = net_in_nnx(rngs)
    by_setattr = nnx.Module()
    setattr(by_setattr, "a.b", nnx.Linear(4, 1, use_bias=False, rngs=rngs))
    params = jax.tree.leaves(nnx.state(net, nnx.Param))
    return {
        "output shape": net(jnp.ones((2, 4))).shape,
        "tensors": len(params),
        "scalars": sum(p.size for p in params),
        "names": paths(net),
        "children named the other way": list(nnx.state(nnx.Dict({f"block{i}": block_in_nnx(rngs) for i in range(4)}))),
        "path of a matrix in the child 'block 0'": matrix_in("block 0"),
        "in the child 'a/b'": matrix_in("a/b"),
        "in the child 'a.b'": matrix_in("a.b"),
        "in the child 'a.b', set by setattr": paths(by_setattr)[0],
        "in a child with an empty name": matrix_in(""),
    }


RECORD = Behaviour(
    id="N1",
    title="Names of one's own inside a Sequential, and which names are allowed",
    statement="Four blocks called `block 0` to `block 3` and a linear layer: 18 tensors, 309 scalars, and the key "
    "`0.block 0.0.weight`. Each wing has two ways to name a child; all allow a space, PyTorch refuses a dot and the "
    "empty name.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={
        "names": names,
        "path of a matrix in the child 'block 0'": path,
        "in the child 'a/b'": path,
        "in the child 'a.b', set by setattr": path,
    },
    expect={wing: {"tensors": 18, "scalars": 309, "output shape": (2, 1)} for wing in ("torch", "linen", "nnx")},
    reason="PyTorch joins names with dots into the keys of a state_dict, so a dot inside a name would make two paths "
    "read alike, and an empty name would leave a hole. A Flax path is a sequence of keys, which needs no separator.",
    notes=(
        "The two ways: add_module and an OrderedDict (PyTorch), setattr in `setup` and `name=` in a compact call "
        "(Linen), setattr and nnx.Dict (NNX). Notebook S0 writes `block 0`, S2 `block0`.",
        "PyTorch's check sits in add_module, ModuleDict and OrderedDict; setattr lets both kinds of name pass.",
        "A trap: a name that holds a dot or a slash is legal in Flax, and cannot be told from two levels once "
        "the tree has been flattened with `sep='.'` or `sep='/'`. Flatten to tuples.",
    ),
    sources=("S0", "S2"),
    figures=(
        Tree("torch", "names and indices in one path", net_in_torch),
        Tree("linen", "an attribute with a space", net_in_linen),
        Tree("nnx", "an attribute with a space", lambda: net_in_nnx(nnx.Rngs(0))),
    ),
)
