"""A small network with running statistics, dropout and a tie, and what goes wrong in its modes and in training it.

The ports to NNX and Linen are one program over two sets of modules, with names of their own. What a port does is told
by `Ways`; a mutant does one thing in another way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

import paritree

from .frame import Clean, Mutant
from .parts import identity

WIDTH, OUT, BATCH = 8, 5, 32
RATE, MOMENTUM, EPS = 0.25, 0.1, 1e-5
INPUTS = (np.random.default_rng(3).normal(size=(BATCH, WIDTH)).astype(np.float32),)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(WIDTH, WIDTH, bias=False), nn.BatchNorm1d(WIDTH, EPS, MOMENTUM)
        self.second, self.last = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, OUT)
        self.second.weight = self.first.weight
        self.drop = nn.Dropout(RATE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.second(self.drop(F.silu(self.norm(self.first(x)))))))


def seeded(model: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    """A factory of models in which nothing is a constant, so that what is lost shows."""

    def factory(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            made = model()
            for array in (*made.parameters(), *made.buffers()):
                if array.is_floating_point():
                    array.uniform_(0.5, 1.5) if array.ndim == 1 else array.normal_(0, 0.3)
        return made

    return factory


reference = seeded(Network)


@dataclass(frozen=True)
class Ways:
    """What the port does and how; by default as the reference does.

    momentum: the share of the batch in a running statistic. correction: of the variance of a batch, for the running
        one. moves: which of the statistics are moved. batch_always, batch_never: statistics of the batch in inference,
        or not in training. rate, broadcast, always: of dropout. within: of what dropout
        gives, in training. noise: added in training.
    """

    momentum: float = MOMENTUM
    correction: float = BATCH / (BATCH - 1)
    moves: tuple[bool, bool] = (True, True)
    batch_always: bool = False
    batch_never: bool = False
    rate: float = RATE
    broadcast: tuple[int, ...] = ()
    always: bool = False
    within: Callable[[Any], Any] = identity
    noise: float = 0.0


USUAL = Ways()


def normalized(norm: Any, x: Any, mean: Any, variance: Any) -> Any:
    return (x - mean) * jax.lax.rsqrt(variance + EPS) * norm.gain + norm.offset


def moved(ways: Ways, held: Any, found: Any, correction: float, moves: bool) -> Any:
    return held + ways.momentum * (found * correction - held) if moves else held


def network_of(model: Any, x: Any, training: bool, dropped: Callable[[Any], Any], noise: Callable[[Any], Any]) -> Any:
    ways = model.ways
    x = dropped(jax.nn.silu(model.bn(model.a(x), (training or ways.batch_always) and not ways.batch_never, training)))
    x = ways.within(noise(x)) if training else x
    return model.z(jnp.tanh(model.b(x)))


class NnxNorm(nnx.Module):
    def __init__(self, ways: Ways) -> None:
        self.ways = ways
        self.gain, self.offset = nnx.Param(jnp.ones(WIDTH)), nnx.Param(jnp.zeros(WIDTH))
        self.mean, self.var = nnx.BatchStat(jnp.zeros(WIDTH)), nnx.BatchStat(jnp.ones(WIDTH))

    def __call__(self, x: Any, of_batch: bool, training: bool) -> Any:
        mean, variance = x.mean(0), x.var(0)
        used = (mean, variance) if of_batch else (self.mean[...], self.var[...])
        if training and of_batch:
            self.mean[...] = moved(self.ways, self.mean[...], mean, 1.0, self.ways.moves[0])
            self.var[...] = moved(self.ways, self.var[...], variance, self.ways.correction, self.ways.moves[1])
        return normalized(self, x, *used)


class NnxNetwork(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways, self.deterministic, self.rngs = ways, True, rngs
        self.a, self.bn = nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=rngs), NnxNorm(ways)
        self.b = nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=rngs)
        self.b.kernel = self.a.kernel
        self.z = nnx.Linear(WIDTH, OUT, rngs=rngs)
        self.drop = nnx.Dropout(ways.rate, broadcast_dims=ways.broadcast, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        training = not self.deterministic
        return network_of(self, x, training, self._dropped, self._noisy)

    def _dropped(self, x: Any) -> Any:
        return self.drop(x, deterministic=False if self.ways.always else None)

    def _noisy(self, x: Any) -> Any:
        return x + self.ways.noise * jax.random.normal(self.rngs.noise(), x.shape, x.dtype) if self.ways.noise else x


class LinenNorm(linen.Module):
    ways: Ways

    def setup(self) -> None:
        self.gain, self.offset = self.param("gain", jnp_ones, (WIDTH,)), self.param("offset", jnp_zeros, (WIDTH,))
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, (WIDTH,))
        self.var = self.variable("batch_stats", "var", jnp.ones, (WIDTH,))

    def __call__(self, x: Any, of_batch: bool, training: bool) -> Any:
        mean, variance = x.mean(0), x.var(0)
        used = (mean, variance) if of_batch else (self.mean.value, self.var.value)
        if training and of_batch and not self.is_initializing():
            self.mean.value = moved(self.ways, self.mean.value, mean, 1.0, self.ways.moves[0])
            self.var.value = moved(self.ways, self.var.value, variance, self.ways.correction, self.ways.moves[1])
        return normalized(self, x, *used)


def jnp_ones(key: Any, shape: tuple[int, ...]) -> Any:
    return jnp.ones(shape)


def jnp_zeros(key: Any, shape: tuple[int, ...]) -> Any:
    return jnp.zeros(shape)


class LinenNetwork(linen.Module):
    """The tied layer is one layer, called twice."""

    ways: Ways

    def setup(self) -> None:
        self.a, self.bn = linen.Dense(WIDTH, use_bias=False), LinenNorm(self.ways)
        self.b, self.z = self.a, linen.Dense(OUT)
        self.drop = linen.Dropout(self.ways.rate, broadcast_dims=self.ways.broadcast)

    def __call__(self, x: Any, train: bool = False) -> Any:
        return network_of(
            self, x, train, lambda x: self.drop(x, deterministic=not (train or self.ways.always)), identity
        )


def nnx_network(ways: Ways = USUAL, seed: int = 0) -> NnxNetwork:
    return NnxNetwork(ways, nnx.Rngs(seed, noise=seed))


def linen_network(ways: Ways = USUAL, seed: int = 0) -> Any:
    module = LinenNetwork(ways)
    return module, module.init(jax.random.key(seed), *INPUTS)


def linen_train_call(model: Any, inputs: Any) -> Any:
    module, variables = model
    return module.apply(variables, *inputs, train=True, mutable=["batch_stats"])


def in_nnx(ways: Ways = USUAL) -> paritree.Pair:
    return paritree.Pair(reference, lambda seed: nnx_network(ways, seed), INPUTS)


def in_linen(ways: Ways = USUAL) -> paritree.Pair:
    def call(model: Any, inputs: Any) -> Any:
        return model[0].apply(model[1], *inputs, rngs={"dropout": jax.random.key(0)} if ways.always else None)

    return paritree.Pair(reference, lambda seed: linen_network(ways, seed), INPUTS, None, call, None, linen_train_call)


def in_torch(model: Callable[[], nn.Module] = Network) -> paritree.Pair:
    return paritree.Pair(reference, seeded(model), INPUTS)


NNX, LINEN, TORCH = "network in NNX", "network in Linen", "network in torch"
PAIRS: dict[str, Callable[[Ways], paritree.Pair]] = {NNX: in_nnx, LINEN: in_linen}
# The reference draws its norms too, so that no two features are alike; the ports do not.
CLEAN = [Clean(NNX, in_nnx, False), Clean(LINEN, in_linen, False), Clean(TORCH, in_torch)]


def planted(
    name: str,
    clean: str,
    ways: Ways,
    module: str,
    *causes: str,
    trap: str = "modes",
    contracts: tuple[str, ...] = ("modes",),
) -> Mutant:
    return Mutant(name, clean, lambda: PAIRS[clean](ways), contracts, module, causes, trap)


class Untied(Network):
    """Makes a parameter of its own of the tied one when it is trained."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.second.weight = nn.Parameter(self.first.weight.detach().clone())
        return super().forward(x)


