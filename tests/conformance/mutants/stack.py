"""A stack of eleven small layers in torch, with parts that are hard to differentiate, and a port of it to Linen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen
from torch import nn
from torch.nn import functional as F

import paritree

from .frame import Clean, Mutant
from .parts import drawn_normal, identity, scaled_gradient

WIDTH, LAYERS, STD, SLOPE = 6, 11, 0.5, 0.2
INPUT = np.random.default_rng(4).normal(size=(2, 5, WIDTH)).astype(np.float32)
# Rows of zeros, as padding has them.
SHOWN = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.float32)


class Stack(nn.Module):
    """The first layer's matrix is used again at the end, transposed; the shared layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.shared = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
        self.slope, self.gain = nn.PReLU(WIDTH, init=0.25), nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: torch.Tensor, shown: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.enter(x)
        for layer in self.layers:
            x = x + 0.3 * torch.tanh(layer(x))
        x = self.shared(F.leaky_relu(self.shared(x), SLOPE))
        x = self.slope(x.transpose(1, 2)).transpose(1, 2)
        steps = x + (torch.round(x) - x).detach()
        lengths = (x * shown[..., None]).norm(dim=-1)
        peaks = (steps * self.gain).amax(1)
        return {"back": F.linear(x, self.enter.weight.t()), "lengths": lengths, "peaks": peaks}


def stepped(x: Any) -> Any:
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def length(x: Any) -> Any:
    """The norm, with a gradient of zero at zero, as torch has it."""
    square = jnp.square(x).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def leaky(x: Any) -> Any:
    return jax.nn.leaky_relu(x, SLOPE)


def twice(layer: Any, act: Any, x: Any) -> Any:
    return layer(act(layer(x)))


@dataclass(frozen=True)
class Ways:
    """What the port does and how; by default as the reference does."""

    order: Callable[[list[str]], list[str]] = identity
    joined: Callable[[Any, Any], Any] = lambda x, y: x + 0.3 * jnp.tanh(y)
    shared: Callable[[Any, Any, Any], Any] = twice
    act: Callable[[Any], Any] = leaky
    slope: Callable[[Any, Any], Any] = lambda x, slope: jnp.where(x > 0, x, slope * x)
    steps: Callable[[Any], Any] = stepped
    length: Callable[[Any], Any] = length
    peak: Callable[[Any], Any] = lambda x: x.max(1)
    back: Callable[[Any, Any], Any] = lambda x, kernel: x @ kernel.T
    enter: Callable[[Any], Any] = identity
    gain: Callable[[Any], Any] = identity
    outputs: Callable[[dict[str, Any]], dict[str, Any]] = identity


class PRelu(linen.Module):
    ways: Ways

    @linen.compact
    def __call__(self, x: Any) -> Any:
        return self.ways.slope(x, self.param("slopes", linen.initializers.constant(0.25), (WIDTH,)))


class Port(linen.Module):
    ways: Ways = Ways()

    @linen.compact
    def __call__(self, x: Any, shown: Any) -> dict[str, Any]:
        ways, init = self.ways, linen.initializers.normal(STD)
        begin = linen.Dense(WIDTH, kernel_init=init, name="begin")
        both = linen.Dense(WIDTH, kernel_init=init, name="both")
        layers = {f"step_{n}": linen.Dense(WIDTH, kernel_init=init, name=f"step_{n}") for n in range(LAYERS)}
        gain = self.param("factor", linen.initializers.ones, (WIDTH,))
        x = ways.enter(begin(x))
        for name in ways.order(list(layers)):
            x = ways.joined(x, layers[name](x))
        x = ways.shared(both, ways.act, x)
        x = PRelu(ways, name="prelu")(x)
        kernel = begin.variables["params"]["kernel"]
        peaks = ways.peak(ways.steps(x) * ways.gain(gain))
        found = {"back": ways.back(x, kernel), "lengths": ways.length(x * shown[..., None]), "peaks": peaks}
        return ways.outputs(found)


def pair(ways: Ways = Ways()) -> paritree.Pair:
    module = Port(ways)

    def port(seed: int) -> Any:
        return module, jax.jit(module.init)(jax.random.key(seed), INPUT, SHOWN)

    return paritree.Pair(
        lambda seed: drawn_normal(Stack(), STD, seed),
        port,
        (INPUT, SHOWN),
        port_train_call=lambda model, inputs: (model[0].apply(model[1], *inputs), {}),
    )


