"""A5: the gradient's shape and structure, and what a second backward adds."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...canonical import shapes
from ...record import Behaviour, Verdict


def in_torch():
    layer = nn.Linear(4, 3)
    X = torch.ones(2, 4)
    layer(X).sum().backward()
    first = layer.weight.grad.clone()
    layer(X).sum().backward()
    second = layer.weight.grad
    return {
        "shapes of the gradients": {name: tuple(p.grad.shape) for name, p in layer.named_parameters()},
        "one gradient for each parameter": all(p.grad.shape == p.shape for p in layer.parameters()),
        "the gradients come in a": type(layer.weight.grad).__name__,
        "second gradient over the first": (second / first).mean().item(),
    }


def in_linen():
    layer = linen.Dense(3)
    X = jnp.ones((2, 4))
    params = layer.init(jax.random.key(0), X)["params"]
    gradient = jax.grad(lambda params: layer.apply({"params": params}, X).sum())
    first, second = gradient(params), gradient(params)
    return {
        "shapes of the gradients": {name: grad.shape for name, grad in first.items()},
        "one gradient for each parameter": jax.tree.structure(first) == jax.tree.structure(params),
        "the gradients come in a": type(first).__name__,
        "second gradient over the first": (second["kernel"] / first["kernel"]).mean().item(),
    }


def in_nnx():
    layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    gradient = nnx.grad(lambda layer: layer(jnp.ones((2, 4))).sum())
    first, second = gradient(layer), gradient(layer)
    return {
        "shapes of the gradients": {name: grad.shape for name, grad in first.items()},
        "one gradient for each parameter": jax.tree.structure(first) == jax.tree.structure(nnx.state(layer, nnx.Param)),
        "the gradients come in a": type(first).__name__,
        "second gradient over the first": (second["kernel"][...] / first["kernel"][...]).mean().item(),
    }


RECORD = Behaviour(
    id="A5",
    title="A second `backward` adds to the first gradient; a second `jax.grad` does not",
    statement="Each gradient has its parameter's shape: (3, 4) for the weight in PyTorch, (4, 3) for the kernel in "
    "Flax, in a tree of the parameters' own structure. Computed twice, it doubles in PyTorch only.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"shapes of the gradients": shapes},
    expect={
        "torch": {"shapes of the gradients": {"weight": (3, 4), "bias": (3,)}, "second gradient over the first": 2.0},
        "linen": {"second gradient over the first": 1.0},
        "nnx": {"second gradient over the first": 1.0, "the gradients come in a": "State"},
    },
    reason="`backward` adds into `.grad`, which stays until `zero_grad` drops it. A JAX gradient is the value of a "
    "function, and a function of equal arguments gives equal values; to accumulate, add the trees.",
    notes=("A port of a PyTorch training loop that accumulates over several batches must add the trees itself.",),
    sources=("S1", "S3"),
)
