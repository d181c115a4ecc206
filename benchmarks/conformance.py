"""Checking a pair: the contracts that need no more than a pass, against one bare pass of each side.

Compilation is left aside: both sides are made ready, and were run before. A bare pass is one forward and backward pass
of each, with the gradients brought to NumPy, at values that lie ready.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

import numpy as np

import paritree
from paritree import Pair
from paritree.common.models.architectures.gpt2 import GPT2Config, gpt2
from paritree.conformance import Examination, Wanted
from paritree.pairs.comparison import Bound
from paritree.pairs.precision import Setting
from paritree.pairs.side import sides_of
from paritree.pairs.wings import side_wing

from .measure import ratio, row

CONTRACTS = ("names", "shapes", "ties", "forward", "gradients")
PAIRS = 3


def examination(config: GPT2Config, shape: tuple[int, int], port: str) -> Examination:
    """A pair of language models in two wings, with random tokens; its map is that of a tiny one, fitted to the size."""
    tiny = GPT2Config(vocab_size=60, n_positions=16, n_embd=24, n_layer=2, n_head=config.n_head)
    tokens = np.random.default_rng(0).integers(0, tiny.vocab_size, shape)
    found = paritree.align(Pair(*_built(tiny, port), (tokens[:1, :8],)))
    models = _built(config, port)
    shapes = [
        {path: each.array.shape for path, each in side_wing(model).stored_tensors(model).items()} for model in models
    ]
    return Examination(Bound(*sides_of(Pair(*models, (tokens,))), found.fit(*shapes)), Wanted(CONTRACTS, ("cpu",)))


def _built(config: GPT2Config, port: str) -> tuple[Any, Any]:
    return paritree.build(gpt2(config), "torch"), paritree.build(gpt2(config), port, seed=1)


def checked(first: Examination, seeds: count[int]) -> None:
    """All contracts at a seed of its own, so that nothing is kept from before."""
    again = first.again(next(seeds))
    failed = [result for unit in again.units for result in again.results(unit) if result.status == "fail"]
    assert not failed, failed[0].message


def passed(first: Examination) -> None:
    """One forward and backward pass of each side."""
    for side, weights in ((first.bound.reference, first.bound.ours), (first.bound.port, first.bound.theirs)):
        side.probe(weights, Setting())


def main() -> None:
    print(f"contracts {', '.join(CONTRACTS)} over one bare forward and backward pass of each side (<= 3)")
    for port in ("linen", "nnx"):
        first = examination(GPT2Config(), (4, 128), port)
        seeds = count(1)
        checked(first, seeds)
        cost = ratio(partial(checked, first, seeds), partial(passed, first), pairs=PAIRS)
        row(f"GPT-2 small, 4 x 128 tokens, {port}", cost)
