"""I3: choosing layers by `type(m) == Linear` or by `isinstance`."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ... import canonical
from ...record import Behaviour, Verdict


def in_torch():
    class MyLinear(nn.Linear):
        pass

    def chosen(net):
        modules = dict(net.named_modules())
        return {
            "type": [path for path, module in modules.items() if type(module) == nn.Linear],  # noqa: E721
            "isinstance": [path for path, module in modules.items() if isinstance(module, nn.Linear)],
        }

    plain = chosen(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), MyLinear(8, 1))
    return {
        "plain net, type ==": plain["type"],
        "plain net, isinstance": plain["isinstance"],
        "with a subclass, type ==": chosen(net)["type"],
        "with a subclass, isinstance": chosen(net)["isinstance"],
        "what holds the parameters of layer 2": type(net[2]).__name__,
    }


def in_linen():
    class MyLinear(linen.Dense):
        pass

    def chosen(net):
        modules = net.module_paths(jax.random.key(0), jnp.ones((2, 4)))
        return {
            "type": [path for path, module in modules.items() if type(module) == linen.Dense],  # noqa: E721
            "isinstance": [path for path, module in modules.items() if isinstance(module, linen.Dense)],
        }

    plain = chosen(linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)]))
    net = linen.Sequential([linen.Dense(8), linen.relu, MyLinear(1)])
    params = net.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    return {
        "plain net, type ==": plain["type"],
        "plain net, isinstance": plain["isinstance"],
        "with a subclass, type ==": chosen(net)["type"],
        "with a subclass, isinstance": chosen(net)["isinstance"],
        "what holds the parameters of layer 2": type(params["layers_2"]).__name__,
    }


def in_nnx():
    class MyLinear(nnx.Linear):
        pass

    def chosen(net):
        modules = {".".join(map(str, path)): module for path, module in nnx.iter_modules(net)}
        return {
            "type": [path for path, module in modules.items() if type(module) == nnx.Linear],  # noqa: E721
            "isinstance": [path for path, module in modules.items() if isinstance(module, nnx.Linear)],
        }

    rngs = nnx.Rngs(0)
    plain = chosen(nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs)))
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, MyLinear(8, 1, rngs=rngs))
    return {
        "plain net, type ==": plain["type"],
        "plain net, isinstance": plain["isinstance"],
        "with a subclass, type ==": chosen(net)["type"],
        "with a subclass, isinstance": chosen(net)["isinstance"],
        "what holds the parameters of layer 2": type(net.layers[2]).__name__,
    }


RECORD = Behaviour(
    id="I3",
    title="`type ==` leaves subclasses uninitialized; only a net with a subclass shows it",
    statement=(
        "On a plain net `type(m) == Linear` and `isinstance(m, Linear)` choose the same layers. With a subclass of the "
        "linear layer in it, `type ==` passes over that layer and says nothing."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={
        "plain net, type ==": canonical.names,
        "plain net, isinstance": canonical.names,
        "with a subclass, type ==": canonical.names,
        "with a subclass, isinstance": canonical.names,
    },
    reason=(
        "Linen keeps the parameters apart from the modules: `params` is a tree of dicts and arrays that has no layer "
        "types, so there is nothing to test there. Modules that know their path exist during a call only; "
        "`module_paths` makes such a call and returns them. The test itself is Python's and gives the same everywhere."
    ),
    mistakes=(
        "Notebook S0 defines `init_normal_` with isinstance and then applies `init_normal`, the one with `type ==`. "
        "Its equal results are one function run twice, and on its plain net the right function would have given them "
        "as well. E4 asks the question again.",
    ),
    sources=("S0",),
)
