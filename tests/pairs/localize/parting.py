"""A small encoder and a small image model in torch, ports of them to Linen and NNX, and one place for each fault.

The ports are one program, written for both kinds of Flax by a maker of layers; their names say nothing of the
reference's. Whatever differs is planted by the fields of `Faults`, on the port's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from paritree.common.wing.recognition import name_of
from paritree.conformance import load_wing
from paritree.pairs.maps import Map, MapRow

WIDTH, HEADS, WORDS, KINDS = 8, 2, 11, 3


def exact_gelu(x: Any) -> Any:
    return jax.nn.gelu(x, approximate=False)


@dataclass(frozen=True)
class Faults:
    """What the port does otherwise than the reference, nothing by default."""

    epsilons: tuple[float, float] = (1e-5, 1e-5)
    act: Callable[[Any], Any] = exact_gelu
    scale: float = 1 / math.sqrt(WIDTH // HEADS)
    heads: int = HEADS
    causal: bool = False
    ignores_mask: bool = False
    kind: int = 0
    embedding_scale: float = 1.0
    norm_first: bool = False
    rms: bool = False
    no_residual: bool = False
    dropout: bool = False
    swapped: bool = False
    wave: float = 0.0
    # Of the image model.
    padding: str = "zeros"
    batch_statistics: bool = False
    bias: bool = True
    overflows: bool = False
    logit_scale: float = 1.0


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.value, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        parts = [each(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)]
        scores = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        scores = scores.masked_fill(shown[:, None, None] == 0, -1e9)
        return self.out((scores.softmax(-1) @ parts[2]).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.norm1 = Attention(), nn.LayerNorm(WIDTH)
        self.up, self.down, self.norm2 = nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attention(x, shown))
        return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(WORDS, WIDTH), nn.Embedding(KINDS, WIDTH)
        self.encoder = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, tokens: torch.Tensor, shown: torch.Tensor, kinds: torch.Tensor | None = None) -> torch.Tensor:
        x = self.words(tokens) + self.kinds(torch.zeros_like(tokens) if kinds is None else kinds)
        for block in self.encoder:
            x = block(x, shown)
        return self.head(x)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.second, self.head = nn.Conv2d(4, 6, 3, padding=1), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.act(self.norm(self.conv(x))))
        return self.head(x.mean((2, 3)))


def attend(faults: Faults, query: Any, key: Any, value: Any, shown: Any) -> Any:
    parts = [
        each.reshape(*each.shape[:2], faults.heads, -1).swapaxes(1, 2)
        for each in ((key, query, value) if faults.swapped else (query, key, value))
    ]
    scores = parts[0] @ parts[1].swapaxes(-1, -2) * faults.scale
    if not faults.ignores_mask:
        scores = jnp.where(shown[:, None, None] == 0, -1e9, scores)
    if faults.causal:
        scores = jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -1e9)
    mixed = (jax.nn.softmax(scores) @ parts[2]).swapaxes(1, 2)
    return mixed.reshape(*mixed.shape[:2], -1)


def joined(faults: Faults, x: Any, y: Any, norm: Callable[[Any], Any]) -> Any:
    """A residual and what goes around it, normalized as the faults say."""
    if faults.norm_first:
        return x + norm(y)
    return norm(y if faults.no_residual else x + y)


def run_block(faults: Faults, of: Any, x: Any, shown: Any) -> Any:
    x = joined(faults, x, of.a(x, shown), of.n_a)
    inner = faults.act(of.u(x)) + faults.wave * jnp.sin(3 * x).sum(-1, keepdims=True)
    if faults.dropout:
        kept = jax.random.bernoulli(jax.random.key(0), 0.75, inner.shape)
        inner = jnp.where(kept, inner / 0.75, 0)
    y = of.d(inner)
    return of.n_b(x + y)


def run_encoder(faults: Faults, of: Any, tokens: Any, shown: Any) -> Any:
    x = of.w(tokens) * faults.embedding_scale + of.k(jnp.full_like(tokens, faults.kind))
    return of.z(of.e_1(of.e_0(x, shown), shown))


def run_images(faults: Faults, of: Any, x: Any) -> Any:
    x = of.c(x.transpose(0, 2, 3, 1))
    x = jax.nn.relu(of.b(x))
    x = of.s(x)
    x = x * jnp.inf if faults.overflows else x
    return of.z(x.mean((1, 2))) * faults.logit_scale


class LinenAttention(linen.Module):
    faults: Faults

    def setup(self) -> None:
        self.p, self.q, self.r, self.t = (linen.Dense(WIDTH) for _ in range(4))

    def __call__(self, x: Any, shown: Any) -> Any:
        return self.t(attend(self.faults, self.p(x), self.q(x), self.r(x), shown))


class LinenBlock(linen.Module):
    faults: Faults

    def setup(self) -> None:
        norm = linen.RMSNorm if self.faults.rms else linen.LayerNorm
        self.a = LinenAttention(self.faults)
        self.n_a = norm(epsilon=self.faults.epsilons[0])
        self.u, self.d = linen.Dense(16), linen.Dense(WIDTH)
        self.n_b = linen.LayerNorm(epsilon=self.faults.epsilons[1])

    def __call__(self, x: Any, shown: Any) -> Any:
        return run_block(self.faults, self, x, shown)


class LinenEncoder(linen.Module):
    faults: Faults

    def setup(self) -> None:
        self.w, self.k = linen.Embed(WORDS, WIDTH), linen.Embed(KINDS, WIDTH)
        # The second block alone has the faults.
        self.e_0, self.e_1, self.z = LinenBlock(Faults()), LinenBlock(self.faults), linen.Dense(WORDS)

    def __call__(self, tokens: Any, shown: Any) -> Any:
        return run_encoder(self.faults, self, tokens, shown)


class LinenImages(linen.Module):
    faults: Faults

    def setup(self) -> None:
        padding = "CIRCULAR" if self.faults.padding == "circular" else "SAME"
        self.c = linen.Conv(4, (3, 3), padding=padding)
        self.b = linen.BatchNorm(not self.faults.batch_statistics, epsilon=1e-5)
        self.s = linen.Conv(6, (3, 3), use_bias=self.faults.bias)
        self.z = linen.Dense(5)

    def __call__(self, x: Any) -> Any:
        return run_images(self.faults, self, x)


class NnxAttention(nnx.Module):
    def __init__(self, faults: Faults, rngs: nnx.Rngs) -> None:
        self.faults = faults
        self.p, self.q, self.r, self.t = (nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(4))

    def __call__(self, x: Any, shown: Any) -> Any:
        return self.t(attend(self.faults, self.p(x), self.q(x), self.r(x), shown))


class NnxBlock(nnx.Module):
    def __init__(self, faults: Faults, rngs: nnx.Rngs) -> None:
        self.faults = faults
        norm = nnx.RMSNorm if faults.rms else nnx.LayerNorm
        self.a = NnxAttention(faults, rngs)
        self.n_a = norm(WIDTH, epsilon=faults.epsilons[0], rngs=rngs)
        self.u, self.d = nnx.Linear(WIDTH, 16, rngs=rngs), nnx.Linear(16, WIDTH, rngs=rngs)
        self.n_b = nnx.LayerNorm(WIDTH, epsilon=faults.epsilons[1], rngs=rngs)

    def __call__(self, x: Any, shown: Any) -> Any:
        return run_block(self.faults, self, x, shown)


class NnxEncoder(nnx.Module):
    def __init__(self, faults: Faults, rngs: nnx.Rngs) -> None:
        self.faults = faults
        self.w, self.k = nnx.Embed(WORDS, WIDTH, rngs=rngs), nnx.Embed(KINDS, WIDTH, rngs=rngs)
        self.e_0, self.e_1 = NnxBlock(Faults(), rngs), NnxBlock(faults, rngs)
        self.z = nnx.Linear(WIDTH, WORDS, rngs=rngs)

    def __call__(self, tokens: Any, shown: Any) -> Any:
        return run_encoder(self.faults, self, tokens, shown)


class NnxImages(nnx.Module):
    def __init__(self, faults: Faults, rngs: nnx.Rngs) -> None:
        self.faults = faults
        padding = "CIRCULAR" if faults.padding == "circular" else "SAME"
        self.c = nnx.Conv(3, 4, (3, 3), padding=padding, rngs=rngs)
        self.b = nnx.BatchNorm(4, epsilon=1e-5, rngs=rngs)
        self.s, self.z = nnx.Conv(4, 6, (3, 3), use_bias=faults.bias, rngs=rngs), nnx.Linear(6, 5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        if self.faults.batch_statistics:
            self.b.use_running_average = False
        return run_images(self.faults, self, x)


TOKENS = np.random.default_rng(0).integers(0, WORDS, (3, 6)).astype(np.int32)
SHOWN = np.array([[1] * 6, [1] * 4 + [0] * 2, [1] * 6], np.int32)
PIXELS = np.random.default_rng(1).normal(size=(4, 3, 8, 8)).astype(np.float32)
INPUTS: dict[type, tuple[np.ndarray, ...]] = {Encoder: (TOKENS, SHOWN), Images: (PIXELS,)}


def apply(model: Any, inputs: Any) -> Any:
    """The call of a Linen port, which may write to its statistics."""
    return model[0].apply(model[1], *inputs, mutable=["batch_stats"])[0]


PORTS: dict[tuple[type, str], Any] = {
    (Encoder, "linen"): LinenEncoder,
    (Encoder, "nnx"): NnxEncoder,
    (Images, "linen"): LinenImages,
    (Images, "nnx"): NnxImages,
}
# The module of the port for each of the reference.
MODULES = {
    "words": "w",
    "kinds": "k",
    "head": "z",
    "conv": "c",
    "norm": "b",
    "second": "s",
    **{
        f"encoder.{number}.{one}": f"e_{number}.{other}"
        for number in range(2)
        for one, other in {
            "attention.query": "a.p",
            "attention.key": "a.q",
            "attention.value": "a.r",
            "attention.out": "a.t",
            "norm1": "n_a",
            "up": "u",
            "down": "d",
            "norm2": "n_b",
        }.items()
    },
}


def built(model: type, wing: str, faults: Faults) -> Any:
    made = PORTS[model, wing]
    if wing == "nnx":
        return made(faults, rngs=nnx.Rngs(0))
    module = made(faults)
    # Of the right shapes, and drawn by nobody: each run has values of its own.
    shapes = jax.eval_shape(module.init, jax.random.key(0), *INPUTS[model])
    return module, jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


def map_between(reference: Any, port: Any) -> Map:
    """The map by the names that are known here, proved by nobody; what has no partner is unmatched."""
    ours, theirs = (
        load_wing(name_of(reference)).stored_tensors(reference),
        load_wing(name_of(port)).stored_tensors(port),
    )
    rows = []
    for path, native in ours.items():
        module, _, name = path.rpartition(".")
        found = [
            other
            for other in theirs
            if other.split(".")[-1] == _leaf(name, native.array.ndim, module)
            and MODULES[module] == ".".join(part for part in other.split(".")[:-1] if part not in _COLLECTIONS)
        ]
        if found:
            shapes = native.array.shape, theirs[found[0]].array.shape
            rows.append(MapRow(path, found[0], *shapes, _layout(native.array.ndim, module), "name"))
    return Map(tuple(rows), (name_of(reference), name_of(port)), _without(ours, rows, 0), _without(theirs, rows, 1))


_COLLECTIONS = ("params", "batch_stats")


def _leaf(name: str, ndim: int, module: str) -> str:
    if name == "weight":
        return "embedding" if module in ("words", "kinds") else "kernel" if ndim > 1 else "scale"
    return {"running_mean": "mean", "running_var": "var"}.get(name, name)


def _layout(ndim: int, module: str) -> str:
    patterns = {1: "a -> a", 2: "a b -> b a", 4: "a b c d -> c d b a"}
    return "a b -> a b" if module in ("words", "kinds") else patterns[ndim]


def _without(stored_tensors: Any, rows: list[MapRow], side: int) -> tuple[str, ...]:
    taken = {(row.reference, row.port)[side] for row in rows}
    return tuple(path for path, native in stored_tensors.items() if path not in taken and native.is_floating)


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 3) -> dict[str, np.ndarray]:
    """Values for every tensor; vectors positive, since one may be a variance."""
    random = np.random.default_rng(seed)
    return {
        path: (random.uniform(0.25, 1.25, shape) if len(shape) < 2 else random.normal(size=shape) * 0.5).astype(
            np.float32
        )
        for path, shape in shapes.items()
    }
