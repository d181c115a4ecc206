"""What the map of a right pair says beside its rows: names that cross, a factor that is in the weights."""

from __future__ import annotations

import jax
import numpy as np
import torch
from flax import nnx

import paritree
from paritree import Pair

from ...attention import IDS, Way, nnx_model, torch_model


class Gated(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = torch.nn.Linear(4, 6, bias=False), torch.nn.Linear(4, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.silu(self.gate_proj(x)) * self.up_proj(x)


class Port(nnx.Module):
    """`up` goes through the activation, where `gate` should."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.gate, self.up = nnx.Linear(4, 6, use_bias=False, rngs=rngs), nnx.Linear(4, 6, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.silu(self.up(x)) * self.gate(x)


def test_a_proved_map_that_crosses_names_says_so() -> None:
    torch.manual_seed(0)
    pair = Pair(Gated(), Port(nnx.Rngs(0)), (np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),))
    found = paritree.align(pair)
    assert found.verified
    (note,) = found.notes
    assert note.startswith(
        "the map crosses names that both sides have: gate_proj.weight is up.kernel and up_proj.weight"
    )
    assert f"note: {note}"[:60] in str(paritree.check(pair, found, contracts=("forward",), devices=("cpu",)))


def test_a_map_with_a_factor_says_so() -> None:
    found = paritree.align(Pair(torch_model(Way()), nnx_model(Way(scale=1.0)), (IDS,)))
    (note,) = found.notes
    assert note.startswith("the port holds x / 2.449489742783178 of layers.0.q_proj.weight in layers.0.query.kernel")
    assert "If that was not meant, mend the program and align again" in note
