"""Ties: an owner, its aliases, and what cannot be tied."""

from __future__ import annotations

import pytest

from paritree.common.errors import TieError
from paritree.common.ties import Tie, TieGroup, check_tie, group

from .conftest import refused


def test_ties_are_gathered_by_owner_in_order_of_first_appearance():
    ties = [Tie("2.weight", "4.weight"), Tie("0.weight", "5.weight"), Tie("2.weight", "6.weight")]
    groups = group(iter(ties))
    assert groups == (TieGroup("2.weight", (ties[0], ties[2])), TieGroup("0.weight", (ties[1],)))
    assert [found.paths for found in groups] == [("2.weight", "4.weight", "6.weight"), ("0.weight", "5.weight")]
    assert group(()) == ()


def test_a_tie_reads_as_its_owner():
    assert str(Tie("2.weight", "4.weight")) == "2.weight"


@pytest.mark.parametrize(
    ("tie", "owner", "alias"),
    [
        (Tie("a", "b"), (8, 4), (8, 4)),
        (Tie("a", "b"), (), ()),
    ],
)
def test_equal_shapes_can_be_tied(tie, owner, alias):
    check_tie(tie, {"a": owner, "b": alias})


NO_FIT = "b: expected the shape {} of its owner 'a', found {}. Only parameters of one shape can be tied."


@pytest.mark.parametrize(
    ("tie", "owner", "alias", "text"),
    [
        (Tie("a", "b"), (8, 4), (4, 8), NO_FIT.format("(8, 4)", "(4, 8)")),
        (Tie("a", "b"), (8,), (8, 1), NO_FIT.format("(8,)", "(8, 1)")),
        (
            Tie("b", "b"),
            (8, 4),
            (8, 4),
            "b: expected another path as the owner, found the alias itself. Name two different paths.",
        ),
    ],
)
def test_a_tie_that_cannot_hold_is_refused(tie, owner, alias, text):
    with refused(TieError, text):
        check_tie(tie, {"a": owner, "b": alias})
