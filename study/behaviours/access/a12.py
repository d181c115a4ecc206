"""A12: the order in which parameters are listed."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import path
from ...figures import Order
from ...record import Behaviour, Verdict
from ._forms import slots


def in_torch():
    net = nn.Sequential(*[nn.Linear(1, 1) for _ in range(11)])
    parameters = list(net.parameters())
    named = nn.Module()
    named.fc_2 = nn.Linear(1, 1)
    named.fc_10 = nn.Linear(1, 1)
    return {
        "the first parameter": next(name for name, p in net.named_parameters() if p is parameters[0]),
        "eleven children, as listed": [name.split(".")[0] for name, _ in net.named_parameters()][::2],
        "fc_2 and then fc_10, as listed": [name.split(".")[0] for name, _ in named.named_parameters()][::2],
        "a plain loop starts with": next(iter(net.state_dict())),
    }


def in_linen():
    class Named(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(1, name="fc_10")(linen.Dense(1, name="fc_2")(x))

    key, x = jax.random.key(0), jnp.ones((1, 1))
    params = linen.Sequential([linen.Dense(1) for _ in range(11)]).init(key, x)["params"]
    named = Named().init(key, x)["params"]
    flat = flatten_dict(params, sep=".")
    return {
        "the first parameter": next(name for name, p in flat.items() if p is jax.tree.leaves(params)[0]),
        "eleven children, as listed": [path[0].key for path, _ in jax.tree.leaves_with_path(params)][::2],
        "fc_2 and then fc_10, as listed": [path[0].key for path, _ in jax.tree.leaves_with_path(named)][::2],
        "a plain loop starts with": next(iter(flat)),
    }


def in_nnx():
    class Named(nnx.Module):
        def __init__(self, rngs):
            self.fc_2 = nnx.Linear(1, 1, rngs=rngs)
            self.fc_10 = nnx.Linear(1, 1, rngs=rngs)

    rngs = nnx.Rngs(0)
    net = nnx.Sequential(*[nnx.Linear(1, 1, rngs=rngs) for _ in range(11)])
    state, named = nnx.state(net), nnx.state(Named(rngs))
    flat = [(".".join(map(str, path)), param) for path, param in nnx.to_flat_state(state)]
    return {
        "the first parameter": next(name for name, p in flat if p[...] is jax.tree.leaves(state)[0]),
        "eleven children, as listed": [path[1].key for path, _ in jax.tree.leaves_with_path(state)][::2],
        "fc_2 and then fc_10, as listed": [path[0].key for path, _ in jax.tree.leaves_with_path(named)][::2],
        "a plain loop starts with": flat[0][0],
    }


def orders(facts):
    """Eleven children as they were made, and as they are listed."""
    listed = [str(name) for name in facts["eleven children, as listed"]]
    return sorted(listed, key=lambda name: int(name.rpartition("_")[2])), listed


RECORD = Behaviour(
    id="A12",
    title="PyTorch lists parameters as they were made, JAX sorts them: the first is the weight, or the bias",
    statement="`list(net.parameters())[0]` is a weight, `jax.tree.leaves(params)[0]` a bias. With more than ten "
    "children Linen lists `layers_10` before `layers_2`; NNX sorts the indices of a List as numbers, but attributes "
    "as text.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={
        "the first parameter": path,
        "eleven children, as listed": slots,
        "a plain loop starts with": path,
    },
    expect={
        "torch": {"the first parameter": "0.weight"},
        "linen": {"the first parameter": "layers_0.bias"},
        "nnx": {"the first parameter": "layers.0.bias", "fc_2 and then fc_10, as listed": ["fc_10", "fc_2"]},
    },
    reason="Two pytrees must flatten alike whenever they hold the same keys, so JAX flattens a dict in sorted order. "
    "PyTorch registers parameters in an ordered dict and promises the order of registration.",
    notes=(
        "Zipping the two lists pairs weights with biases. Where the shapes agree by chance, nothing is raised: match "
        "by path.",
        "A Linen tree is a plain dict: a loop over it starts with the kernel, in order of creation, and sorting "
        "begins where jax.tree does.",
    ),
    sources=("S1",),
    figures=(
        Order("torch", "as they were made", ("made", "listed"), orders, "Nothing moves."),
        Order("linen", "sorted as text", ("made", "listed"), orders, "`layers_10` comes before `layers_2`."),
        Order("nnx", "a list sorted as numbers", ("made", "listed"), orders, "The names of attributes would be text."),
    ),
)
