"""One model written by hand in each framework, as a stranger to this package would, and its mathematics in NumPy.

y = (norm(tanh(x W1^T + b1)) * scale) W2^T + b2, with a batch normalization in inference mode and a parameter that
is not used. The letters name its arrays in all four versions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx, traverse_util

from .conftest import normal

SHAPES = {
    **{"W1": (4, 3), "b1": (4,), "gamma": (4,), "beta": (4,), "mean": (4,), "var": (4,)},
    **{"scale": (4,), "W2": (2, 4), "b2": (2,), "spare": (3,)},
}
BUFFERS = ("mean", "var")
EPSILON = 1e-5


class TorchStranger(torch.nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        first = torch.nn.Linear(3, 4, dtype=dtype)
        self.hidden = torch.nn.Sequential(OrderedDict(first=first, act=torch.nn.Tanh()))
        self.norm = torch.nn.BatchNorm1d(4, dtype=dtype)
        self.scale = torch.nn.Parameter(torch.ones(4, dtype=dtype))
        self.head = torch.nn.Linear(4, 2, dtype=dtype)
        self.spare = torch.nn.Parameter(torch.ones(3, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.hidden(x)) * self.scale)


class LinenSetup(linen.Module):
    dtype: Any

    def setup(self) -> None:
        self.hidden = [linen.Dense(4, param_dtype=self.dtype)]
        self.norm = linen.BatchNorm(use_running_average=True, param_dtype=self.dtype)
        self.scale = self.param("scale", linen.initializers.ones, (4,), self.dtype)
        self.head = linen.Dense(2, param_dtype=self.dtype)
        self.spare = self.param("spare", linen.initializers.ones, (3,), self.dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.norm(jnp.tanh(self.hidden[0](x))) * self.scale)


class LinenCompact(linen.Module):
    dtype: Any

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.tanh(linen.Dense(4, param_dtype=self.dtype)(x))
        x = linen.BatchNorm(use_running_average=True, param_dtype=self.dtype)(x)
        self.param("spare", linen.initializers.ones, (3,), self.dtype)
        x = x * self.param("scale", linen.initializers.ones, (4,), self.dtype)
        return linen.Dense(2, param_dtype=self.dtype)(x)


class NnxStranger(nnx.Module):
    def __init__(self, dtype: Any) -> None:
        rngs = nnx.Rngs(0)
        self.hidden = nnx.List([nnx.Linear(3, 4, param_dtype=dtype, rngs=rngs), jnp.tanh])
        norm = nnx.BatchNorm(4, param_dtype=dtype, rngs=rngs)
        # Flax keeps running statistics in float32, whatever it is asked for.
        norm.mean, norm.var = (nnx.BatchStat(held[...].astype(dtype)) for held in (norm.mean, norm.var))
        self.parts = nnx.Dict(norm=norm, scale=nnx.Param(jnp.ones(4, dtype)))
        self.head = nnx.Linear(4, 2, param_dtype=dtype, rngs=rngs)
        self.spare = nnx.Param(jnp.ones(3, dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.hidden:
            x = layer(x)
        return self.head(self.parts.norm(x) * self.parts.scale[...])


class Name(NamedTuple):
    """How a version spells one array: its path, its native path, and the pattern from the canonical layout."""

    path: str
    native: tuple[Any, ...]
    layer: str = ""
    layout: str = "... -> ..."


class Stranger(NamedTuple):
    """A version: its wing, how to make it, and its names by letter in the order of its table."""

    wing: str
    make: Callable[[str], Any]
    names: dict[str, Name]


def _linen(module: Callable[[Any], linen.Module]) -> Callable[[str], Any]:
    def make(dtype: str) -> Any:
        made = module(jnp.dtype(dtype))
        variables = made.init(jax.random.key(0), np.ones((1, 3), dtype))
        # Flax keeps running statistics in float32, whatever it is asked for. (jax.tree.map would sort the names.)
        flat = traverse_util.flatten_dict(variables)
        return made, traverse_util.unflatten_dict({place: array.astype(dtype) for place, array in flat.items()})

    return make


def _torch(letter: str, path: str, layer: str) -> tuple[str, Name]:
    return letter, Name(path, tuple(path.split(".")), layer)


TORCH = Stranger(
    "torch",
    lambda dtype: TorchStranger(getattr(torch, dtype)),
    dict(
        (
            _torch("scale", "scale", "TorchStranger"),
            _torch("spare", "spare", "TorchStranger"),
            _torch("W1", "hidden.first.weight", "Linear"),
            _torch("b1", "hidden.first.bias", "Linear"),
            _torch("gamma", "norm.weight", "BatchNorm1d"),
            _torch("beta", "norm.bias", "BatchNorm1d"),
            _torch("mean", "norm.running_mean", "BatchNorm1d"),
            _torch("var", "norm.running_var", "BatchNorm1d"),
            _torch("batches", "norm.num_batches_tracked", "BatchNorm1d"),
            _torch("W2", "head.weight", "Linear"),
            _torch("b2", "head.bias", "Linear"),
        )
    ),
)


def _linen_names(top: str, hidden: str, norm: str, head: str, order: str) -> dict[str, Name]:
    """The names that are stored: nothing is known of the layers, so they and their layouts stay as they are."""
    places = {
        **{"scale": ("scale",), "spare": ("spare",), "W1": (hidden, "kernel"), "b1": (hidden, "bias")},
        **{"gamma": (norm, "scale"), "beta": (norm, "bias"), "mean": (norm, "mean"), "var": (norm, "var")},
        **{"W2": (head, "kernel"), "b2": (head, "bias")},
    }
    return {
        letter: Name(".".join(places[letter]), places[letter], top if len(places[letter]) == 1 else "")
        for letter in order.split()
    }


SETUP = Stranger(
    "linen",
    _linen(LinenSetup),
    _linen_names("LinenSetup", "hidden_0", "norm", "head", "scale spare W1 b1 gamma beta mean var W2 b2"),
)
COMPACT = Stranger(
    "linen",
    _linen(LinenCompact),
    _linen_names("LinenCompact", "Dense_0", "BatchNorm_0", "Dense_1", "spare scale W1 b1 gamma beta mean var W2 b2"),
)
NNX = Stranger(
    "nnx",
    lambda dtype: NnxStranger(jnp.dtype(dtype)),
    {
        "spare": Name("spare", ("spare",), "NnxStranger"),
        "W1": Name("hidden.0.weight", ("hidden", 0, "kernel"), "Linear", "o i -> i o"),
        "b1": Name("hidden.0.bias", ("hidden", 0, "bias"), "Linear"),
        "scale": Name("parts.scale", ("parts", "scale"), "Dict"),
        "gamma": Name("parts.norm.weight", ("parts", "norm", "scale"), "BatchNorm"),
        "beta": Name("parts.norm.bias", ("parts", "norm", "bias"), "BatchNorm"),
        "mean": Name("parts.norm.running_mean", ("parts", "norm", "mean"), "BatchNorm"),
        "var": Name("parts.norm.running_var", ("parts", "norm", "var"), "BatchNorm"),
        "W2": Name("head.weight", ("head", "kernel"), "Linear", "o i -> i o"),
        "b2": Name("head.bias", ("head", "bias"), "Linear"),
    },
)
STRANGERS = {"torch": TORCH, "linen, setup": SETUP, "linen, compact": COMPACT, "nnx": NNX}


def letters(seed: int = 0, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Values for every array; the variance is positive."""
    drawn = {
        letter: normal(*shape, seed=seed + place, dtype=dtype) for place, (letter, shape) in enumerate(SHAPES.items())
    }
    return {**drawn, "var": np.abs(drawn["var"]) + 0.5}