NAME = "stack in Linen"
CLEAN = [Clean(NAME, pair)]


def planted(
    name: str, ways: Ways, module: str, *causes: str, trap: str = "forward", contracts: tuple[str, ...] = ("forward",)
) -> Mutant:
    return Mutant(name, NAME, lambda: pair(ways), contracts, module, causes, trap)


def argmax_alone(x: Any) -> Any:
    """The first of the largest alone has a gradient, as of torch's `max` along an axis."""
    return jnp.take_along_axis(x, x.argmax(1, keepdims=True), 1)[:, 0]


GRADIENTS = ("gradients",)
MUTANTS = [
    planted("layers in the order of their names", Ways(order=sorted), "layers.", "swapped", "order", trap="layout"),
    planted("layers backwards", Ways(order=lambda names: names[::-1]), "layers.", "swapped", "order", trap="layout"),
    planted(
        "two layers swapped",
        Ways(order=lambda names: [*names[:3], names[4], names[3], *names[5:]]),
        "layers.3",
        "swapped",
        "order",
        trap="layout",
    ),
    planted(
        "a shared layer run once",
        Ways(shared=lambda layer, act, x: act(layer(x))),
        "shared",
        "missing site",
        "wiring",
        "calls",
    ),
    planted(
        "a factor of the residual left out",
        Ways(joined=lambda x, y: x + jnp.tanh(y)),
        "layers.0",
        "activation",
        "scale",
        "wiring",
    ),
    planted("ReLU for leaky ReLU", Ways(act=jax.nn.relu), "shared", "activation"),
    planted("Flax's slope of leaky ReLU", Ways(act=jax.nn.leaky_relu), "shared", "activation"),
    planted(
        "one slope for all channels",
        Ways(slope=lambda x, slope: jnp.where(x > 0, x, slope[0] * x)),
        "slope",
        "activation",
        "broadcast",
    ),
    planted(
        "slopes along the positions",
        Ways(slope=lambda x, slope: jnp.where(x > 0, x, slope[: x.shape[1], None] * x)),
        "slope",
        "activation",
        "broadcast",
        "axis order",
    ),
    planted(
        "rounded without a straight-through gradient",
        Ways(steps=jnp.round),
        "slope",
        "no gradient",
        "missing site",
        trap="gradients",
        contracts=GRADIENTS,
    ),
    planted(
        "a norm at zero",
        Ways(length=lambda x: jnp.sqrt(jnp.square(x).sum(-1))),
        "slope",
        "not finite",
        trap="gradients",
        contracts=GRADIENTS,
    ),
    planted(
        "the largest's ties not shared",
        Ways(peak=argmax_alone),
        "",
        "subgradient",
        "gradient",
        trap="gradients",
        contracts=GRADIENTS,
    ),
    planted(
        "the first layer's gradient doubled",
        Ways(enter=scaled_gradient(2.0)),
        "enter",
        "gradient scale",
        trap="gradients",
        contracts=GRADIENTS,
    ),
    planted(
        "a parameter's gradient cut off",
        Ways(gain=jax.lax.stop_gradient),
        "gain",
        "no gradient",
        trap="gradients",
        contracts=GRADIENTS,
    ),
    planted("a tie not transposed", Ways(back=lambda x, kernel: x @ kernel), "slope", "transposed", trap="ties"),
    planted(
        "the transposed use's share cut off",
        Ways(back=lambda x, kernel: x @ jax.lax.stop_gradient(kernel).T),
        "enter",
        "missing site",
        trap="ties",
        contracts=("gradients", "tied gradients"),
    ),
    planted(
        "the second use's share cut off",
        Ways(shared=lambda layer, act, x: layer(act(jax.lax.stop_gradient(layer(x))))),
        "shared",
        "no gradient",
        "missing site",
        trap="ties",
        contracts=("gradients", "tied gradients"),
    ),
    planted(
        "outputs under each other's names",
        Ways(outputs=lambda each: each | {"back": each["back"][..., ::-1]}),
        "",
        "reversed",
    ),
]
