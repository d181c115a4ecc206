"""Collections: told by what stands below them, whatever they are called."""

from __future__ import annotations

import pytest

from paritree.pairs.collections import collections

PARAMETERS = {"p.norm.scale": (8,), "p.norm.bias": (8,), "p.conv.kernel": (3, 3, 3, 8), "p.deep.norm.scale": (4,)}


def test_running_averages_beside_the_parameters_of_their_norms() -> None:
    assert collections(PARAMETERS | {"s.norm.mean": (8,), "s.norm.var": (8,)}) == {"p", "s"}
    assert collections(PARAMETERS | {"s.norm.mean": (8,), "s.deep.norm.mean": (4,)}) == {"p", "s"}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({}, id="nothing beside"),
        pytest.param({"s.norm.scale": (8,), "s.norm.bias": (8,)}, id="an encoder and a decoder"),
        pytest.param({"s.norm.mean": (4,)}, id="another shape"),
        pytest.param({"s.norm.mean": (8,), "s.other.mean": (8,)}, id="a module of its own"),
        pytest.param({"mean": (8,), "var": (8,)}, id="tensors at the top"),
    ],
)
def test_other_trees_have_none(other: dict[str, tuple[int, ...]]) -> None:
    assert collections(PARAMETERS | other) == frozenset()


def test_two_modules_at_the_top_are_two_modules() -> None:
    assert collections({"gain.scale": (8,), "shift.bias": (8,)}) == frozenset()
