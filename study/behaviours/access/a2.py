"""A2: the parameters of one layer of a Sequential."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...canonical import names, shapes
from ...record import Behaviour, Verdict, raised


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    layer = net[2].state_dict()
    return {
        "names": list(layer),
        "shapes": {name: tuple(tensor.shape) for name, tensor in layer.items()},
        "type of the collection": type(layer).__name__,
        "net[2]": type(net[2]).__name__,
    }


def in_linen():
    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    layer = params["layers_2"]
    return {
        "names": list(layer),
        "shapes": {name: array.shape for name, array in layer.items()},
        "type of the collection": type(layer).__name__,
        "net[2]": raised(lambda: net[2]),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    layer = nnx.state(net.layers[2])
    return {
        "names": list(layer),
        "shapes": {name: param.shape for name, param in layer.items()},
        "type of the collection": type(layer).__name__,
        "net[2]": raised(lambda: net[2]),
    }


RECORD = Behaviour(
    id="A2",
    title="One layer's parameters: `weight` (1, 8) in PyTorch is `kernel` (8, 1) in Flax",
    statement="The third child of the MLP 4-8-1 holds a matrix and a bias. Flax names the matrix `kernel` and stores "
    "it `in out`; PyTorch names it `weight` and stores it `out in`.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"names": names, "shapes": shapes},
    expect={
        "torch": {"shapes": {"weight": (1, 8), "bias": (1,)}, "type of the collection": "OrderedDict"},
    },
    reason="A PyTorch Sequential is itself a container of parameters. In Linen they are in a separate dict, which is "
    "indexed instead of the module; an NNX Sequential keeps its children in the List `layers`, and defines no index.",
    notes=(
        "Here the shapes show the transposition. Those of a square matrix would not: the layout is known from the "
        "kind of layer, never from a shape.",
    ),
    sources=("S0", "S2", "S4"),
)
