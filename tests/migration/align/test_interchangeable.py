"""Branches that are added: either may be the first, with all of its tensors."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest
import torch
from torch import nn

import paritree
from paritree import AlignmentError, Pair

from .packed.case import filled, sequences, tree_port

WIDTH, BRANCHES = 5, ("z", "y", "x")


class Branches(nn.Module):
    """Two blocks, each the sum of three of the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)) for _ in BRANCHES)
            for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = sum((branch(x) for branch in block), x)
        return x


def call(tree: Any, given: Any) -> Any:
    (x,) = given
    for block in tree.values():
        x = x + sum(jnp.tanh(x @ each["w"] + each["b"]) @ each["v"] + each["c"] for each in block.values())
    return x


def faulty(tree: Any, given: Any) -> Any:
    """Two branches of the last block leave by the same kernel."""
    last = tree["second"] | {"y": tree["second"]["y"] | {"v": tree["second"]["z"]["v"]}}
    return call(tree | {"second": last}, given)


def tree() -> Any:
    matrices, vectors = dict.fromkeys("wv", (WIDTH, WIDTH)), dict.fromkeys("bc", (WIDTH,))
    return tree_port({block: {branch: matrices | vectors for branch in BRANCHES} for block in ("first", "second")})


@pytest.mark.parametrize("is_reference", [False, True])
def test_each_branch_keeps_its_tensors(is_reference: bool) -> None:
    model, inputs = filled(Branches()), (sequences(WIDTH),)
    if is_reference:
        found = paritree.align(Pair(tree(), model, inputs, reference_call=lambda tree, given: call(tree, given)))
        found = found.inverse()
    else:
        found = paritree.align(Pair(model, tree(), inputs, port_call=lambda tree, given: call(tree, given)))
    assert found.coverage == 1.0
    # The bias at the end is that of any branch.
    rows = [row for row in found.rows if not row.reference.endswith("2.bias")]
    branches = {(row.reference.rsplit(".", 2)[0], row.port.rsplit(".", 1)[0]) for row in rows}
    assert len(branches) == 2 * len(BRANCHES)


def test_a_kernel_that_two_branches_share_is_refused() -> None:
    pair = Pair(filled(Branches()), tree(), (sequences(WIDTH),), port_call=lambda tree, given: faulty(tree, given))
    with pytest.raises(AlignmentError):
        paritree.align(pair)
