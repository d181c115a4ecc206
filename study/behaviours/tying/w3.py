"""W3: identical against equal."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    shared = nn.Linear(8, 8)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(8, 1))
    copy = nn.Linear(8, 8)
    copy.load_state_dict(shared.state_dict())

    places = {}
    for name, weight in net.named_parameters(remove_duplicate=False):
        places.setdefault(id(weight), []).append(name)
    return {
        "tied: one layer": id(net[2]) == id(net[4]),
        "tied: one weight": id(net[2].weight) == id(net[4].weight),
        "copied: weights equal": bool((copy.weight == shared.weight).all()),
        "copied: one weight": id(copy.weight) == id(shared.weight),
        "how the tie is found": [paths for paths in places.values() if len(paths) > 1],
    }


def in_linen():
    shared = linen.Dense(8)
    layers = [linen.Dense(8), linen.relu, shared, linen.relu, shared, linen.relu, linen.Dense(1)]
    net = linen.Sequential(layers)
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    bound = net.bind({"params": params})

    def kernel(module):
        return module.variables["params"]["kernel"]

    copied = jax.tree.map(jnp.copy, params["layers_2"])
    return {
        "tied: one layer": bound.layers[2] is bound.layers[4],
        "tied: one weight": kernel(bound.layers[2]) is kernel(bound.layers[4]),
        "copied: weights equal": bool((copied["kernel"] == params["layers_2"]["kernel"]).all()),
        "copied: one weight": copied["kernel"] is params["layers_2"]["kernel"],
        "how the tie is found": [bound.layers[slot].name for slot in (2, 4)],
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    shared = nnx.Linear(8, 8, rngs=rngs)
    first, last = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
    net = nnx.Sequential(first, nnx.relu, shared, nnx.relu, shared, nnx.relu, last)
    copy = nnx.clone(shared)

    duplicates = [[".".join(map(str, path)) for path in paths] for paths in nnx.find_duplicates(net)]
    return {
        "tied: one layer": net.layers[2] is net.layers[4],
        "tied: one weight": net.layers[2].kernel is net.layers[4].kernel,
        "copied: weights equal": bool((copy.kernel == shared.kernel).all()),
        "copied: one weight": copy.kernel is shared.kernel,
        "how the tie is found": duplicates,
    }


RECORD = Behaviour(
    id="W3",
    title="Equal is not identical",
    statement="The two slots of a tie hold one layer and one weight, which identity shows. A copy has equal values "
    "and is no tie.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"tied: one layer": True, "tied: one weight": True},
        "linen": {"tied: one layer": True, "how the tie is found": ["layers_2", "layers_2"]},
        "nnx": {"tied: one layer": True, "tied: one weight": True},
    },
    reason="The tie lives in different things: in PyTorch in the identity of a Parameter, in Linen in the name that "
    "a bound module looks up, in NNX in the identity of a node of the graph, the highest one that is shared.",
    notes=(
        "nnx.find_duplicates reports the shared layer once and not the two Variables in it; where two layers share "
        "only a Variable, it reports the Variable's paths.",
        "In Linen the identity of arrays proves nothing: one array under two keys is two parameters (W10).",
    ),
    sources=("S1",),
)
