"""The likely map of programs that differ: nothing is proved by it, and it names the partners all the same."""

from __future__ import annotations

from typing import Any

import pytest

import paritree
from paritree import AlignmentError, Map

from . import small

NAMES = {
    "norm.weight": "gain",
    "norm.bias": "shift",
    "query.weight": "qw",
    "query.bias": "qb",
    "key.weight": "kw",
    "value.weight": "vw",
    "value.bias": "vb",
    "out.weight": "ow",
    "out.bias": "ob",
}
TRUTH = {
    (f"layers.{layer}.{ours}", f"block{layer}.{theirs}")
    for layer in range(small.LAYERS)
    for ours, theirs in NAMES.items()
}


def likely(**faults: Any) -> Map:
    with pytest.raises(AlignmentError) as caught:
        paritree.align(small.pair(**faults))
    assert caught.value.found_map is not None
    return caught.value.found_map


def test_a_small_difference_leaves_every_partner_known() -> None:
    found = likely(scale=0.5)
    assert {(row.reference, row.port) for row in found.rows} == TRUTH
    assert {row.layout for row in found.rows if len(row.shape) == 2} == {"a b -> b a"}
    assert {row.evidence for row in found.rows} == {"name"}
    assert not found.verified


def test_a_large_difference_leaves_most_of_them_known() -> None:
    found = likely(no_residual=True)
    assert len({(row.reference, row.port) for row in found.rows} & TRUTH) >= 0.75 * len(TRUTH)
    assert not found.verified
