"""Rules that a person gives: what they assign, and every way in which they are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import paritree
from paritree import AlignmentError, Pair
from paritree.migration.align.user_rules import paths_by
from paritree.pairs.side import Side, sides_of

from . import ports


def nameless(rules: dict[str, str]) -> Any:
    pair = Pair(ports.LanguageModel(key_bias=True), ports.port(key_bias=True), (ports.TOKENS,))
    return paritree.align(pair, rules=rules)


def test_a_rule_settles_what_nothing_measured_tells_and_the_rest_follows() -> None:
    found = nameless({"layers.1.key.bias": "params.t73"})
    assert (found.verified, found.coverage) == (True, 1.0)
    by_path = {row.reference: (row.port, row.evidence) for row in found.rows}
    assert by_path["layers.1.key.bias"] == ("params.t73", "rule")
    assert by_path["layers.0.key.bias"] == ("params.t89", "sibling")
    assert {evidence for path, (_, evidence) in by_path.items() if "key.bias" not in path} == {"fingerprint"}


def test_a_rule_that_the_measurement_contradicts_is_refused() -> None:
    with pytest.raises(AlignmentError) as caught:
        nameless(
            {"layers.0.query.weight": "params.t95", "layers.0.value.weight": "params.t94", "norm.bias": "params.t99"}
        )
    assert str(caught.value) == (
        "rules: expected rules that the measurement allows, found layers.0.query.weight cannot be params.t95: its "
        "gradient is that of params.t96; norm.bias cannot be params.t99: their shapes are (8,) and (12, 8). Drop or "
        "mend these rules."
    )


def no_call(tree: Any, inputs: Any) -> Any:
    raise AssertionError("never run")


@contextmanager
def sides(reference: tuple[str, ...], port: tuple[str, ...]) -> Iterator[tuple[Side, Side]]:
    """Sides whose tensors have these paths, of two components each; they are not run."""
    trees: list[Any] = [{}, {}]
    for tree, paths in zip(trees, (reference, port), strict=True):
        for path in paths:
            module, name = path.rsplit(".", 1)
            tree.setdefault(module, {})[name] = np.ones(3, np.float32)
    pair = Pair(*trees, (np.ones(3),), no_call, no_call)
    yield sides_of(pair)


REFERENCE = ("layer0.bias", "layer1.bias", "layer1.weight", "layer12.bias")
PORT = ("block_0.b2", "block_1.b2", "block_1.w", "block_12.b2")


def read(rules: dict[str, str]) -> dict[str, str]:
    with sides(REFERENCE, PORT) as (ours, theirs):
        return paths_by(rules, ours, theirs)


def test_names_in_braces_stand_for_the_same_part_on_both_sides() -> None:
    assert read({"layer{i}.bias": "block_{i}.b2"}) == {
        "layer0.bias": "block_0.b2",
        "layer1.bias": "block_1.b2",
        "layer12.bias": "block_12.b2",
    }
    assert read({"layer{i}.{kind}": "block_{i}.b2"} | {"layer1.weight": "block_1.b2"})["layer1.weight"] == "block_1.b2"
    assert read({"{any}1.bias": "block_1.b2"}) == {"layer1.bias": "block_1.b2"}


def test_a_name_that_is_there_twice_stands_for_one_text() -> None:
    with sides(("a0.b0", "a0.b1", "a1.b1"), ("c0.d", "c1.d")) as (ours, theirs):
        assert paths_by({"a{i}.b{i}": "c{i}.d"}, ours, theirs) == {"a0.b0": "c0.d", "a1.b1": "c1.d"}


def test_no_rules_are_none_and_two_that_agree_are_one() -> None:
    assert read({}) == {}
    assert read({"layer0.bias": "block_0.b2", "layer{i}.bias": "block_{i}.b2"})["layer0.bias"] == "block_0.b2"


def test_a_dot_is_a_dot() -> None:
    assert refused({"layer0xbias": "block_0.b2"}).startswith("rules: layer0xbias: expected a path of the reference")


def refused(rules: dict[str, str]) -> str:
    with pytest.raises(AlignmentError) as caught:
        read(rules)
    return str(caught.value)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (
            {"layer0.bais": "block_0.b2"},
            "rules: layer0.bais: expected a path of the reference, found none of the name 'layer0.bais'. "
            "Did you mean 'layer0.bias'?",
        ),
        (
            {"layer0.bias": "block_0.b1"},
            "rules: layer0.bias: expected a path of the port, found none of the name 'block_0.b1'. "
            "Did you mean 'block_0.b2'?",
        ),
        (
            {"layer{i}.bias": "block_{i}.c2"},
            "rules: layer{i}.bias: expected a path of the port, found none of the name 'block_0.c2'. "
            "Did you mean 'block_0.b2'?",
        ),
        (
            {"layer{i}.bias": "block_{j}.b2"},
            "rules: layer{i}.bias: expected names that the left side has (i), found {j}.",
        ),
        (
            {"layer0.bias": "block_{j}.b2"},
            "rules: layer0.bias: expected names that the left side has (none), found {j}.",
        ),
        (
            {"layer{i}.bias": "block_{i}.b2", "layer1.bias": "block_1.w"},
            "rules: layer1.bias: expected one partner for layer1.bias, found block_1.b2 and block_1.w. "
            "Drop one of the rules.",
        ),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(rules: dict[str, str], text: str) -> None:
    assert refused(rules) == text


def test_two_of_the_reference_for_one_of_the_port_are_refused() -> None:
    with pytest.raises(AlignmentError) as caught:
        nameless({"layers.{i}.key.bias": "params.t89"})
    assert str(caught.value) == (
        "rules: expected rules that the measurement allows, found layers.1.key.bias cannot be params.t89: "
        "that is layers.0.key.bias, by rule. Drop or mend these rules."
    )
