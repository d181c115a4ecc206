"""W4: how often a tie is listed and counted."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names
from ...figures import Shares
from ...record import Behaviour, Verdict


def in_torch():
    shared = nn.Linear(8, 8)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(8, 1))
    parameters, state = dict(net.named_parameters()), net.state_dict()
    return {
        "parameters": list(parameters),
        "tensors": len(parameters),
        "scalars": sum(weight.numel() for weight in parameters.values()),
        "saved under": list(state),
        "tensors, every alias counted": len(state),
        "scalars, every alias counted": sum(weight.numel() for weight in state.values()),
    }


def in_linen():
    shared = linen.Dense(8)
    layers = [linen.Dense(8), linen.relu, shared, linen.relu, shared, linen.relu, linen.Dense(1)]
    params = linen.Sequential(layers).init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    leaves = jax.tree.leaves(params)  # there are no aliases to count
    return {
        "parameters": list(flatten_dict(params, sep=".")),
        "tensors": len(flatten_dict(params)),
        "scalars": sum(array.size for array in flatten_dict(params).values()),
        "saved under": list(flatten_dict(params, sep=".")),
        "tensors, every alias counted": len(leaves),
        "scalars, every alias counted": sum(array.size for array in leaves),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    shared = nnx.Linear(8, 8, rngs=rngs)
    first, last = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
    net = nnx.Sequential(first, nnx.relu, shared, nnx.relu, shared, nnx.relu, last)

    paths = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))]
    state = jax.tree.leaves(nnx.state(net, nnx.Param))
    leaves = jax.tree.leaves(net)  # a model is a pytree too, and a pytree knows no ties
    return {
        "parameters": paths,
        "tensors": len(state),
        "scalars": sum(array.size for array in state),
        "saved under": paths,
        "tensors, every alias counted": len(leaves),
        "scalars, every alias counted": sum(array.size for array in leaves),
    }


def counted(outcome):
    """For each wing what its parameters hold, and what a listing of all paths counts again."""
    bars = []
    listings = {"torch": "PyTorch, state_dict", "linen": "Flax Linen, leaves", "nnx": "Flax NNX, leaves of the model"}
    for wing, listing in listings.items():
        facts = outcome.facts[wing]
        once, all_paths = facts["scalars"], facts["scalars, every alias counted"]
        again = [(f"{all_paths - once} again", all_paths - once)] if all_paths > once else []
        bars.append((f"{listing}: {all_paths}", [(f"{once} scalars", once), *again]))
    return bars


RECORD = Behaviour(
    id="W4",
    title="A tie is one parameter, and two of the listings count it twice",
    statement="A 4-8-8-8-1 net with the two middle layers tied has 6 parameters and 121 scalars. PyTorch's state dict "
    "and the leaves of an NNX model show 8 and 193: every alias is listed again.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"parameters": names, "saved under": names},
    expect={
        "torch": {
            "tensors": 6,
            "scalars": 121,
            "tensors, every alias counted": 8,
            "scalars, every alias counted": 193,
        },
        "linen": {"tensors": 6, "scalars": 121, "tensors, every alias counted": 6},
        "nnx": {"tensors": 6, "scalars": 121, "tensors, every alias counted": 8, "scalars, every alias counted": 193},
    },
    reason="A state dict must be loadable by path, so PyTorch keeps every alias in it. A pytree is a tree and shows a "
    "shared node once for each path. Linen's params have no aliases to show.",
    notes=(
        "A PyTorch state dict saved without its aliases does not load strictly; one whose aliases disagree loads "
        "without a word, and the last one wins.",
    ),
    sources=("S1",),
    figures=(
        Shares(
            "What a listing of all paths counts twice",
            counted,
            "The first part is what the parameters hold, each counted once; the second is the aliases.",
        ),
    ),
)
