"""A11: three ways to iterate over the parameters of a nested net."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    def block():
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())

    model = nn.Sequential(OrderedDict((f"block{i}", block()) for i in range(4)))
    net = nn.Sequential(OrderedDict(model=model, Last_linear_layer=nn.Linear(16, 10)))
    ways = [list(net.parameters()), list(net.state_dict().items()), list(net.named_parameters())]
    return {
        "count by each of three ways": [len(way) for way in ways],
        "dtypes": sorted({str(p.dtype).removeprefix("torch.") for p in net.parameters()}),
    }


def in_linen():
    def block():
        return linen.Sequential([linen.Dense(32), linen.relu, linen.Dense(16), linen.relu])

    net = linen.Sequential([linen.Sequential([block() for _ in range(4)]), linen.Dense(10)])
    params = net.init(jax.random.key(0), jnp.ones((2, 16)))["params"]
    ways = [jax.tree.leaves(params), list(flatten_dict(params).items()), jax.tree.leaves_with_path(params)]
    return {
        "count by each of three ways": [len(way) for way in ways],
        "dtypes": sorted({str(p.dtype) for p in jax.tree.leaves(params)}),
    }


def in_nnx():
    def block():
        return nnx.Sequential(nnx.Linear(16, 32, rngs=rngs), nnx.relu, nnx.Linear(32, 16, rngs=rngs), nnx.relu)

    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Sequential(*[block() for _ in range(4)]), nnx.Linear(16, 10, rngs=rngs))
    state = nnx.state(net, nnx.Param)
    ways = [jax.tree.leaves(state), list(nnx.to_flat_state(state)), jax.tree.leaves_with_path(state)]
    return {
        "count by each of three ways": [len(way) for way in ways],
        "dtypes": sorted({str(p.dtype) for p in jax.tree.leaves(state)}),
    }


RECORD = Behaviour(
    id="A11",
    title="However they are listed, the nested net has 18 parameters",
    statement="`parameters()`, `state_dict().items()` and `named_parameters()` each count 18, all float32. So do the "
    "leaves of a Flax tree, bare, flattened to paths, or with their key paths.",
    verdict=Verdict.SAME,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        wing: {"count by each of three ways": [18, 18, 18], "dtypes": ["float32"]} for wing in ("torch", "linen", "nnx")
    },
    notes=(
        "The three ways agree because this net has no buffers and no ties: a buffer is in the state_dict alone (A9), "
        "and a tie is listed once or twice, depending on the way (W4).",
    ),
    sources=("S3",),
)
