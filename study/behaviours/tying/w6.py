"""W6: two bias-free 1x1 layers that are one layer."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Shares
from ...record import Behaviour, Verdict


def in_torch():
    layer = nn.Linear(1, 1, bias=False)
    net = nn.Sequential(layer, layer)
    nn.init.constant_(layer.weight, 3.0)

    y = net(torch.ones(1, 1))
    y.sum().backward()
    tied = layer.weight.grad.item()
    again = torch.autograd.grad(net(torch.ones(1, 1)).sum(), list(net.parameters()))

    untied = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    for linear in untied:
        nn.init.constant_(linear.weight, 3.0)
    untied(torch.ones(1, 1)).sum().backward()
    return {
        "y": y.item(),
        "gradient": tied,
        "untied gradients": [linear.weight.grad.item() for linear in untied],
        "tied, by torch.autograd.grad or jax.grad": [gradient.item() for gradient in again],
    }


def in_linen():
    layer = linen.Dense(1, use_bias=False, kernel_init=linen.initializers.constant(3.0))
    net = linen.Sequential([layer, layer])
    x = jnp.ones((1, 1))
    params = net.init(jax.random.key(0), x)

    y = net.apply(params, x)
    grads = jax.grad(lambda p: net.apply(p, x).sum())(params)
    tied = grads["params"]["layers_0"]["kernel"]
    again = jax.tree.leaves(grads)

    dense = [linen.Dense(1, use_bias=False, kernel_init=linen.initializers.constant(3.0)) for _ in range(2)]
    untied = linen.Sequential(dense)
    params = untied.init(jax.random.key(0), x)
    grads = jax.grad(lambda p: untied.apply(p, x).sum())(params)["params"]
    return {
        "y": y.item(),
        "gradient": tied.item(),
        "untied gradients": [grads["layers_0"]["kernel"].item(), grads["layers_1"]["kernel"].item()],
        "tied, by torch.autograd.grad or jax.grad": [gradient.item() for gradient in again],
    }


def in_nnx():
    init = nnx.initializers.constant(3.0)
    layer = nnx.Linear(1, 1, use_bias=False, kernel_init=init, rngs=nnx.Rngs(0))
    net = nnx.Sequential(layer, layer)
    x = jnp.ones((1, 1))

    y = net(x)
    tied = nnx.grad(lambda net: net(x).sum())(net)["layers"][0]["kernel"][...]

    # jax.grad flattens the model to a pytree, and a pytree has two leaves here: the tie is lost.
    partial = jax.grad(lambda net: net(x).sum())(net)

    twins = [nnx.Linear(1, 1, use_bias=False, kernel_init=init, rngs=nnx.Rngs(0)) for _ in range(2)]
    grads = nnx.grad(lambda net: net(x).sum())(nnx.Sequential(*twins))["layers"]
    return {
        "y": y.item(),
        "gradient": tied.item(),
        "untied gradients": [grads[slot]["kernel"][...].item() for slot in (0, 1)],
        "tied, by torch.autograd.grad or jax.grad": [gradient.item() for gradient in jax.tree.leaves(partial)],
    }


def contributions(outcome):
    """The gradient that each call returns for the tied weight, and those of two separate ones."""
    calls = {"torch": "PyTorch, autograd.grad", "linen": "Flax Linen, jax.grad", "nnx": "Flax NNX, jax.grad"}
    bars = [(f"Tied, {name}", "tied, by torch.autograd.grad or jax.grad", wing) for wing, name in calls.items()]
    bars.append(("Untied, in all three", "untied gradients", "torch"))
    return [
        (name, [(f"{gradient:g}", gradient) for gradient in outcome.facts[wing][fact]]) for name, fact, wing in bars
    ]


RECORD = Behaviour(
    id="W6",
    title="One weight used twice: the gradient is the sum over its sites",
    statement="Two bias-free 1x1 layers with w = 3 on x = 1 give y = 9. Tied, the gradient of w is 6; untied, 3 and 3. "
    "Only `jax.grad` on a tied NNX model says 3 and 3 as well.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"y": 9.0, "gradient": 6.0, "tied, by torch.autograd.grad or jax.grad": [6.0]},
        "linen": {"y": 9.0, "gradient": 6.0, "tied, by torch.autograd.grad or jax.grad": [6.0]},
        "nnx": {"y": 9.0, "gradient": 6.0, "tied, by torch.autograd.grad or jax.grad": [3.0, 3.0]},
    },
    reason="In NNX the tie is a fact of the graph: two paths lead to one Variable. To `jax.grad` the model is a "
    "pytree, which has a leaf for each path, so it returns the contribution of each site. `nnx.grad` follows the graph "
    "and adds them up. PyTorch differentiates by the parameter itself, and Linen's tree holds it once.",
    notes=(
        "A trap: the partial gradients come without a word. A step of rate 0.1 on them leads to 2.7 in each slot "
        "instead of 2.4 (W7), and where the parts differ, it drives the slots apart.",
    ),
    sources=("S1",),
    figures=(
        Shares(
            "The gradient of one weight used twice",
            contributions,
            "A bar is one call's answer, a part one array in it. Only `jax.grad` of an NNX model sees two.",
        ),
    ),
)
