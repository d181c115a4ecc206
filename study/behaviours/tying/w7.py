"""W7: the gradients of the sites add up, and one step moves the one weight."""

import jax
import jax.numpy as jnp
import optax
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Shares
from ...record import Behaviour, Verdict


def in_torch():
    layer = nn.Linear(1, 1, bias=False)
    net = nn.Sequential(layer, layer)
    nn.init.constant_(layer.weight, 3.0)
    x = torch.ones(1, 1)

    # A view for each site makes the sites visible to autograd; both lead back to the one weight.
    first, second = layer.weight.view_as(layer.weight), layer.weight.view_as(layer.weight)
    y = x @ first.T @ second.T
    *sites, total = torch.autograd.grad(y, [first, second, layer.weight])

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(x).sum().backward()
    optimizer.step()
    return {
        "gradient by site": [site.item() for site in sites],
        "gradient of the weight": total.item(),
        "after one SGD step, lr 0.1": [net[0].weight.item(), net[1].weight.item()],
        "y after the step": net(x).item(),
    }


def in_linen():
    layer = linen.Dense(1, use_bias=False, kernel_init=linen.initializers.constant(3.0))
    net = linen.Sequential([layer, layer])
    x = jnp.ones((1, 1))
    variables = net.init(jax.random.key(0), x)
    kernel = variables["params"]["layers_0"]["kernel"]

    sites = jax.grad(lambda first, second: (x @ first @ second).sum(), argnums=(0, 1))(kernel, kernel)

    gradient = jax.grad(lambda v: net.apply(v, x).sum())(variables)
    stepped = jax.tree.map(lambda w, g: w - 0.1 * g, variables, gradient)
    bound = net.bind(stepped)
    return {
        "gradient by site": [site.item() for site in sites],
        "gradient of the weight": gradient["params"]["layers_0"]["kernel"].item(),
        "after one SGD step, lr 0.1": [layer.variables["params"]["kernel"].item() for layer in bound.layers],
        "y after the step": net.apply(stepped, x).item(),
    }


def in_nnx():
    init = nnx.initializers.constant(3.0)
    layer = nnx.Linear(1, 1, use_bias=False, kernel_init=init, rngs=nnx.Rngs(0))
    net = nnx.Sequential(layer, layer)
    x = jnp.ones((1, 1))

    kernel = layer.kernel[...]
    sites = jax.grad(lambda first, second: (x @ first @ second).sum(), argnums=(0, 1))(kernel, kernel)

    optimizer = nnx.Optimizer(net, optax.sgd(0.1), wrt=nnx.Param)
    gradient = nnx.grad(lambda net: net(x).sum())(net)
    optimizer.update(net, gradient)
    return {
        "gradient by site": [site.item() for site in sites],
        "gradient of the weight": gradient["layers"][0]["kernel"][...].item(),
        "after one SGD step, lr 0.1": [layer.kernel[...].item() for layer in net.layers],
        "y after the step": net(x).item(),
    }


def sites(outcome):
    """What each site contributes, above the gradient of the weight, for each wing."""
    bars = []
    for wing, name in {"torch": "PyTorch", "linen": "Flax Linen", "nnx": "Flax NNX"}.items():
        facts = outcome.facts[wing]
        parts = [(f"site {slot}: {gradient:g}", gradient) for slot, gradient in enumerate(facts["gradient by site"])]
        bars.append((f"{name}: the gradient is {facts['gradient of the weight']:g}", parts))
    return bars


RECORD = Behaviour(
    id="W7",
    title="The gradient adds up over the sites, and one step moves every site",
    statement="A bias-free 1x1 layer with w = 3 used twice on x = 1: each site contributes 3, the weight's gradient "
    "is 6, and after one SGD step of rate 0.1 both slots read 2.4.",
    verdict=Verdict.SAME,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        wing: {
            "gradient by site": [3.0, 3.0],
            "gradient of the weight": 6.0,
            "after one SGD step, lr 0.1": [2.4, 2.4],
        }
        for wing in ("torch", "linen", "nnx")
    },
    notes=(
        "Two answers to the same question: W6 compares the tie with two separate layers, this row looks at the two "
        "sites of the tie itself.",
    ),
    sources=("S1", "S4"),
    figures=(
        Shares("Each site's share of the gradient", sites, "The parts stand end to end: the gradient is their sum."),
    ),
)
