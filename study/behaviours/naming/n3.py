"""N3: an index into the nested net, three levels down."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import path
from ...figures import Tree
from ...record import Behaviour, Verdict
from ._forms import places


def nested_in_torch(width, hidden, outputs):
    def block():
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.ReLU())

    blocks = nn.Sequential(OrderedDict((f"block{i}", block()) for i in range(4)))
    return nn.Sequential(blocks, nn.Linear(width, outputs))


def in_torch():
    rgnet = nested_in_torch(4, 8, 1)
    bias = rgnet[0][1][0].bias
    return {
        "shape in the 4-8-4 blocks": tuple(bias.shape),
        "shape in the 16-32-16 blocks": tuple(nested_in_torch(16, 32, 10)[0][1][0].bias.shape),
        "path of this bias": next(name for name, p in rgnet.named_parameters() if p is bias),
    }


def nested_in_linen(width, hidden, outputs):
    def block():
        return linen.Sequential([linen.Dense(hidden), linen.relu, linen.Dense(width), linen.relu])

    net = linen.Sequential([linen.Sequential([block() for _ in range(4)]), linen.Dense(outputs)])
    return net, net.init(jax.random.key(0), jnp.ones((2, width)))


def in_linen():
    _, variables = nested_in_linen(4, 8, 1)
    params, wide = variables["params"], nested_in_linen(16, 32, 10)[1]["params"]
    bias = params["layers_0"]["layers_1"]["layers_0"]["bias"]
    return {
        "shape in the 4-8-4 blocks": bias.shape,
        "shape in the 16-32-16 blocks": wide["layers_0"]["layers_1"]["layers_0"]["bias"].shape,
        "path of this bias": next(name for name, p in flatten_dict(params, sep=".").items() if p is bias),
    }


class BlocksInNnx(nnx.Module):
    def __init__(self, width, hidden, rngs):
        for i in range(4):
            up, down = nnx.Linear(width, hidden, rngs=rngs), nnx.Linear(hidden, width, rngs=rngs)
            setattr(self, f"block{i}", nnx.Sequential(up, nnx.relu, down, nnx.relu))

    def __call__(self, x):
        for i in range(4):
            x = getattr(self, f"block{i}")(x)
        return x


def nested_in_nnx(width, hidden, outputs):
    rngs = nnx.Rngs(0)
    return nnx.Sequential(BlocksInNnx(width, hidden, rngs), nnx.Linear(width, outputs, rngs=rngs))


def in_nnx():
    net = nested_in_nnx(4, 8, 1)
    bias = net.layers[0].block1.layers[0].bias
    flat = nnx.to_flat_state(nnx.state(net))
    return {
        "shape in the 4-8-4 blocks": bias.shape,
        "shape in the 16-32-16 blocks": nested_in_nnx(16, 32, 10).layers[0].block1.layers[0].bias.shape,
        "path of this bias": next(".".join(map(str, path)) for path, p in flat if p is bias),
    }


def here_in_torch(net):
    bias = net[0][1][0].bias
    return {next(name for name, p in net.named_parameters() if p is bias): "[0][1][0].bias"}


def here_in_linen(made):
    params = made[1]["params"]
    bias = params["layers_0"]["layers_1"]["layers_0"]["bias"]
    name = next(name for name, p in flatten_dict(params, sep=".").items() if p is bias)
    return {path("linen", name): "here"}


def here_in_nnx(net):
    bias = net.layers[0].block1.layers[0].bias
    name = next(".".join(map(str, keys)) for keys, p in nnx.to_flat_state(nnx.state(net)) if p is bias)
    return {path("nnx", name): "here"}


RECORD = Behaviour(
    id="N3",
    title="Three levels down: indices in PyTorch, keys in Linen, lists and attributes in NNX",
    statement="The first layer of the second block of the first child: `rgnet[0][1][0].bias` has shape (8,) in the "
    "net of notebooks S0 and S2 and (32,) in that of S3. PyTorch counts through named children; Linen and NNX ask for "
    "each level by the key it has.",
    verdict=Verdict.RELABELLED,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"path of this bias": places},
    expect={
        wing: {"shape in the 4-8-4 blocks": (8,), "shape in the 16-32-16 blocks": (32,)}
        for wing in ("torch", "linen", "nnx")
    },
    notes=(
        "Here the Linen blocks sit in a plain Sequential, which numbers them; the paths are compared with `block1` "
        "read as its place, 1. N1 and N2 show how Linen keeps the names.",
        "Notebook S0 writes `block 1`: a name with a space is no attribute that Python can spell, so NNX needs "
        "`getattr(net.layers[0], 'block 1')`, where PyTorch's index is indifferent to names.",
    ),
    sources=("S0", "S2", "S3"),
    figures=(
        Tree("torch", "counted through names", lambda: nested_in_torch(4, 8, 1), noted=here_in_torch, folded=True),
        Tree("linen", "asked for by key", lambda: nested_in_linen(4, 8, 1), noted=here_in_linen, folded=True),
        Tree("nnx", "a list, an attribute, a list", lambda: nested_in_nnx(4, 8, 1), noted=here_in_nnx, folded=True),
    ),
)
