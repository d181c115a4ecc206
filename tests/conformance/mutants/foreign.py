"""Right pairs of which the port is somebody else's, or made of a framework's own layers: not written for checks.

Attentions with biases of the two frameworks, padding tokens, a tie that one side alone has, rotations in both orders, a
batch norm with the difference that the frameworks have, and twins that transformers ships.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import torch
from flax import linen, nnx

from paritree import KnownDifference, Pair

from ... import attention
from ...attention import Way, linen_model, nnx_model, torch_model
from .frame import Clean, Mutant

BATCH, PLACES, WIDTH, HEADS, WORDS = 8, 5, 8, 2, 11
X = np.random.default_rng(0).normal(size=(2, PLACES, WIDTH)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(BATCH, WIDTH)).astype(np.float32)
TOKENS = np.array([[2, 3, 1, 4, 7], [5, 0, 2, 1, 1]], np.int32)


def drawn(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model in inference mode, none of whose vectors is a constant."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for array in (*model.parameters(), *model.buffers()):
            if array.is_floating_point():
                array.copy_(torch.rand(array.shape, generator=random) + 0.5 if array.ndim < 2 else array)
    return model.eval()


def _of_itself(model: Any, inputs: Any) -> Any:
    return model(inputs[0], inputs[0], inputs[0])[0]


def heads_of_nnx() -> Pair:
    reference = drawn(torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    port = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=nnx.Rngs(1))
    return Pair(reference, port, (X,), reference_call=_of_itself, port_call=lambda model, inputs: model(inputs[0]))


def heads_of_linen() -> Pair:
    reference = drawn(torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    module = linen.MultiHeadDotProductAttention(HEADS)
    return Pair(reference, (module, module.init(jax.random.key(0), X)), (X,), reference_call=_of_itself)


def rotated(make: Callable[..., Any], other: Callable[..., Any]) -> Pair:
    return Pair(make(Way("halves"), True), other(Way("pairs"), True), (attention.IDS,))


class Padded(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word, self.fc = torch.nn.Embedding(WORDS, WIDTH, padding_idx=1), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.word(tokens)))


class NnxPadded(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.word, self.fc = nnx.Embed(WORDS, WIDTH, rngs=rngs), nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        rows = self.word(tokens)
        rows = jax.numpy.where((tokens == 1)[..., None], jax.lax.stop_gradient(rows), rows)
        return self.fc(jax.numpy.tanh(rows))


def padded() -> Pair:
    return Pair(drawn(Padded()), NnxPadded(nnx.Rngs(0)), (TOKENS,))


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body = torch.nn.Embedding(WORDS, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.head = torch.nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(self.embed(tokens))))


class NnxCopies(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed, self.body = nnx.Embed(WORDS, WIDTH, rngs=rngs), nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, WORDS, use_bias=False, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.head(jax.numpy.tanh(self.body(self.embed(tokens))))


def tied_on_one_side() -> Pair:
    return Pair(drawn(Tied()), NnxCopies(nnx.Rngs(0)), (TOKENS,))


class Normed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = torch.nn.Linear(WIDTH, WIDTH), torch.nn.BatchNorm1d(WIDTH)
        self.last = torch.nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.norm(self.first(x))))


class NnxNormed(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.norm = nnx.Linear(WIDTH, WIDTH, rngs=rngs), nnx.BatchNorm(WIDTH, momentum=0.9, rngs=rngs)
        self.last = nnx.Linear(WIDTH, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(jax.numpy.tanh(self.norm(self.first(x))))


def normed() -> Pair:
    return Pair(drawn(Normed()), NnxNormed(nnx.Rngs(0)), (ROWS,))


def twin(name: str) -> Pair:
    from ...migration import twins

    return twins.build(name).pair


_BIASED = "Flax's running variance is the biased one"
_UNTIED = "the port keeps copies of what the reference ties"

CLEAN = [
    Clean("torch's heads as nnx's", heads_of_nnx, is_drawn_alike=False),
    Clean("torch's heads as linen's", heads_of_linen, is_drawn_alike=False),
    Clean("rotated halves as pairs, nnx", partial(rotated, torch_model, nnx_model), is_drawn_alike=False),
    Clean("rotated halves as pairs, linen", partial(rotated, torch_model, linen_model), is_drawn_alike=False),
    Clean("rotated halves as pairs, torch", partial(rotated, nnx_model, torch_model), is_drawn_alike=False),
    Clean("padding tokens", padded, is_drawn_alike=False),
    Clean(
        "tied on one side",
        tied_on_one_side,
        is_drawn_alike=False,
        declared=(KnownDifference("ties", "embed.weight", _UNTIED),),
    ),
    Clean(
        "batch norms of the frameworks",
        normed,
        is_drawn_alike=False,
        declared=tuple(
            KnownDifference(contract, "norm.running_var", _BIASED, precision="float32")
            for contract in ("modes", "training")
        ),
    ),
    *(Clean(f"transformers' {name}", partial(twin, name), is_drawn_alike=False) for name in ("gpt2", "bert", "opt")),
]
MUTANTS: list[Mutant] = []
