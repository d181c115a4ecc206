"""A small image model in torch, and a port of it to Linen, with channels last and statistics that training updates."""

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

CHANNELS, CLASSES, STD, SLOPE = 6, 5, 0.3, 0.2
PIXELS = np.random.default_rng(1).normal(size=(3, 3, 10, 10)).astype(np.float32)
AXES = (0, 3, 1, 2)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1), nn.BatchNorm2d(CHANNELS)
        self.mix, self.groups = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.GroupNorm(2, CHANNELS)
        self.largest, self.mean = nn.MaxPool2d(3, 1, padding=1), nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        self.up, self.head = nn.ConvTranspose2d(CHANNELS, 2, 3, stride=2, padding=1), nn.Linear(18, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(x, size=(8, 8), mode="bilinear", align_corners=False)
        x = F.leaky_relu(self.norm(self.stem(x)), SLOPE)
        x = self.mean(self.largest(self.groups(self.mix(x))))
        return self.head(self.up(x).flatten(1))


def resized(x: Any) -> Any:
    return jax.image.resize(x, (x.shape[0], 8, 8, 3), "bilinear", antialias=False)


def mean_pool(x: Any) -> Any:
    return linen.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)


def channels_first(x: Any) -> Any:
    """Flattened in the order that torch has."""
    return x.transpose(AXES).reshape(x.shape[0], -1)


def leaky(x: Any) -> Any:
    return jax.nn.leaky_relu(x, SLOPE)


def max_pool(x: Any) -> Any:
    return linen.max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))


@dataclass(frozen=True)
class Ways:
    """What the port does and how; by default as the reference does."""

    pixels: Callable[[Any], Any] = lambda x: x.transpose(0, 2, 3, 1)
    resize: Callable[[Any], Any] = resized
    kernel: Callable[[Any], Any] = identity
    stem_padding: Any = ((1, 1), (1, 1))
    mix_padding: Any = ((1, 1), (1, 1))
    dilation: int = 1
    swaps_statistics: bool = False
    of_batch: bool = False
    eps: float = 1e-5
    group_eps: float = 1e-5
    groups: int = 2
    act: Callable[[Any], Any] = leaky
    before_norm: bool = False
    largest: Callable[[Any], Any] = max_pool
    mean: Callable[[Any], Any] = mean_pool
    up_kernel: Callable[[Any], Any] = identity
    up_padding: Any = ((1, 1), (1, 1))
    transposes: bool = True
    flat: Callable[[Any], Any] = channels_first
    bias: bool = True
    scores: Callable[[Any], Any] = identity
    features: Callable[[Any], Any] = identity


class Kerneled(linen.Conv):
    """A convolution that does something to its kernel before it uses it."""

    change: Callable[[Any], Any] = identity

    def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
        found = super().param(name, *args, **kwargs)
        return self.change(found) if name == "kernel" else found


class KerneledBack(linen.ConvTranspose):
    change: Callable[[Any], Any] = identity

    def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
        found = super().param(name, *args, **kwargs)
        return self.change(found) if name == "kernel" else found


class Statistics(linen.Module):
    """BatchNorm, written out. A mutant takes one running statistic for the other."""

    ways: Ways

    @linen.compact
    def __call__(self, x: Any, train: bool) -> Any:
        scale, bias = (
            self.param(name, make, (CHANNELS,))
            for name, make in (("gamma", linen.initializers.ones), ("beta", linen.initializers.zeros))
        )
        mean = self.variable("batch_stats", "mu", jnp.zeros, (CHANNELS,))
        var = self.variable("batch_stats", "sigma", jnp.ones, (CHANNELS,))
        used = (mean.value, var.value)
        used = used[::-1] if self.ways.swaps_statistics else used
        if train or self.ways.of_batch:
            used = x.mean((0, 1, 2)), x.var((0, 1, 2))
        if train and not self.is_initializing():
            count = x.size / CHANNELS
            mean.value = 0.9 * mean.value + 0.1 * used[0]
            var.value = 0.9 * var.value + 0.1 * used[1] * count / (count - 1)
        return (x - used[0]) * jax.lax.rsqrt(used[1] + self.ways.eps) * scale + bias


class Port(linen.Module):
    ways: Ways = Ways()

    @linen.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        ways, init = self.ways, linen.initializers.normal(STD)
        conv = {"kernel_size": (3, 3), "kernel_init": init}
        x = ways.resize(ways.pixels(x))
        x = Kerneled(CHANNELS, strides=2, padding=ways.stem_padding, change=ways.kernel, name="c0", **conv)(x)
        norm = Statistics(ways, name="bn")
        x = norm(ways.act(x), train) if ways.before_norm else ways.act(norm(x, train))
        dilated = {"kernel_dilation": ways.dilation, "use_bias": ways.bias}
        x = Kerneled(CHANNELS, padding=ways.mix_padding, name="c1", **conv, **dilated)(x)
        x = linen.GroupNorm(ways.groups, epsilon=ways.group_eps, use_fast_variance=False, name="gn")(x)
        x = ways.features(ways.mean(ways.largest(x)))
        back = {"transpose_kernel": ways.transposes, "change": ways.up_kernel, "name": "ct"}
        x = KerneledBack(2, strides=(2, 2), padding=ways.up_padding, **conv, **back)(x)
        return ways.scores(linen.Dense(CLASSES, kernel_init=init, name="fc")(ways.flat(x)))


