"""E5: why is sharing parameters good, and when does it hurt?"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Curves
from ...record import Behaviour, Verdict

X = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]


def fitted_in_torch(slope, tied, start):
    """y = slope * x with two 1x1 layers, that is w1 * w2 = slope: the gradients and the loss at each of 200 steps."""
    x = torch.from_numpy(X)
    first = nn.Linear(1, 1, bias=False)
    second = first if tied else nn.Linear(1, 1, bias=False)
    net = nn.Sequential(first, second)
    for layer, value in zip(net, start, strict=True):
        nn.init.constant_(layer.weight, value)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    gradients, losses = [], []
    for _ in range(200):
        optimizer.zero_grad()
        loss = (net(x) - slope * x).square().mean()
        loss.backward()
        gradients.append([weight.grad.item() for weight in net.parameters()])
        losses.append(loss.item())
        optimizer.step()
    return gradients, losses


def in_torch():
    def count(tied):
        first = nn.Linear(8, 8)
        second = first if tied else nn.Linear(8, 8)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(8, 1))
        return sum(weight.numel() for weight in net.parameters())

    def fit(slope, tied, start):
        gradients, losses = fitted_in_torch(slope, tied, start)
        return gradients[0], round(losses[-1], 3)

    tied, untied = fit(4, tied=True, start=(1.0, 1.0)), fit(4, tied=False, start=(1.0, 1.0))
    return {
        "scalars, tied and untied": [count(tied=True), count(tied=False)],
        "gradients at w = 1, tied": tied[0],
        "gradients at w = 1, untied": untied[0],
        "loss on y = 4x, tied and untied": [tied[1], untied[1]],
        "loss on y = -4x, tied and untied": [fit(-4, tied, start=(1.0, 0.5))[1] for tied in (True, False)],
    }


def in_linen():
    def count(tied):
        first = linen.Dense(8)
        second = first if tied else linen.Dense(8)
        layers = [linen.Dense(8), linen.relu, first, linen.relu, second, linen.relu, linen.Dense(1)]
        variables = linen.Sequential(layers).init(jax.random.key(0), jnp.ones((1, 4)))
        return sum(array.size for array in jax.tree.leaves(variables))

    def fit(slope, tied, start):
        first = linen.Dense(1, use_bias=False)
        net = linen.Sequential([first, first if tied else linen.Dense(1, use_bias=False)])
        params = {f"layers_{slot}": {"kernel": jnp.full((1, 1), value)} for slot, value in enumerate(start)}
        if tied:
            params = {"layers_0": params["layers_1"]}  # slot 1 reads layers_0

        @jax.jit
        def train(params):
            def squared_error(params):
                return jnp.square(net.apply({"params": params}, X) - slope * X).mean()

            loss, grads = jax.value_and_grad(squared_error)(params)
            return loss, grads, jax.tree.map(lambda w, g: w - 0.1 * g, params, grads)

        gradients = []
        for _ in range(200):
            loss, grads, params = train(params)
            gradients.append([grad.item() for grad in jax.tree.leaves(grads)])
        return gradients[0], round(loss.item(), 3)

    tied, untied = fit(4, tied=True, start=(1.0, 1.0)), fit(4, tied=False, start=(1.0, 1.0))
    return {
        "scalars, tied and untied": [count(tied=True), count(tied=False)],
        "gradients at w = 1, tied": tied[0],
        "gradients at w = 1, untied": untied[0],
        "loss on y = 4x, tied and untied": [tied[1], untied[1]],
        "loss on y = -4x, tied and untied": [fit(-4, tied, start=(1.0, 0.5))[1] for tied in (True, False)],
    }


def in_nnx():
    rngs = nnx.Rngs(0)

    def count(tied):
        first = nnx.Linear(8, 8, rngs=rngs)
        second = first if tied else nnx.Linear(8, 8, rngs=rngs)
        into, out = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
        net = nnx.Sequential(into, nnx.relu, first, nnx.relu, second, nnx.relu, out)
        return sum(array.size for array in jax.tree.leaves(nnx.state(net, nnx.Param)))

    def fit(slope, tied, start):
        first = nnx.Linear(1, 1, use_bias=False, rngs=rngs)
        net = nnx.Sequential(first, first if tied else nnx.Linear(1, 1, use_bias=False, rngs=rngs))
        for layer, value in zip(net.layers, start, strict=True):
            layer.kernel[...] = jnp.full((1, 1), value)
        optimizer = nnx.Optimizer(net, optax.sgd(0.1), wrt=nnx.Param)

        @nnx.jit
        def train(net, optimizer):
            loss, grads = nnx.value_and_grad(lambda net: jnp.square(net(X) - slope * X).mean())(net)
            optimizer.update(net, grads)
            return loss, grads

        gradients = []
        for _ in range(200):
            loss, grads = train(net, optimizer)
            gradients.append([grad.item() for grad in jax.tree.leaves(grads)])
        return gradients[0], round(loss.item(), 3)

    tied, untied = fit(4, tied=True, start=(1.0, 1.0)), fit(4, tied=False, start=(1.0, 1.0))
    return {
        "scalars, tied and untied": [count(tied=True), count(tied=False)],
        "gradients at w = 1, tied": tied[0],
        "gradients at w = 1, untied": untied[0],
        "loss on y = 4x, tied and untied": [tied[1], untied[1]],
        "loss on y = -4x, tied and untied": [fit(-4, tied, start=(1.0, 0.5))[1] for tied in (True, False)],
    }


def losses(slope, start):
    """The first 40 losses, tied and untied, in PyTorch."""
    return lambda: {name: fitted_in_torch(slope, name == "tied", start)[1][:40] for name in ("tied", "untied")}


RECORD = Behaviour(
    id="E5",
    title="Sharing saves parameters and pools their evidence; it hurts where the sites need different values",
    question="Why is it a good idea to share parameters? And when is it a bad one?",
    statement="A tie makes 121 scalars of 193, and one parameter receives the gradients of all its sites. Two 1x1 "
    "layers fit y = 4x tied as well as untied. For y = -4x the tied pair, `w * w`, cannot go below zero: its loss "
    "stays at that of y = 0, while the untied pair fits.",
    verdict=Verdict.SAME,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        wing: {
            "scalars, tied and untied": [121, 193],
            "gradients at w = 1, tied": [-5.0],
            "gradients at w = 1, untied": [-2.5, -2.5],
            "loss on y = 4x, tied and untied": [0.0, 0.0],
            "loss on y = -4x, tied and untied": [6.667, 0.0],
        }
        for wing in ("torch", "linen", "nnx")
    },
    notes=(
        "The summed gradient also means a larger step: at equal rates a parameter with two sites moves about twice as "
        "far as each of two separate ones.",
        "For y = -4x the untied layers start apart, at 1 and 0.5. Twins that start equal receive equal gradients, as "
        "the fact above shows, and stay equal: they would be tied by symmetry and fail alike.",
    ),
    sources=("S3",),
    figures=(
        Curves(
            "The loss on y = 4x",
            losses(4, (1.0, 1.0)),
            "step of SGD",
            "Both fit, and the tied pair has one parameter less; PyTorch.",
        ),
        Curves(
            "The loss on y = -4x",
            losses(-4, (1.0, 0.5)),
            "step of SGD",
            "A square cannot be negative: the tied pair stays at the loss of y = 0; PyTorch.",
        ),
    ),
)
