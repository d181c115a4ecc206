"""W2: one entry is set through one slot and read through the other."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...figures import Tree
from ...record import Behaviour, Verdict


def net_in_torch():
    shared = nn.Linear(8, 8)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(8, 1))


def in_torch():
    net = net_in_torch()

    net[2].weight.data[0, 0] = 100
    net[2].bias.data[7] = 100
    read = [net[4].weight[0, 0].item(), net[4].bias[7].item()]

    _ = net[2].weight.data[0, 0] == 7  # S4's slip: a comparison, which sets nothing
    compared = net[4].weight[0, 0].item()

    net.state_dict()["4.weight"][0, 0] = 42  # slot 4 is a place of its own in the state dict, with the same storage
    return {
        "set through slot 2, read in slot 4": read,
        "after S4's `== 7`": compared,
        "set through slot 4, read in slot 2": net[2].weight[0, 0].item(),
    }


def net_in_linen():
    shared = linen.Dense(8)
    net = linen.Sequential([linen.Dense(8), linen.relu, shared, linen.relu, shared, linen.relu, linen.Dense(1)])
    return net, net.init(jax.random.key(0), jnp.ones((2, 4)))


def in_linen():
    net, variables = net_in_linen()
    params = variables["params"]

    kernel = params["layers_2"]["kernel"].at[0, 0].set(100)
    bias = params["layers_2"]["bias"].at[7].set(100)
    params = {**params, "layers_2": {"kernel": kernel, "bias": bias}}
    slot4 = net.bind({"params": params}).layers[4].variables["params"]
    read = [slot4["kernel"][0, 0].item(), slot4["bias"][7].item()]

    _ = params["layers_2"]["kernel"][0, 0] == 7
    compared = net.bind({"params": params}).layers[4].variables["params"]["kernel"][0, 0].item()

    # There is no second slot to write to. A key made for one is never read, and no error says so.
    params = {**params, "layers_4": {"kernel": kernel.at[0, 0].set(42), "bias": bias}}
    slot2 = net.bind({"params": params}).layers[2].variables["params"]
    return {
        "set through slot 2, read in slot 4": read,
        "after S4's `== 7`": compared,
        "set through slot 4, read in slot 2": slot2["kernel"][0, 0].item(),
    }


def net_in_nnx():
    rngs = nnx.Rngs(0)
    shared = nnx.Linear(8, 8, rngs=rngs)
    first, last = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
    return nnx.Sequential(first, nnx.relu, shared, nnx.relu, shared, nnx.relu, last)


def in_nnx():
    net = net_in_nnx()

    net.layers[2].kernel[0, 0] = 100
    net.layers[2].bias[7] = 100
    read = [net.layers[4].kernel[0, 0].item(), net.layers[4].bias[7].item()]

    _ = net.layers[2].kernel[0, 0] == 7
    compared = net.layers[4].kernel[0, 0].item()

    net.layers[4].kernel[0, 0] = 42
    return {
        "set through slot 2, read in slot 4": read,
        "after S4's `== 7`": compared,
        "set through slot 4, read in slot 2": net.layers[2].kernel[0, 0].item(),
    }


def written_in_torch():
    net = net_in_torch()
    net[4].weight.data[0, 0] = 42
    return net


def written_in_linen():
    net, variables = net_in_linen()
    kernel, bias = variables["params"]["layers_2"]["kernel"], jnp.zeros(8)
    layers = {**variables["params"], "layers_4": {"kernel": kernel.at[0, 0].set(42), "bias": bias}}
    return net, {"params": layers}


def written_in_nnx():
    net = net_in_nnx()
    net.layers[4].kernel[0, 0] = 42
    return net


def reads(values):
    """The word for each path, by the first entry of the weight there."""
    return {path: f"[0, 0] = {value[0, 0].item():.3g}" for path, value in values.items()}


def read_in_torch(net):
    return reads({"2.weight": net[2].weight, "4.weight": net[4].weight})


def read_in_linen(made):
    net, variables = made
    bound = net.bind(variables)
    kernels = {f"{slot}.weight": bound.layers[slot].variables["params"]["kernel"] for slot in (2, 4)}
    return reads({**kernels, "layers_4.kernel": variables["params"]["layers_4"]["kernel"]})


def read_in_nnx(net):
    return reads({"2.weight": net.layers[2].kernel, "4.weight": net.layers[4].kernel})


RECORD = Behaviour(
    id="W2",
    title="A tie is an alias in PyTorch and NNX, and a name in Linen",
    statement="Weight [0, 0] and bias [7] are set to 100 through slot 2, and slot 4 reads 100. The other way round "
    "works where slot 4 is an alias; in Linen there is nothing under slot 4 to write to.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"set through slot 2, read in slot 4": [100.0, 100.0]},
        "linen": {"set through slot 2, read in slot 4": [100.0, 100.0]},
        "nnx": {"set through slot 2, read in slot 4": [100.0, 100.0]},
    },
    reason="PyTorch and NNX keep one object that both slots refer to. Linen keeps one entry in a dict, which both "
    "slots look up under the name of the first; a second entry would be a different parameter.",
    notes=(
        "In PyTorch and NNX the write is in place. In Linen it makes a new dict, and the old one keeps its values.",
    ),
    mistakes=(
        "Notebook S4 writes data[0, 0] == 100 where it means an assignment, so its check of the tie compares two "
        "untouched weights and would pass on a tie that is broken afterwards.",
    ),
    sources=("S0", "S2", "S3"),
    figures=(
        Tree("torch", "42 written through slot 4", written_in_torch, noted=read_in_torch),
        Tree(
            "linen",
            "42 written under `layers_4`",
            written_in_linen,
            "The new entry is counted, and read by nobody.",
            read_in_linen,
        ),
        Tree("nnx", "42 written through slot 4", written_in_nnx, noted=read_in_nnx),
    ),
)
