"""I5: a different initializer for each layer."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    def xavier(module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)

    def all_42(module):
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 42)

    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    biases = (net[0].bias, net[2].bias)
    for bias in biases:
        nn.init.constant_(bias, 7)
    net[0].apply(xavier)
    net[2].apply(all_42)
    by_layer = sorted({value for bias in biases for value in bias.tolist()})

    rules = {"0.weight": nn.init.xavier_uniform_, "2.weight": lambda weight: nn.init.constant_(weight, 42)}
    for path, parameter in net.named_parameters():
        if path in rules:
            rules[path](parameter)
    return {
        "layer 0 lies within the Xavier bound": net[0].weight.abs().max().item() <= (6 / (4 + 8)) ** 0.5,
        "layer 2": sorted(set(net[2].weight.flatten().tolist())),
        "biases, an initializer for each layer": by_layer,
        "biases, a rule by path": sorted({value for bias in biases for value in bias.tolist()}),
    }


def in_linen():
    xavier, all_42 = linen.initializers.xavier_uniform(), linen.initializers.constant(42.0)
    x = jnp.ones((2, 4))
    old = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)]).init(jax.random.key(0), x)["params"]
    old = {name: {**layer, "bias": jnp.full_like(layer["bias"], 7.0)} for name, layer in old.items()}

    # For each layer: the initializer belongs to the definition, and a new definition means a new init.
    net = linen.Sequential([linen.Dense(8, kernel_init=xavier), linen.relu, linen.Dense(1, kernel_init=all_42)])
    rebuilt = net.init(jax.random.key(1), x)["params"]

    # Or a rule by path, which keeps what it does not name.
    rules = {"layers_0.kernel": xavier, "layers_2.kernel": all_42}

    def by_path(path, value):
        rule = rules.get(jax.tree_util.keystr(path, simple=True, separator="."))
        return rule(jax.random.key(1), value.shape) if rule else value

    ruled = jax.tree.map_with_path(by_path, old)
    return {
        "layer 0 lies within the Xavier bound": all(
            jnp.abs(params["layers_0"]["kernel"]).max().item() <= (6 / (4 + 8)) ** 0.5 for params in (rebuilt, ruled)
        ),
        "layer 2": sorted({v for params in (rebuilt, ruled) for v in params["layers_2"]["kernel"].flatten().tolist()}),
        "biases, an initializer for each layer": sorted({v for p in rebuilt.values() for v in p["bias"].tolist()}),
        "biases, a rule by path": sorted({v for p in ruled.values() for v in p["bias"].tolist()}),
    }


def in_nnx():
    xavier, all_42 = nnx.initializers.xavier_uniform(), nnx.initializers.constant(42.0)
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    first, last = net.layers[0], net.layers[2]
    first.bias[...], last.bias[...] = jnp.full(8, 7.0), jnp.full(1, 7.0)
    first.kernel[...] = xavier(rngs.params(), first.kernel.shape)
    last.kernel[...] = all_42(rngs.params(), last.kernel.shape)
    by_layer = sorted({*first.bias[...].tolist(), *last.bias[...].tolist()})

    rules = {("layers", 0, "kernel"): xavier, ("layers", 2, "kernel"): all_42}
    for path, variable in nnx.to_flat_state(nnx.state(net, nnx.Param)):
        if path in rules:  # the state holds the model's own Variables
            variable[...] = rules[path](rngs.params(), variable.shape)
    return {
        "layer 0 lies within the Xavier bound": jnp.abs(first.kernel[...]).max().item() <= (6 / (4 + 8)) ** 0.5,
        "layer 2": sorted(set(last.kernel[...].flatten().tolist())),
        "biases, an initializer for each layer": by_layer,
        "biases, a rule by path": sorted({*first.bias[...].tolist(), *last.bias[...].tolist()}),
    }


RECORD = Behaviour(
    id="I5",
    title="Re-initializing a layer keeps the old biases, unless the net is rebuilt",
    statement=(
        "Xavier on layer 0 and the constant 42 on layer 2 of a net whose biases are 7. PyTorch and NNX change the "
        "weights of the live layer and keep its biases. The usual Linen way, kernel_init for each layer, needs a new "
        "init, which resets the biases to 0; a rule by path keeps them."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"layer 2": [42.0], "biases, an initializer for each layer": [7.0]},
        "linen": {
            "layer 2": [42.0],
            "biases, an initializer for each layer": [0.0],
            "biases, a rule by path": [7.0],
        },
        "nnx": {"layer 2": [42.0], "biases, an initializer for each layer": [7.0]},
    },
    reason=(
        "A Linen layer has no parameters to change: its initializer is part of the definition and acts when `init` "
        "makes the whole tree. Editing one array means mapping over the tree that `init` returned, by path."
    ),
    sources=("S0", "S2"),
)
