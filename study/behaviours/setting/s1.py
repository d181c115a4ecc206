"""S1: setting values directly, all of them or one."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ... import canonical
from ...record import Behaviour, Verdict, raised


def in_torch():
    layer = nn.Linear(2, 3)
    nn.init.zeros_(layer.weight)
    layer.weight.data += 1  # the zeros become 1
    layer.weight.data[0, 0] = 42

    def add_to_parameter():
        layer.weight += 1

    return {
        "weight": layer.weight.tolist(),
        "array[0, 0] = 42": layer.weight.data[0, 0].item(),
        "parameter += 1": raised(add_to_parameter),
    }


def in_linen():
    layer = linen.Dense(3, kernel_init=linen.initializers.zeros)
    params = layer.init(jax.random.key(0), jnp.ones((1, 2)))["params"]
    added = {**params, "kernel": params["kernel"] + 1}
    edited = {**added, "kernel": added["kernel"].at[0, 0].set(42.0)}

    def set_item():
        edited["kernel"][0, 0] = 42.0

    again = dict(edited)
    again["kernel"] += 1  # an entry of a dict: Python puts the new array there
    return {
        "weight": edited["kernel"].tolist(),
        "array[0, 0] = 42": raised(set_item),
        "parameter += 1": again["kernel"].tolist(),
    }


def in_nnx():
    layer = nnx.Linear(2, 3, kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0))
    layer.kernel[...] += 1
    layer.kernel[0, 0] = 42.0

    def set_item():
        layer.kernel[...][0, 0] = 42.0

    def add_to_parameter():
        layer.kernel += 1

    return {
        "weight": layer.kernel[...].tolist(),
        "array[0, 0] = 42": raised(set_item),
        "parameter += 1": raised(add_to_parameter),
    }


RECORD = Behaviour(
    id="S1",
    title="Setting values: through .data, in a rebuilt tree, or through the Variable",
    statement=(
        "A zero weight gets 1 everywhere and then 42 at [0, 0]. PyTorch edits `.data`; Linen builds a new dict with "
        "`.at[0, 0].set`; NNX writes through the Variable, `kernel[...] += 1` and `kernel[0, 0] = 42`. The result is "
        "one matrix. Without the detour each framework says no in its own way."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"weight": canonical.transposed},
    expect={
        "torch": {"weight": [[42.0, 1.0], [1.0, 1.0], [1.0, 1.0]]},
        "linen": {"weight": [[42.0, 1.0, 1.0], [1.0, 1.0, 1.0]]},
        "nnx": {"weight": [[42.0, 1.0, 1.0], [1.0, 1.0, 1.0]]},
    },
    reason=(
        "A JAX array cannot change, so item assignment is a TypeError, and an edit is a new array that must be put "
        "somewhere: into a new tree in Linen, into the Variable in NNX. PyTorch's tensor can change, and the objection "
        "is autograd's: a leaf that requires a gradient must not be edited where it is recorded (S2)."
    ),
    notes=(
        "NNX refuses `kernel += 1`, since Python would bind the attribute to the sum and lose the Param (T4); the "
        "Variable's own `+=` raises NotImplementedError and names `kernel[...] += 1`.",
        "In Linen `+=` is applied to an entry of a dict and works, on that dict alone: other trees keep the old array.",
        "[0, 0] is the same entry in both layouts. Off the diagonal they swap: [2, 1] in PyTorch is [1, 2] in Flax.",
    ),
    sources=("S1", "S2", "S3"),
)
