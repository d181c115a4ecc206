"""A13: a layer without a bias."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...canonical import names
from ...record import Behaviour, Verdict


def in_torch():
    layer = nn.Linear(4, 8, bias=False)
    return {"the bias": layer.bias, "names": list(layer.state_dict())}


def in_linen():
    layer = linen.Dense(8, use_bias=False)
    params = layer.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
    return {"the bias": params.get("bias"), "names": list(params)}


def in_nnx():
    layer = nnx.Linear(4, 8, use_bias=False, rngs=nnx.Rngs(0))
    return {"the bias": layer.bias, "names": list(nnx.state(layer))}


RECORD = Behaviour(
    id="A13",
    title="A layer without a bias has no entry for it",
    statement="`bias=False` in PyTorch, `use_bias=False` in Flax: the matrix is the only name left. The attribute "
    "`bias` of a PyTorch or NNX layer is then None; in a Linen tree the key is missing.",
    verdict=Verdict.RELABELLED,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"names": names},
    expect={
        "torch": {"the bias": None, "names": ["weight"]},
        "linen": {"the bias": None, "names": ["kernel"]},
        "nnx": {"the bias": None, "names": ["kernel"]},
    },
    notes=("Code that touches every bias must expect the None (I16).",),
    sources=("S3",),
)
