"""N4: children with names, one by one and kept in a dict."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names
from ...figures import Tree
from ...record import Behaviour, Verdict


def kept_in_torch():
    kept = nn.Module()
    kept.d = nn.ModuleDict({"block0": nn.Linear(4, 1)})
    return kept


def in_torch():
    net = nn.Sequential()
    net.add_module("Linear_1", nn.Linear(20, 256))
    net.add_module("relu", nn.ReLU())
    net.add_module("Linear_2", nn.Linear(256, 10))
    kept = kept_in_torch()
    return {
        "names": [name for name, _ in net.named_parameters()],
        "the second linear layer is": [name for name, child in net.named_children() if child.state_dict()][1],
        "names from a dict attribute d": [name for name, _ in kept.named_parameters()],
    }


def kept_in_linen():
    class Kept(linen.Module):
        def setup(self):
            self.d = {"block0": linen.Dense(1)}

        def __call__(self, x):
            return self.d["block0"](x)

    net = Kept()
    return net, net.init(jax.random.key(0), jnp.ones((2, 4)))


def in_linen():
    class Net(linen.Module):
        def setup(self):
            self.Linear_1 = linen.Dense(256)
            self.Linear_2 = linen.Dense(10)

        def __call__(self, x):
            return self.Linear_2(linen.relu(self.Linear_1(x)))

    params = Net().init(jax.random.key(0), jnp.ones((2, 20)))["params"]
    _, kept = kept_in_linen()
    return {
        "names": list(flatten_dict(params, sep=".")),
        "the second linear layer is": list(params)[1],
        "names from a dict attribute d": list(flatten_dict(kept["params"], sep=".")),
    }


def kept_in_nnx(rngs):
    class Kept(nnx.Module):
        def __init__(self):
            self.d = nnx.Dict({"block0": nnx.Linear(4, 1, rngs=rngs)})

    return Kept()


def in_nnx():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.Linear_1 = nnx.Linear(20, 256, rngs=rngs)
            self.Linear_2 = nnx.Linear(256, 10, rngs=rngs)

        def __call__(self, x):
            return self.Linear_2(nnx.relu(self.Linear_1(x)))

    state = nnx.state(Net(nnx.Rngs(0)))
    kept = nnx.state(kept_in_nnx(nnx.Rngs(0)))
    return {
        "names": [".".join(map(str, path)) for path, _ in nnx.to_flat_state(state)],
        "the second linear layer is": list(state)[1],
        "names from a dict attribute d": [".".join(map(str, path)) for path, _ in nnx.to_flat_state(kept)],
    }


RECORD = Behaviour(
    id="N4",
    title="A child's name is its attribute; a dict of children is one level more, but not in Linen",
    statement="`add_module('Linear_1', ...)` in PyTorch and an attribute in Flax give the same names. Children kept "
    "in a dict attribute `d` are `d.block0` in PyTorch and NNX, and `d_block0` in Linen.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"names": names, "names from a dict attribute d": names},
    expect={
        "torch": {"names from a dict attribute d": ["d.block0.weight", "d.block0.bias"]},
        "linen": {"names from a dict attribute d": ["d_block0.kernel", "d_block0.bias"]},
        "nnx": {"names from a dict attribute d": ["d.block0.bias", "d.block0.kernel"]},
    },
    reason="PyTorch's ModuleDict and NNX's Dict are modules, and each makes a level. A plain dict in a Linen module is "
    "not: Linen registers what it finds in the dict on the module itself, under attribute and key joined by `_`.",
    notes=(
        "The joined name cannot be split again by rule: an attribute `d_block0` has it too. A list attribute is "
        "joined in the same way (`layers_0`), which is where a Linen Sequential gets its names.",
        "PyTorch registers no child that is kept in a plain dict, hence the ModuleDict; NNX wants nnx.Dict.",
    ),
    mistakes=("Notebook S3 speaks of the second linear layer and takes `Linear_1`; the second one is `Linear_2`.",),
    sources=("S3",),
    figures=(
        Tree("torch", "a ModuleDict is a level", kept_in_torch),
        Tree("linen", "a dict is no level", kept_in_linen),
        Tree("nnx", "a Dict is a level", lambda: kept_in_nnx(nnx.Rngs(0))),
    ),
)