def pair(ways: Ways = Ways()) -> paritree.Pair:
    module = Port(ways)

    def port(seed: int) -> Any:
        return module, jax.jit(module.init)(jax.random.key(seed), PIXELS)

    return paritree.Pair(lambda seed: drawn_normal(Images(), STD, seed), port, (PIXELS,), port_train_call=_train_call)


def _train_call(model: Any, inputs: Any) -> Any:
    return model[0].apply(model[1], *inputs, train=True, mutable=["batch_stats"])


NAME = "convolutions in Linen"
CLEAN = [Clean(NAME, pair)]


def planted(
    name: str, ways: Ways, module: str, *causes: str, trap: str = "forward", contracts: tuple[str, ...] = ("forward",)
) -> Mutant:
    return Mutant(name, NAME, lambda: pair(ways), contracts, module, causes, trap)


def swapped_axes(kernel: Any) -> Any:
    return kernel.swapaxes(0, 1)


def flipped(kernel: Any) -> Any:
    return kernel[::-1, ::-1]


def counted_pool(x: Any) -> Any:
    return linen.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=True)


def padded_with_zeros(x: Any) -> Any:
    return linen.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 1), "VALID")


def nearest(x: Any) -> Any:
    return jax.image.resize(x, (x.shape[0], 8, 8, 3), "nearest")


def aligned_at_corners(x: Any) -> Any:
    scale = jnp.array([7 / 9, 7 / 9])
    return jax.image.scale_and_translate(
        x, (x.shape[0], 8, 8, 3), (1, 2), scale, 0.5 - 0.5 * scale, "linear", antialias=False
    )


IN_OUT = ("kernel", "transposed", "axis order")
MUTANTS = [
    planted("kernel's height and width swapped", Ways(kernel=swapped_axes), "stem", *IN_OUT, trap="layout"),
    planted("kernel flipped", Ways(kernel=flipped), "stem", "kernel", "reversed", trap="layout"),
    planted(
        "image's height and width swapped",
        Ways(pixels=lambda x: x.transpose(0, 3, 2, 1)),
        "",
        *IN_OUT,
        "input",
        trap="layout",
    ),
    planted(
        "transposed convolution's kernel unflipped", Ways(up_kernel=flipped), "up", "kernel", "reversed", trap="layout"
    ),
    planted(
        "flattened with channels last",
        Ways(flat=lambda x: x.reshape(x.shape[0], -1)),
        "head",
        "axis order",
        trap="layout",
    ),
    planted(
        "flattened width first",
        Ways(flat=lambda x: x.transpose(0, 3, 2, 1).reshape(x.shape[0], -1)),
        "head",
        "axis order",
        trap="layout",
    ),
    planted("SAME for a padding of one, at a stride of two", Ways(stem_padding="SAME"), "stem", "padding"),
    planted("padded around", Ways(mix_padding="CIRCULAR"), "mix", "padding"),
    planted("dilated", Ways(mix_padding=((2, 2), (2, 2)), dilation=2), "mix", "setting", "dilation"),
    planted("transposed convolution of another padding", Ways(up_padding=((2, 0), (2, 0))), "up", "padding", "kernel"),
    planted("running mean and variance swapped", Ways(swaps_statistics=True), "norm", "swapped", "statistics"),
    planted("the batch's statistics at inference", Ways(of_batch=True), "norm", "statistics"),
    planted("BatchNorm with an eps of 1e-3", Ways(eps=1e-3), "norm", "eps"),
    planted("GroupNorm with an eps of 1e-6", Ways(group_eps=1e-6), "groups", "eps"),
    planted("GroupNorm of other groups", Ways(groups=3), "groups", "statistics", "setting"),
    planted("LayerNorm for GroupNorm", Ways(groups=1), "groups", "statistics", "setting"),
    planted("Flax's slope of leaky ReLU", Ways(act=jax.nn.leaky_relu), "mix", "activation"),
    planted(
        "activation before the norm", Ways(before_norm=True), "norm", "activation", "order", "norm placed elsewhere"
    ),
    planted("maxima with zeros around", Ways(largest=padded_with_zeros), "up", "padding", "pooling"),
    planted("means that count the padding", Ways(mean=counted_pool), "up", "padding", "pooling"),
    planted("resized to the nearest", Ways(resize=nearest), "stem", "resize", "input"),
    planted(
        "resized with antialiasing",
        Ways(resize=lambda x: jax.image.resize(x, (x.shape[0], 8, 8, 3), "bilinear")),
        "stem",
        "resize",
        "input",
    ),
    planted("resized corner to corner", Ways(resize=aligned_at_corners), "stem", "resize", "input"),
    planted("pixels from 0 to 255", Ways(pixels=lambda x: 255 * x.transpose(0, 2, 3, 1)), "stem", "scale", "input"),
    planted(
        "channels in the order of BGR",
        Ways(pixels=lambda x: x[:, ::-1].transpose(0, 2, 3, 1)),
        "stem",
        "reversed",
        "input",
        "axis order",
    ),
    planted("a softmax too many", Ways(scores=jax.nn.softmax), "head", "activation"),
    planted("outputs transposed", Ways(scores=lambda x: x.T), "", "transposed"),
    planted("an activation too many", Ways(features=jax.nn.silu), "up", "activation"),
    planted(
        "a gradient scaled by the batch",
        Ways(features=scaled_gradient(1 / 3)),
        "groups",
        "gradient scale",
        trap="gradients",
        contracts=("gradients",),
    ),
    planted(
        "a gradient cut off",
        Ways(features=jax.lax.stop_gradient),
        "groups",
        "no gradient",
        trap="gradients",
        contracts=("gradients",),
    ),
]
