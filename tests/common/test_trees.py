"""One walker of trees: what counts as a node is told to it, and the keys that lead to each leaf come with it."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

from paritree.common.trees import entries, leaves, members, walk


@dataclass
class Held:
    first: object
    second: object


Pairing = namedtuple("Pairing", "left right")
A = np.zeros(2)
TREE = {"a": [1, (2, None)], "b": Held(3, A), "c": Pairing(4, {}), "d": [], 5: Held}


def test_mappings_and_sequences_are_entered_in_their_own_order():
    found = dict(walk(TREE, entries))
    assert list(found) == [("a", 0), ("a", 1, 0), ("a", 1, 1), ("b",), ("c", 0), (5,)]
    assert found["b",] is TREE["b"]


def test_members_are_those_of_dataclasses_and_named_tuples_too():
    found = dict(walk(TREE, members))
    assert list(found) == [
        ("a", 0),
        ("a", 1, 0),
        ("a", 1, 1),
        ("b", "first"),
        ("b", "second"),
        ("c", "left"),
        (5,),
    ]
    assert found["b", "second"] is A
    # A class is no dataclass of its own.
    assert found[5,] is Held


def test_keys_go_on_from_those_given():
    assert list(walk([7], entries, ("x", 1))) == [(("x", 1, 0), 7)]
    assert list(walk(7, entries, ("x",))) == [(("x",), 7)]


@pytest.mark.parametrize(
    ("tree", "place", "expected"),
    [
        ({"a": {"b": 1}, "c": [2, None]}, "", {"a.b": 1, "c.0": 2, "c.1": None}),
        ({"a": {}, "b": ()}, "", {}),
        ({"": {"a": 1}, "b": {"": 2}}, "", {"a": 1, "b.": 2}),
        ([1], "params", {"params.0": 1}),
        (1, "", {"": 1}),
    ],
)
def test_leaves_come_under_their_paths(tree, place, expected):
    assert dict(leaves(tree, place)) == expected
