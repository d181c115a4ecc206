"""I8: initializing one tensor, in place or as a new array."""

import inspect

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    layer = nn.Linear(20, 256)
    before = layer.weight.detach().clone()
    returned = nn.init.xavier_uniform_(layer.weight)
    return {
        "arguments without a default": [
            name
            for name, argument in inspect.signature(nn.init.xavier_uniform_).parameters.items()
            if argument.default is inspect.Parameter.empty
        ],
        "returns the model's own parameter": returned is layer.weight,
        "the model has changed": not before.equal(layer.weight),
        "the model has changed, once the result is put in its place": not before.equal(layer.weight),
    }


def in_linen():
    xavier = linen.initializers.xavier_uniform()
    params = linen.Dense(256).init(jax.random.key(0), jnp.ones((1, 20)))["params"]
    before = params["kernel"]
    returned = xavier(jax.random.key(1), before.shape, before.dtype)
    new_params = {**params, "kernel": returned}
    return {
        "arguments without a default": [
            name
            for name, argument in inspect.signature(xavier).parameters.items()
            if argument.default is inspect.Parameter.empty
        ],
        "returns the model's own parameter": returned is params["kernel"],
        "the model has changed": not jnp.array_equal(before, params["kernel"]).item(),
        "the model has changed, once the result is put in its place": (
            not jnp.array_equal(before, new_params["kernel"]).item()
        ),
    }


def in_nnx():
    xavier = nnx.initializers.xavier_uniform()
    layer = nnx.Linear(20, 256, rngs=nnx.Rngs(0))
    before = layer.kernel[...]
    returned = xavier(jax.random.key(1), layer.kernel.shape, layer.kernel.dtype)
    facts = {
        "arguments without a default": [
            name
            for name, argument in inspect.signature(xavier).parameters.items()
            if argument.default is inspect.Parameter.empty
        ],
        "returns the model's own parameter": returned is layer.kernel,
        "the model has changed": not jnp.array_equal(before, layer.kernel[...]).item(),
    }
    layer.kernel[...] = returned
    changed = not jnp.array_equal(before, layer.kernel[...]).item()
    return {**facts, "the model has changed, once the result is put in its place": changed}


RECORD = Behaviour(
    id="I8",
    title="An initializer fills a tensor in PyTorch and makes an array in JAX",
    statement=(
        "`nn.init.xavier_uniform_(weight)` writes into the parameter and returns that same object. JAX's initializer "
        "is a function of (key, shape, dtype) that returns a new array; the model changes when the array is put in its "
        "place, in a new tree (Linen) or in the Variable (NNX)."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"arguments without a default": ["tensor"], "returns the model's own parameter": True},
        "linen": {"arguments without a default": ["key", "shape"], "returns the model's own parameter": False},
        "nnx": {"arguments without a default": ["key", "shape"], "returns the model's own parameter": False},
    },
    reason=(
        "A JAX array cannot be written to, and JAX has no generator of its own: the function must be given the key and "
        "told the shape, where PyTorch finds the shape in the tensor and the randomness in a global generator."
    ),
    notes=(
        "The trailing underscore of `xavier_uniform_` is PyTorch's mark for an operation in place; JAX needs none.",
        "The dtype has a default in JAX, float32, so it must be passed for a parameter of another dtype.",
    ),
    sources=("S3",),
)
