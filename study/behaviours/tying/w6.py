"""W6: two bias-free 1x1 layers that are one layer."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    layer = nn.Linear(1, 1, bias=False)
    net = nn.Sequential(layer, layer)
    nn.init.constant_(layer.weight, 3.0)

    y = net(torch.ones(1, 1))
    y.sum().backward()
    tied = layer.weight.grad.item()

    untied = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    for linear in untied:
        nn.init.constant_(linear.weight, 3.0)
    untied(torch.ones(1, 1)).sum().backward()
    return {"y": y.item(), "gradient": tied, "untied gradients": [linear.weight.grad.item() for linear in untied]}


def in_linen():
    layer = linen.Dense(1, use_bias=False, kernel_init=linen.initializers.constant(3.0))
    net = linen.Sequential([layer, layer])
    x = jnp.ones((1, 1))
    params = net.init(jax.random.key(0), x)

    y = net.apply(params, x)
    tied = jax.grad(lambda p: net.apply(p, x).sum())(params)["params"]["layers_0"]["kernel"]

    dense = [linen.Dense(1, use_bias=False, kernel_init=linen.initializers.constant(3.0)) for _ in range(2)]
    untied = linen.Sequential(dense)
    params = untied.init(jax.random.key(0), x)
    grads = jax.grad(lambda p: untied.apply(p, x).sum())(params)["params"]
    return {
        "y": y.item(),
        "gradient": tied.item(),
        "untied gradients": [grads["layers_0"]["kernel"].item(), grads["layers_1"]["kernel"].item()],
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
    return {
        "y": y.item(),
        "gradient": tied.item(),
        "untied gradients": [layer.kernel[...].item() for layer in partial.layers],
    }


RECORD = Behaviour(
    id="W6",
    title="One weight used twice: the gradient is the sum over its sites",
    statement="Two bias-free 1x1 layers with w = 3 on x = 1 give y = 9. Tied, the gradient of w is 6; untied, 3 and 3.",
    verdict=Verdict.SAME,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={wing: {"y": 9.0, "gradient": 6.0} for wing in ("torch", "linen", "nnx")},
    notes=(
        "A trap in NNX: jax.grad on a tied model returns the partial gradients 3 and 3 without a word, because "
        "jax.tree flattens the shared Variable once for each path. nnx.grad knows the graph and returns 6.",
    ),
    sources=("S1",),
)
