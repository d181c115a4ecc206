"""Initializing a live model by rules: what is drawn, what stays, what is said, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from paritree.common import initializers as init
from paritree.common.errors import InitializerError, PathError
from paritree.common.layers import Decoder, Embedding, FixedLinear, Linear, ReLU
from paritree.common.spec import Block, Layer, Shared
from paritree.common.spec.rules import Rule

from .conftest import assert_same, exactly
from .foreign import STRANGERS


def spec(weight_init: init.Initializer | None = None, bias_init: init.Initializer | None = None) -> Layer:
    """A shared layer, a tied decoder, a buffer, and a kind of layer that occurs once."""
    linear = Linear(4, 4, weight_init=weight_init, bias_init=bias_init)
    block = Block({"a": linear, "relu": ReLU(), "b": linear})
    language = Block({"words": Embedding(5, 4), "out": Decoder("words")})
    return Block({"front": block, "fixed": FixedLinear(4, 4), "again": Shared("front.a"), "language": language})


OWNERS = ("front.a.weight", "front.a.bias", "front.b.weight", "front.b.bias", "language.words.weight")

# The rules, and which parameters they go to, by the value that they set.
CASES: dict[str, tuple[Rule | Iterable[Rule], dict[str, float]]] = {
    "the whole model": (Rule(init.Constant(7)), dict.fromkeys(OWNERS, 7)),
    "a block": (Rule(init.Constant(7), under="front"), dict.fromkeys(OWNERS[:4], 7)),
    "a layer": (Rule(init.Constant(7), under="front.b"), dict.fromkeys(OWNERS[2:4], 7)),
    "a kind of layer": (Rule(init.Constant(7), layer="Embedding"), {OWNERS[4]: 7}),
    "a name": (Rule(init.Constant(7), name="bias"), dict.fromkeys((OWNERS[1], OWNERS[3]), 7)),
    "a kind and a name": (Rule(init.Constant(7), layer="Linear", name="weight"), dict.fromkeys(OWNERS[0:4:2], 7)),
    "one parameter": (Rule(init.Constant(7), under="front.b.bias"), {OWNERS[3]: 7}),
    "an alias, for its owner": (Rule(init.Constant(7), under="again.weight"), {OWNERS[0]: 7}),
    "a tied decoder, for its embedding": (Rule(init.Constant(7), layer="Decoder"), {OWNERS[4]: 7}),
    "later over earlier": (
        [
            Rule(init.Constant(1)),
            Rule(init.Constant(2), name="weight"),
            Rule(init.Constant(3), under="front", name="weight"),
            Rule(init.Constant(4), under="again"),
        ],
        dict(zip(OWNERS, (4, 4, 3, 1, 2), strict=True)),
    ),
    "no rule": ([], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_rules_reach_what_they_name_and_nothing_else(wing: Any, name: str) -> None:
    rules, expected = CASES[name]
    model = wing.build(spec(), seed=1)
    before, ties = wing.weights(model), wing.table(model).ties
    after = wing.initialize(model, (rule for rule in rules) if isinstance(rules, list) else rules)
    changed = {path: np.full_like(before[path], value) for path, value in expected.items()}
    assert_same(wing.weights(after), {**before, **changed})
    assert wing.table(after).ties == ties
    if wing.NAME == "linen":
        assert_same(wing.weights(model), before)
    else:
        assert after is model


@pytest.mark.parametrize("initializer", [init.Xavier("normal"), init.Orthogonal(), init.Sparse(0.5)])
def test_a_rule_draws_what_build_would_have_drawn(wing: Any, initializer: init.Initializer) -> None:
    model = wing.build(spec(), seed=1)
    rules = [Rule(initializer, layer="Linear", name="weight"), Rule(init.Normal(), layer="Linear", name="bias")]
    drawn = wing.weights(wing.initialize(model, rules, seed=5))
    built = wing.weights(wing.build(spec(initializer, init.Normal()), seed=5))
    assert_same({path: drawn[path] for path in OWNERS[:4]}, {path: built[path] for path in OWNERS[:4]})


def test_it_says_what_it_draws_in_the_tables_order(wing: Any) -> None:
    lines: list[str] = []
    rules = [Rule(init.Zeros(), name="bias"), Rule(init.Normal(std=0.02), under="language")]
    wing.initialize(wing.build(spec()), [*rules, Rule(init.Xavier(), under="again.weight")], echo=lines.append)
    assert lines == [
        "front.a.weight (4, 4) <- Xavier(distribution='uniform', gain=1.0)",
        "front.a.bias (4,) <- Zeros()",
        "front.b.bias (4,) <- Zeros()",
        "language.words.weight (5, 4) <- Normal(mean=0.0, std=0.02)",
    ]


ZEROS = Rule(init.Zeros())
REFUSED: dict[str, tuple[Rule, type[Exception], str]] = {
    "a path": (
        Rule(init.Ones(), under="frond"),
        PathError,
        "frond: expected a path of the model for the rule, found none of that name. Did you mean 'front'?",
    ),
    "a kind": (
        Rule(init.Ones(), layer="Linaer"),
        PathError,
        "expected a layer of kind 'Linaer' for the rule, found none. Did you mean 'Linear'?",
    ),
    "a name": (
        Rule(init.Ones(), name="wait", under="front"),
        PathError,
        "front: expected a parameter that the rule matches: "
        "Rule(initializer=Ones(), under='front', layer='', name='wait'), found none. Did you mean 'weight'?",
    ),
    "a buffer": (
        Rule(init.Ones(), under="fixed"),
        PathError,
        "fixed: expected a parameter that the rule matches: "
        "Rule(initializer=Ones(), under='fixed', layer='', name=''), found buffers only. "
        "Rules are for parameters, not for buffers.",
    ),
    "a shape": (
        Rule(init.Orthogonal(), under="front"),
        InitializerError,
        "front.a.bias: expected a shape of at least 2 dimensions, none of them 0, for Orthogonal, found shape (4,).",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_bad_rule_and_nothing_is_drawn(wing: Any, name: str) -> None:
    rule, error, text = REFUSED[name]
    model = wing.build(spec())
    before, lines = wing.weights(model), []
    with pytest.raises(error, match=exactly(text)):
        wing.initialize(model, [ZEROS, rule], echo=lines.append)
    assert_same(wing.weights(model), before)
    assert lines == []


@pytest.mark.parametrize("name", STRANGERS)
def test_a_model_that_was_not_built_here(name: str) -> None:
    from paritree.conformance import load_wing

    stranger = STRANGERS[name]
    wing, model = load_wing(stranger.wing), stranger.make("float32")
    before = wing.weights(model)
    path = stranger.names["W2"].path
    after = wing.weights(wing.initialize(model, Rule(init.Constant(0.5), under=path)))
    assert_same(after, {**before, path: np.full(before[path].shape, 0.5, dtype=np.float32)})
    if wing.table(model)[path].layout.is_known:
        after = wing.weights(wing.initialize(model, Rule(init.Eye(), under=path)))
        assert_same(after, {**before, path: np.eye(*before[path].shape, dtype=np.float32)})