def as_weights(stranger: Stranger, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The letters' values by the version's paths, each as its table says that it lies."""
    stored = {"batches": np.array(0), **values}
    turned = {letter: stored[letter].T if as_stored(stranger, letter) else stored[letter] for letter in stranger.names}
    return {name.path: turned[letter] for letter, name in stranger.names.items()}


def as_stored(stranger: Stranger, letter: str) -> bool:
    """Whether the version's table, which knows no layout for the array, lists it transposed."""
    return stranger.wing == "linen" and letter in ("W1", "W2")


def output(values: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The model in NumPy."""
    return scaled(values, x) @ values["W2"].T + values["b2"]


def normed(values: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    hidden = np.tanh(x @ values["W1"].T + values["b1"])
    return (hidden - values["mean"]) / np.sqrt(values["var"] + EPSILON) * values["gamma"] + values["beta"]


def scaled(values: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return normed(values, x) * values["scale"]


def gradients(values: dict[str, np.ndarray], x: np.ndarray, cotangent: np.ndarray) -> dict[str, np.ndarray]:
    """The derivative of <y, cotangent> by each trained letter, by the chain rule on paper."""
    by_scaled = cotangent @ values["W2"]
    by_normed = by_scaled * values["scale"]
    hidden = np.tanh(x @ values["W1"].T + values["b1"])
    whitened = (hidden - values["mean"]) / np.sqrt(values["var"] + EPSILON)
    by_sum = by_normed * values["gamma"] / np.sqrt(values["var"] + EPSILON) * (1 - hidden**2)
    return {
        "W2": cotangent.T @ scaled(values, x),
        "b2": cotangent.sum(0),
        "scale": (by_scaled * normed(values, x)).sum(0),
        "gamma": (by_normed * whitened).sum(0),
        "beta": by_normed.sum(0),
        "W1": by_sum.T @ x,
        "b1": by_sum.sum(0),
        "spare": np.zeros(3),
    }
