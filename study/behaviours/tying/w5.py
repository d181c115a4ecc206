"""W5: the shared layer, asked outside the net."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...canonical import names
from ...record import Behaviour, Verdict, raised


def in_torch():
    shared = nn.Linear(8, 8)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(8, 1))
    net[2].weight.data[0, 0] = 100
    net[2].bias.data[7] = 100

    state = shared.state_dict()
    return {
        "names": list(state),
        "weight [0, 0]": state["weight"][0, 0].item(),
        "bias [7]": state["bias"][7].item(),
        "the layer itself answers": "weight" in state,
    }


def in_linen():
    shared = linen.Dense(8)
    layers = [linen.Dense(8), linen.relu, shared, linen.relu, shared, linen.relu, linen.Dense(1)]
    net = linen.Sequential(layers)
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    edited = {
        "kernel": params["layers_2"]["kernel"].at[0, 0].set(100),
        "bias": params["layers_2"]["bias"].at[7].set(100),
    }
    params = {**params, "layers_2": edited}
    return {
        "names": list(params["layers_2"]),
        "weight [0, 0]": params["layers_2"]["kernel"][0, 0].item(),
        "bias [7]": params["layers_2"]["bias"][7].item(),
        "the layer itself answers": raised(lambda: shared.variables),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    shared = nnx.Linear(8, 8, rngs=rngs)
    first, last = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
    net = nnx.Sequential(first, nnx.relu, shared, nnx.relu, shared, nnx.relu, last)
    net.layers[2].kernel[0, 0] = 100
    net.layers[2].bias[7] = 100

    state = nnx.state(shared)
    return {
        "names": list(state),
        "weight [0, 0]": state["kernel"][0, 0].item(),
        "bias [7]": state["bias"][7].item(),
        "the layer itself answers": "kernel" in state,
    }


RECORD = Behaviour(
    id="W5",
    title="The variable that holds the shared layer is a third way to its weight, except in Linen",
    statement="After weight [0, 0] and bias [7] are set to 100 through the net, the shared layer's own state shows "
    "100. A Linen layer has no state of its own: the values are in the net's params, under the first slot's name.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"names": names},
    expect={wing: {"weight [0, 0]": 100.0, "bias [7]": 100.0} for wing in ("torch", "linen", "nnx")},
    reason="A PyTorch or NNX layer owns its weight, inside the net and outside. A Linen layer is a description; its "
    "parameters belong to the variables that init returned for the whole net.",
    sources=("S0",),
)
