"""Programs that choose among what rounding alone may tell apart: a right port is green at every seed."""

from __future__ import annotations

import pytest

import paritree

from .choices import KINDS, pair

SEEDS = 10


@pytest.mark.parametrize("wing", ["nnx", "linen"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_right_port_is_green(kind: str, wing: str) -> None:
    paritree.check(pair(kind, wing, 0)).raise_for_failure()


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(1, SEEDS))
@pytest.mark.parametrize("wing", ["nnx", "linen"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_right_port_is_green_at_every_seed(kind: str, wing: str, seed: int) -> None:
    paritree.check(pair(kind, wing, seed)).raise_for_failure()
