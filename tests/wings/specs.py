"""Specs whose structure is hard to get right, and a NumPy evaluation of any spec, by which the wings are judged."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import erf, expit

from paritree.common import initializers as init
from paritree.common.layers import (
    GELU,
    Decoder,
    Dropout,
    Embedding,
    FixedLinear,
    Flatten,
    Halve,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Sum,
    Tanh,
)
from paritree.common.models.reference import MODELS
from paritree.common.paths import join
from paritree.common.spec import Block, Layer, References, Sequential, Shared

STRUCTURES: dict[str, Layer] = {
    "one layer, no container": Linear(3, 3),
    "a layer shared out of another container": Sequential(
        Block({"inner": Block({"deep": Linear(3, 3), "act": Tanh()})}), Block({"again": Shared("0.inner.deep")})
    ),
    "a shared container with a layer shared inside it": Sequential(
        Block({"a": Linear(3, 3), "b": Shared("a"), "c": Linear(3, 3, bias=False)}), Tanh(), Shared("0"), Shared("0.c")
    ),
    "called in another order than registered": Block(
        {
            "late": Block({"x": Linear(3, 3), "y": Shared("x")}),
            "early": Sequential(Shared("late.y"), Tanh(), Linear(3, 3)),
        },
        calls=("early", "late", "early"),
    ),
    "an owner in a container that is never called": Sequential(
        Block({"live": Linear(3, 3), "dead": Sequential(Linear(3, 3), Tanh())}, calls=("live",)),
        Block({"use": Shared("0.dead.0")}),
        Shared("0.live"),
    ),
    "names that look like Linen's own": Block(
        {"0": Linear(3, 3), "layers_0": Linear(3, 3, bias=False), "1": Shared("0"), "layers_1": Shared("layers_0")}
    ),
    "a child named as the framework's own folder": Block(
        {"kernel": Linear(3, 3), "embedding": Sequential(Linear(3, 3)), "bias": Shared("embedding.0")}
    ),
    "buffers, shared": Sequential(FixedLinear(3, 3, shift=0.5), Tanh(), Shared("0"), FixedLinear(3, 2)),
    "every function": Sequential(
        *(Linear(3, 3), GELU(), LeakyReLU(0.2), Linear(3, 4), Softplus(), SiLU(), GELU("tanh"), Dropout(0.5)),
        *(Linear(4, 3), ReLU(), Sigmoid(), Flatten(), Halve(0.5), Linear(3, 3), Tanh(), Sum()),
    ),
    "initializers of every sort": Sequential(
        *(Linear(3, 5, weight_init=init.Orthogonal(), bias_init=init.Constant(0.25)), Tanh()),
        *(Linear(5, 5, weight_init=init.Sparse(0.4, std=0.5), bias_init=init.Ones()), Tanh()),
        *(Linear(5, 4, weight_init=init.Masked(init.Normal(), below=0.5)), Linear(4, 3, weight_init=init.Eye())),
    ),
}

# These take tokens.
LANGUAGE: dict[str, Layer] = {
    "a decoder deep inside": Block(
        {
            "front": Block({"embedding": Embedding(6, 3)}),
            "body": Sequential(Linear(3, 3), Block({"head": Decoder("front.embedding", bias=True)})),
        }
    ),
    "a decoder called before its embedding is": Block(
        {"embedding": Embedding(6, 3), "out": Decoder("embedding"), "front": Block({"tokens": Shared("embedding")})},
        calls=("front", "out"),
    ),
    "two decoders and a shared one": Block(
        {
            "embedding": Embedding(6, 3),
            "one": Decoder("embedding", bias=True),
            "back": Linear(6, 3),
            "two": Decoder("embedding"),
            "again": Shared("one"),
        },
        calls=("embedding", "one", "back", "two", "back", "again"),
    ),
}

SPECS: dict[str, Layer] = {**{name: model.resolved for name, model in MODELS.items()}, **STRUCTURES, **LANGUAGE}


def inputs_of(name: str, dtype: str = "float32") -> tuple[np.ndarray, ...]:
    """Neutral inputs for the spec of that name."""
    if name in MODELS:
        return MODELS[name].inputs(dtype=dtype)
    random = np.random.default_rng(7)
    if name in LANGUAGE:
        return (random.integers(0, 6, (2, 4), np.int32),)
    return (random.normal(size=(2, 3)).astype(np.float32).astype(dtype),)


def evaluate(spec: Layer, weights: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The output of a spec by its definition, in NumPy, with the owners' weights by path."""
    references = References(spec)

    def through(path: str, layer: Layer, x: np.ndarray) -> np.ndarray:
        if isinstance(layer, Shared):
            owner = references.resolve(path, layer.of)
            return through(owner, references.nodes[owner], x)
        if isinstance(layer, (Sequential, Block)):
            named = dict(layer.children())
            for name in layer.program.calls if isinstance(layer, Block) else named:
                x = through(join(path, name), named[name], x)
            return x
        if isinstance(layer, Decoder):
            x = x @ weights[join(references.resolve(path, layer.of), "weight")].T
            return x + weights[join(path, "bias")] if layer.bias else x
        own = {name: weights[join(path, name)] for name in ("weight", "bias") if join(path, name) in weights}
        return _leaf(layer, own, x)

    return through("", spec, x)


def _leaf(layer: Layer, own: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    match layer:
        case Linear():
            return x @ own["weight"].T + own.get("bias", 0)
        case FixedLinear(shift=shift):
            return x @ own["weight"].T + shift
        case Embedding():
            return own["weight"][x]
        case GELU(approximate="none"):
            return x * (1 + erf(x / math.sqrt(2))) / 2
        case GELU():
            return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        case LeakyReLU(slope=slope):
            return np.where(x > 0, x, slope * x)
        case Halve(limit=limit):
            while np.abs(x).sum() > limit:
                x = x / 2
            return x
        case Flatten():
            return x.reshape(len(x), -1)
    functions = {
        **{"ReLU": lambda x: np.maximum(x, 0), "Tanh": np.tanh, "Sigmoid": expit, "SiLU": lambda x: x * expit(x)},
        **{"Softplus": lambda x: np.log1p(np.exp(x)), "Dropout": lambda x: x, "Sum": np.sum},
    }
    return functions[layer.kind](x)
