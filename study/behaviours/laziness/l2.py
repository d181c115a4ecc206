"""L2: reading a tied weight that is still lazy."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...canonical import transposed
from ...record import Behaviour, Verdict, raised


def in_torch():
    shared = nn.LazyLinear(8)
    net = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), nn.LazyLinear(1))
    too_early = raised(lambda: net[2].weight.data[0] == net[4].weight.data[0])

    net(torch.ones(2, 20))
    return {
        "read before the first call": too_early,
        "shape of the shared weight": tuple(shared.weight.shape),
        "the slots are one layer": net[2] is net[4],
        "rows equal": (net[2].weight == net[4].weight).all(dim=1).tolist(),
        "tensors": len(list(net.parameters())),
    }


def in_linen():
    shared = linen.Dense(8)
    layers = [linen.Dense(8), linen.relu, shared, linen.relu, shared, linen.relu, linen.Dense(1)]
    net = linen.Sequential(layers)
    x = jnp.ones((2, 20))
    too_early = raised(lambda: net.bind({}).layers[2].variables["params"])

    bound = net.bind(net.init(jax.random.key(0), x))
    kernels = [bound.layers[slot].variables["params"]["kernel"] for slot in (2, 4)]
    return {
        "read before the first call": too_early,
        "shape of the shared weight": kernels[0].shape,
        "the slots are one layer": bound.layers[2] is bound.layers[4],
        "rows equal": (kernels[0] == kernels[1]).all(axis=0).tolist(),
        "tensors": len(jax.tree.leaves(bound.variables)),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    shared = nnx.Linear(8, 8, rngs=rngs)
    first, last = nnx.Linear(20, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
    net = nnx.Sequential(first, nnx.relu, shared, nnx.relu, shared, nnx.relu, last)

    # No call is needed first: the arrays exist since the constructor.
    kernels = [net.layers[slot].kernel[...] for slot in (2, 4)]
    return {
        "read before the first call": (kernels[0][:, 0] == kernels[1][:, 0]).tolist(),
        "shape of the shared weight": kernels[0].shape,
        "the slots are one layer": net.layers[2] is net.layers[4],
        "rows equal": (kernels[0] == kernels[1]).all(axis=0).tolist(),
        "tensors": len(jax.tree.leaves(nnx.state(net, nnx.Param))),
    }


RECORD = Behaviour(
    id="L2",
    title="A lazy tie exists before its weight does",
    statement="Two slots of a lazy PyTorch net hold one layer from the start, but their weights can be compared only "
    "after a call on an input. In Linen init is that call; in NNX there is nothing to wait for.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"shape of the shared weight": transposed},
    reason="Before the first input a LazyLinear's weight has no shape and Linen has no parameters at all, so neither "
    "has anything to compare; NNX makes its arrays in the constructor.",
    notes=(
        "PyTorch's message does not name laziness: the data of an uninitialized parameter is an empty tensor, so "
        "indexing it fails with an IndexError.",
    ),
    sources=("S4",),
)
