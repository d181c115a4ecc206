"""Programs of which one lacks tensors, or reads them otherwise, and differs: what has no partner, and the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen

import paritree
from paritree import AlignmentError, Pair
from paritree.migration.align.errors import AlignmentError as Refusal

D, HEADS, WORDS = 8, 2, 11
IDS = np.random.default_rng(0).integers(0, WORDS, (2, 5)).astype(np.int32)


class Block(torch.nn.Module):
    def __init__(self, packed: bool, hidden: int) -> None:
        super().__init__()
        self.norm, self.packed = torch.nn.LayerNorm(D), packed
        if packed:
            self.qkv = torch.nn.Linear(D, 3 * D)
        else:
            self.q, self.k, self.v = (torch.nn.Linear(D, D) for _ in range(3))
        self.proj, self.up, self.down = torch.nn.Linear(D, D), torch.nn.Linear(D, hidden), torch.nn.Linear(hidden, D)

    def forward(self, x: Any) -> Any:
        h = self.norm(x)
        parts = self.qkv(h).chunk(3, -1) if self.packed else (self.q(h), self.k(h), self.v(h))
        q, k, v = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in parts)
        weights = torch.softmax(q @ k.transpose(-1, -2) * 0.5, -1)
        x = x + self.proj((weights @ v).transpose(1, 2).flatten(2))
        return x + self.down(torch.nn.functional.silu(self.up(x)))


class Reference(torch.nn.Module):
    def __init__(self, layers: int = 2, packed: bool = True, hidden: int = 4 * D, words: int = WORDS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(words, D)
        self.blocks = torch.nn.ModuleList(Block(packed, hidden) for _ in range(layers))
        self.norm, self.head = torch.nn.LayerNorm(D), torch.nn.Linear(D, words, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Any) -> Any:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class PortBlock(linen.Module):
    act: Callable[[Any], Any]

    @linen.compact
    def __call__(self, x: Any) -> Any:
        h = linen.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="ln")(x)
        parts = (linen.Dense(D, name=name)(h) for name in ("query", "key", "value"))
        q, k, v = (each.reshape(*each.shape[:2], HEADS, -1) for each in parts)
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * 0.5)
        x = x + linen.Dense(D, name="out")(jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape))
        return x + linen.Dense(D, name="back")(self.act(linen.Dense(4 * D, name="wide")(x)))


class Port(linen.Module):
    act: Callable[[Any], Any] = jax.nn.silu
    tied: bool = True
    ended: bool = True

    @linen.compact
    def __call__(self, ids: Any) -> Any:
        table = linen.Embed(WORDS, D, name="wte")
        x = table(ids)
        for layer in range(2):
            x = PortBlock(self.act if layer else jax.nn.silu, name=f"h_{layer}")(x)
        x = linen.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="ln_f")(x) if self.ended else x
        return table.attend(x) if self.tied else linen.Dense(WORDS, use_bias=False, name="lm_head")(x)


def refused(reference: Reference, port: Port) -> Refusal:
    made = port, port.init(jax.random.key(0), IDS)
    with pytest.raises(AlignmentError) as caught:
        paritree.align(Pair(reference, made, (IDS,)))
    return caught.value


def alone(error: Refusal) -> tuple[list[str], list[str]]:
    assert error.found_map is not None
    return [*error.found_map.unmatched_reference], [*error.found_map.unmatched_port]


def test_beside_packed_projections_and_a_lost_tie_an_activation_has_its_place() -> None:
    error = refused(Reference(), Port(act=jax.nn.relu, tied=False))
    assert alone(error) == ([], [])
    assert error.place is not None
    assert error.place.cause is not None
    assert error.place.cause.text == (
        "of the output of 'blocks.1.up' (Linear) the reference takes SiLU and the port ReLU"
    )


def test_of_a_wider_layer_the_tensors_are_named_and_not_taken_for_several() -> None:
    error = refused(Reference(hidden=2 * D), Port())
    mine = [f"blocks.{layer}.{name}" for layer in (0, 1) for name in ("up.weight", "up.bias", "down.weight")]
    yours = [f"params.h_{layer}.{name}" for layer in (0, 1) for name in ("back.kernel", "wide.bias", "wide.kernel")]
    assert (sorted(alone(error)[0]), sorted(alone(error)[1])) == (sorted(mine), sorted(yours))
    assert "Without a partner are in the reference blocks.0.up.weight (16, 8); blocks.0.up.bias (16,); " in str(error)
    assert "(16, 8): " not in str(error)


def test_a_norm_that_the_port_lacks_is_named_as_a_whole() -> None:
    error = refused(Reference(), Port(ended=False))
    assert alone(error) == (["norm.weight", "norm.bias"], [])
    assert str(error.place).startswith(
        "No module differs by itself: the difference arises between reference 'blocks.1' (Block) = port 'h_1' "
        "(PortBlock), which agrees, and reference 'head' (Linear) = port 'wte' (Embed)."
    )
    assert "the port leaves out a norm, 'native_layer_norm' at test_without_partner.py:" in str(error.place)


def test_of_a_block_that_the_port_lacks_nothing_else_loses_its_partner() -> None:
    error = refused(Reference(layers=3, packed=False), Port())
    mine, yours = alone(error)
    assert yours == []
    assert {path.split(".")[1] for path in mine if path.startswith("blocks")} == {"2"}


def test_outputs_of_another_shape_say_which_tensors_are_on_one_side_only() -> None:
    error = refused(Reference(words=13), Port())
    assert str(error).startswith(
        "port: expected the reference's outputs (2, 5, 13), found (2, 5, 11). Give the pair calls that return the "
        "same. Without a partner are in the reference table.weight (13, 8), and in the port params.wte.embedding "
        "(11, 8)."
    )
    made = Port(), Port().init(jax.random.key(0), IDS)
    report = paritree.check(
        Pair(Reference(words=13), made, (IDS,)), contracts=("names", "forward", "gradients"), devices=("cpu",)
    )
    assert {(each.contract, each.path or each.port_path, each.cause) for each in report.failures} == {
        ("names", "table.weight", "unmatched parameter"),
        ("names", "params.wte.embedding", "unmatched parameter"),
        ("forward", "", "shape"),
    }