class StraightThrough(Network):
    """Trains its last layer alone, since in training it takes what comes before it for a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(F.silu(self.norm(self.first(x))))
        return self.last(torch.tanh(self.second(x.detach() if self.training else x)))


def in_training(name: str, model: Callable[[], nn.Module], module: str, *causes: str) -> Mutant:
    return Mutant(name, TORCH, lambda: in_torch(model), ("training",), module, causes, "training")


MUTANTS = [
    planted("Flax's default momentum", NNX, Ways(momentum=0.01), "norm", "buffer", "momentum"),
    planted("torch's momentum as it is", LINEN, Ways(momentum=0.9), "norm", "buffer", "momentum"),
    planted("the biased running variance", NNX, Ways(correction=1.0), "norm", "buffer", "momentum", "variance"),
    planted("statistics that are not moved", LINEN, Ways(moves=(False, False)), "norm", "buffer", "stale"),
    planted("a running mean that is not moved", NNX, Ways(moves=(False, True)), "norm", "buffer", "stale"),
    planted(
        "statistics of the batch in inference",
        NNX,
        Ways(batch_always=True),
        "norm",
        "statistics",
        contracts=("forward", "modes"),
    ),
    planted("running statistics in training", LINEN, Ways(batch_never=True), "norm", "buffer", "stale"),
    planted("another dropout rate", NNX, Ways(rate=0.5), "", "dropout"),
    planted("dropout's rate taken for what is kept", LINEN, Ways(rate=0.75), "", "dropout"),
    planted("no dropout", NNX, Ways(rate=0.0), "", "dropout"),
    planted("dropout in inference", NNX, Ways(always=True), "", "dropout"),
    planted(
        "dropout in inference, with one key",
        LINEN,
        Ways(always=True),
        "drop",
        "dropout",
        contracts=("forward", "modes"),
    ),
    planted("one mask for the whole batch", LINEN, Ways(broadcast=(0,)), "", "dropout"),
    planted("one mask for all features", NNX, Ways(broadcast=(1,)), "", "dropout"),
    planted("noise in training", NNX, Ways(noise=0.1), "", "mode", "random"),
    planted("a scale in training alone", LINEN, Ways(within=lambda x: 1.25 * x), "", "mode"),
    planted(
        "a gradient that stops in training",
        NNX,
        Ways(within=jax.lax.stop_gradient),
        "first",
        "training",
        "no gradient",
        trap="training",
        contracts=("training",),
    ),
    in_training("a tie that training loses", Untied, "second", "lost tie"),
    in_training("all but the last layer held", StraightThrough, "first", "training", "no gradient"),
]
