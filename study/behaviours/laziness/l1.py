"""L1: a layer that does not know its input width yet."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import shapes
from ...figures import Tree
from ...record import Absent, Behaviour, Verdict, raised


def lazy_in_torch():
    return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(1))


def called(net):
    net(torch.ones(2, 4))
    return net


def in_torch():
    net = lazy_in_torch()
    layer = net[0]
    class_before, weight_before = type(layer).__name__, type(layer.weight).__name__
    shape_before = raised(lambda: layer.weight.shape)

    called(net)  # the first call sees the width and turns each LazyLinear into a Linear, in place

    with torch.device("meta"):  # shapes without storage
        abstract = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    return {
        "layer without an input width": class_before,
        "class after the first call": type(layer).__name__,
        "weight before": weight_before,
        "its shape before": shape_before,
        "entries before": sorted(nn.LazyLinear(8).state_dict()),
        "shapes after": {name: tuple(weight.shape) for name, weight in net.named_parameters()},
        "shapes without arrays": {name: tuple(weight.shape) for name, weight in abstract.named_parameters()},
        "lazy through a bridge": Absent("PyTorch has lazy layers of its own"),
    }


def net_in_linen():
    return linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])


def in_linen():
    net = net_in_linen()
    layer = net.layers[0]
    key, x = jax.random.key(0), jnp.ones((2, 4))
    class_before = type(layer).__name__

    params = net.init(key, x)["params"]  # the input's width enters here, and the arrays exist from here on

    abstract = jax.eval_shape(net.init, key, x)["params"]  # shapes without storage
    return {
        "layer without an input width": class_before,
        "class after the first call": type(layer).__name__,
        "weight before": Absent("a Linen module holds no arrays, neither before init nor after it"),
        "its shape before": raised(lambda: layer.kernel.shape),
        "entries before": raised(lambda: layer.variables),
        "shapes after": {name: array.shape for name, array in flatten_dict(params, sep=".").items()},
        "shapes without arrays": {name: array.shape for name, array in flatten_dict(abstract, sep=".").items()},
        "lazy through a bridge": Absent("Linen is lazy by nature"),
    }


def build():
    rngs = nnx.Rngs(0)
    return nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))


def initialized(net):
    return net, net.init(jax.random.key(0), jnp.ones((2, 4)))


def in_nnx():
    def shapes_of(model):
        flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
        return {".".join(map(str, path)): param.shape for path, param in flat}

    # NNX can borrow Linen's laziness: a Linen module in a wrapper, with its init run once.
    lazy = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    bridged = nnx.bridge.ToNNX(lazy, rngs=nnx.Rngs(0)).lazy_init(jnp.ones((2, 4)))
    return {
        "layer without an input width": raised(lambda: nnx.Linear(out_features=8, rngs=nnx.Rngs(0))),
        "class after the first call": type(build().layers[0]).__name__,
        "weight before": type(build().layers[0].kernel).__name__,
        "its shape before": build().layers[0].kernel.shape,
        "entries before": sorted(nnx.state(build().layers[0]).keys()),
        "shapes after": shapes_of(build()),
        "shapes without arrays": shapes_of(nnx.eval_shape(build)),
        "lazy through a bridge": shapes_of(bridged),
    }


_SHAPES = {
    "torch": {"0.weight": (8, 4), "0.bias": (8,), "2.weight": (1, 8), "2.bias": (1,)},
    "linen": {"layers_0.kernel": (4, 8), "layers_0.bias": (8,), "layers_2.kernel": (8, 1), "layers_2.bias": (1,)},
    "nnx": {"layers.0.bias": (8,), "layers.0.kernel": (4, 8), "layers.2.bias": (1,), "layers.2.kernel": (8, 1)},
}

RECORD = Behaviour(
    id="L1",
    title="PyTorch may wait for the input's width, Linen always waits, NNX never does",
    statement="A PyTorch LazyLinear holds placeholders until its first call, which gives them shapes and turns the "
    "layer into a Linear. A Linen module never holds arrays: init makes them. An NNX layer makes them when it is "
    "built, and so needs in_features.",
    verdict=Verdict.ABSENT,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"shapes after": shapes, "shapes without arrays": shapes},
    expect={
        "torch": {
            "layer without an input width": "LazyLinear",
            "class after the first call": "Linear",
            "weight before": "UninitializedParameter",
            "its shape before": "RuntimeError",
            "shapes after": _SHAPES["torch"],
        },
        "linen": {"shapes after": _SHAPES["linen"]},
        "nnx": {
            "layer without an input width": "TypeError",
            "shapes after": _SHAPES["nnx"],
            "shapes without arrays": _SHAPES["nnx"],
        },
    },
    reason="Where arrays live decides it. A PyTorch layer owns its weights, so a missing width needs a placeholder "
    "in their place. A Linen layer owns none and has nothing to hold back. An NNX layer owns its arrays from the "
    "constructor on and has no placeholder.",
    notes=(
        "The class of a PyTorch layer changes under the variable that holds it: before the first call "
        "`type(layer) == nn.Linear` is False, after it True. L3 shows what that does to an initializer.",
        "The bridge's parameters keep Linen's names (layers_0), not NNX's (layers.0).",
        "Linen's init lists a layer's parameters in the order in which the layer makes them, kernel first; whatever "
        "passes through a JAX transformation, as eval_shape here, comes back with its keys sorted.",
    ),
    sources=("S4",),
    figures=(
        Tree("torch", "before the first call", lazy_in_torch, "The shapes are not known, and nothing is counted."),
        Tree("torch", "after the first call", lambda: called(lazy_in_torch())),
        Tree("linen", "after init", lambda: initialized(net_in_linen())),
        Tree("nnx", "as it is built", build),
    ),
)
