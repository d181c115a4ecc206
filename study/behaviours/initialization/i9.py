"""I9: choosing the initializer by a word in the parameter's name."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ... import canonical
from ...record import Behaviour, Verdict


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    for name, parameter in net.named_parameters():
        if "weight" in name:
            nn.init.constant_(parameter, 3)
        if "bias" in name:
            nn.init.constant_(parameter, 1)

    names = dict(net.named_parameters())
    return {
        "names with 'weight'": [name for name in names if "weight" in name],
        "names with 'bias'": [name for name in names if "bias" in name],
        "set to 3": [name for name, parameter in names.items() if (parameter == 3).all()],
        "set to 1": [name for name, parameter in names.items() if (parameter == 1).all()],
        "output for an input of ones": net(torch.ones(1, 4)).item(),
    }


def in_linen():
    def by_name(path, old):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if "kernel" in name:
            return jnp.full_like(old, 3.0)
        if "bias" in name:
            return jnp.full_like(old, 1.0)
        return old

    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    x = jnp.ones((1, 4))
    params = jax.tree.map_with_path(by_name, net.init(jax.random.key(0), x)["params"])

    names = {
        jax.tree_util.keystr(path, simple=True, separator="."): array
        for path, array in jax.tree.leaves_with_path(params)
    }
    return {
        "names with 'weight'": [name for name in names if "weight" in name],
        "names with 'bias'": [name for name in names if "bias" in name],
        "set to 3": [name for name, array in names.items() if (array == 3).all()],
        "set to 1": [name for name, array in names.items() if (array == 1).all()],
        "output for an input of ones": net.apply({"params": params}, x).item(),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    for path, variable in nnx.to_flat_state(nnx.state(net, nnx.Param)):
        if "kernel" in path:
            variable[...] = jnp.full(variable.shape, 3.0)
        if "bias" in path:
            variable[...] = jnp.full(variable.shape, 1.0)

    flat = nnx.to_flat_state(nnx.state(net, nnx.Param))
    names = {".".join(map(str, path)): variable[...] for path, variable in flat}
    return {
        "names with 'weight'": [name for name in names if "weight" in name],
        "names with 'bias'": [name for name in names if "bias" in name],
        "set to 3": [name for name, array in names.items() if (array == 3).all()],
        "set to 1": [name for name, array in names.items() if (array == 1).all()],
        "output for an input of ones": net(jnp.ones((1, 4))).item(),
    }


RECORD = Behaviour(
    id="I9",
    title="A rule on the word 'weight' matches nothing in Flax, and says nothing",
    statement=(
        "Weights 3 and biases 1, chosen by a word in the name: `named_parameters` in PyTorch, `tree_map_with_path` in "
        "Linen, the flat state in NNX. The word for a linear layer's matrix is `kernel` in Flax; `bias` is the same."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"names with 'bias'": canonical.names, "set to 3": canonical.names, "set to 1": canonical.names},
    expect={
        "torch": {"names with 'weight'": ["0.weight", "2.weight"], "output for an input of ones": 313.0},
        "linen": {"names with 'weight'": [], "output for an input of ones": 313.0},
        "nnx": {"names with 'weight'": [], "output for an input of ones": 313.0},
    },
    reason=(
        "Names are the framework's choice, and Flax chose one name for each role: `kernel` for a linear or convolution "
        "layer, `embedding` for a table, `scale` for a norm. A rule on names is a rule for one framework: on the other "
        "it matches nothing, and no error follows."
    ),
    notes=(
        "`'weight' in name` also matches a module that is called, say, `weighting`, and its bias. In NNX the path is a "
        "tuple, so `'kernel' in path` compares whole parts; on dotted names compare the last part.",
    ),
    sources=("S1",),
)
