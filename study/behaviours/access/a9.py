"""A9: a method, its call and the data: three things that are easily taken for each other."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict, raised


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    named = dict(net.named_parameters())
    return {
        "type before the call": type(net.parameters).__name__,
        "its repr prints the module tree": "Linear(in_features=4, out_features=8" in repr(net.parameters),
        "type after the call": type(net.parameters()).__name__,
        "indexed without the call": raised(lambda: net.state_dict["2.bias"]),
        "state that is not a parameter": [name for name in net.state_dict() if name not in named],
    }


def in_linen():
    net = linen.Sequential([linen.Dense(8), linen.BatchNorm(use_running_average=True), linen.Dense(1)])
    variables = net.init(jax.random.key(0), jnp.ones((2, 4)))
    params = variables["params"]
    return {
        "type before the call": type(params).__name__,
        "its repr prints the module tree": "Dense" in repr(params),
        "type after the call": raised(lambda: params()),
        "indexed without the call": params["layers_2"]["bias"].shape,
        "state that is not a parameter": [
            f"{layer}.{name}" for layer, arrays in variables["batch_stats"].items() for name in arrays
        ],
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs))
    rest = nnx.state(net, nnx.Not(nnx.Param))
    return {
        "type before the call": type(nnx.state).__name__,
        "its repr prints the module tree": "Linear" in repr(nnx.state),
        "type after the call": type(nnx.state(net)).__name__,
        "indexed without the call": raised(lambda: nnx.state["layers"]),
        "state that is not a parameter": [".".join(map(str, path)) for path, _ in nnx.to_flat_state(rest)],
    }


RECORD = Behaviour(
    id="A9",
    title="`net.parameters` is a method, `net.parameters()` a generator, and neither is the state_dict",
    statement="Without its call a PyTorch accessor is a bound method: it prints the whole module tree, as if it were "
    "the answer, and indexing it is a TypeError. In Linen the parameters are data, so there is no call to forget; "
    "in NNX the call is a function of the model.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {
            "type before the call": "method",
            "type after the call": "generator",
            "its repr prints the module tree": True,
        },
        "linen": {"type before the call": "dict"},
        "nnx": {"type before the call": "function", "type after the call": "State"},
    },
    reason="A PyTorch module owns its parameters and is asked for them by methods. A Linen module owns none: what "
    "`init` returned is already the tree. NNX models are plain Python objects, read by functions outside of them.",
    notes=("A BatchNorm counts its batches in PyTorch only: `num_batches_tracked` has no counterpart in Flax.",),
    mistakes=(
        "Notebook S3 calls `net.parameters` and `net.state_dict` equivalent. They are not: `parameters()` yields "
        "Parameters without names, `state_dict()` gives detached tensors by name, and buffers besides (last fact).",
    ),
    sources=("S1", "S3"),
)
