"""I15: an initializer that prints, and the order in which it is called."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict, raised


def in_torch():
    printed, visited = [], []

    def my_init(module):
        visited.append(type(module).__name__)
        if type(module) is nn.Linear:
            printed.append(f"Init weight {list(module.weight.shape)}")
            nn.init.uniform_(module.weight, -10, 10)

    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    returned = net.apply(my_init)
    return {
        "printed": printed,
        "visited": visited,
        "the root comes": "last" if visited.index("Sequential") > 0 else "first",
        "net.apply(my_init)": "returns the net" if returned is net else "returns another object",
    }


def in_linen():
    printed, visited = [], []

    def my_init(path, old):
        visited.append(jax.tree_util.keystr(path, simple=True, separator="."))
        if path[-1].key != "kernel":
            return old
        printed.append(f"Init kernel {list(old.shape)}")
        return jax.random.uniform(jax.random.key(len(printed)), old.shape, old.dtype, -10, 10)

    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    X = jnp.ones((2, 4))
    jax.tree.map_with_path(my_init, net.init(jax.random.key(0), X)["params"])

    modules = list(net.module_paths(jax.random.key(0), X))  # in the order in which a call enters them
    return {
        "printed": printed,
        "visited": visited,
        "the root comes": "last" if modules.index("") > 0 else "first",
        "net.apply(my_init)": raised(lambda: net.apply(my_init)),
    }


def in_nnx():
    printed, visited = [], []
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    for _, module in nnx.iter_modules(net):
        visited.append(type(module).__name__)
        if type(module) is nnx.Linear:
            printed.append(f"Init kernel {list(module.kernel.shape)}")
            module.kernel[...] = jax.random.uniform(rngs.params(), module.kernel.shape, minval=-10, maxval=10)
    return {
        "printed": printed,
        "visited": visited,
        "the root comes": "last" if visited.index("Sequential") > 0 else "first",
        "net.apply(my_init)": raised(lambda: net.apply(len)),
    }


def as_torch_prints(wing, lines):
    """`Init kernel [4, 8]` as `Init weight [8, 4]`."""
    if wing == "torch":
        return lines
    shapes = [line.removeprefix("Init kernel [").removesuffix("]").split(", ") for line in lines]
    return [f"Init weight [{', '.join(reversed(shape))}]" for shape in shapes]


RECORD = Behaviour(
    id="I15",
    title="`apply` visits the children, then the parent, and returns the net; Linen's `apply` is the forward",
    statement=(
        "An initializer that prints what it meets. PyTorch's `net.apply(f)` calls f on the children, then on the net, "
        "and returns the net. NNX has no such method; `iter_modules` has the same order, with the List that holds the "
        "layers as a module of its own. Linen walks the arrays, in the order of their paths."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"printed": as_torch_prints},
    expect={
        "torch": {
            "printed": ["Init weight [8, 4]", "Init weight [1, 8]"],
            "visited": ["Linear", "ReLU", "Linear", "Sequential"],
            "net.apply(my_init)": "returns the net",
        },
        "linen": {"visited": ["layers_0.bias", "layers_0.kernel", "layers_2.bias", "layers_2.kernel"]},
        "nnx": {"visited": ["Linear", "Linear", "List", "Sequential"]},
    },
    reason=(
        "PyTorch and NNX walk live modules, and Linen a tree of arrays, in which no module occurs. The activation is a "
        "module in PyTorch only; in Flax it is a function and is never visited. And `apply` is Linen's word for the "
        "forward with given variables."
    ),
    notes=(
        "Children first means that a rule of the parent has the last word; in Linen's own order, that of the call, the "
        "root comes first.",
        "An initializer that draws from one stream depends on this order (I17).",
    ),
    sources=("S0", "S2"),
)
