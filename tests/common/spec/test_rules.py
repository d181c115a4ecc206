"""Rules: which parameters one reaches, which rule wins, and why one reaches nothing."""

from __future__ import annotations

import pytest

from paritree.common.errors import InitializerError, PathError
from paritree.common.initializers import Constant, Normal, Uniform, Xavier, Zeros
from paritree.common.layers import Decoder, Embedding, FixedLinear, Linear, ReLU
from paritree.common.spec import Block, Sequential, Shared
from paritree.common.spec.expansion import table_of
from paritree.common.spec.rules import Rule, line, plan
from paritree.common.tables import Table

from ..conftest import refused

MODEL = table_of(
    Block(
        {
            "embed": Embedding(6, 4),
            "body": Sequential(Linear(4, 4), ReLU(), Shared("0"), FixedLinear(4, 4)),
            "body2": Linear(4, 4, bias=False),
            "decode": Decoder("embed", bias=True),
        }
    )
)
ALL = ["embed.weight", "body.0.weight", "body.0.bias", "body2.weight", "decode.bias"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, ALL),
        ({"name": "weight"}, ["embed.weight", "body.0.weight", "body2.weight"]),
        ({"layer": "Linear"}, ["body.0.weight", "body.0.bias", "body2.weight"]),
        ({"layer": "Linear", "name": "bias"}, ["body.0.bias"]),
        ({"under": "body"}, ["body.0.weight", "body.0.bias"]),
        ({"under": "body.0.weight"}, ["body.0.weight"]),
        ({"under": "body", "layer": "Linear", "name": "weight"}, ["body.0.weight"]),
        # What a rule says of an alias, it says of the owner.
        ({"under": "body.2"}, ["body.0.weight", "body.0.bias"]),
        ({"under": "body.2.bias"}, ["body.0.bias"]),
        ({"layer": "Decoder"}, ["embed.weight", "decode.bias"]),
    ],
)
def test_a_rule_reaches_what_meets_all_its_conditions(conditions, expected):
    chosen = plan(MODEL, Rule(Zeros(), **conditions))
    assert [row.path for row, _ in chosen] == expected
    assert all(row is MODEL[row.path] and initializer == Zeros() for row, initializer in chosen)


def test_a_later_rule_overrides_an_earlier_one_and_the_order_is_the_table_s():
    rules = [Rule(Constant(1.0)), Rule(Constant(2.0), name="weight"), Rule(Constant(3.0), under="body.2.weight")]
    assert [(row.path, initializer.value) for row, initializer in plan(MODEL, iter(rules))] == [
        ("embed.weight", 2.0),
        ("body.0.weight", 3.0),
        ("body.0.bias", 1.0),
        ("body2.weight", 2.0),
        ("decode.bias", 1.0),
    ]
    assert {initializer for _, initializer in plan(MODEL, rules[::-1])} == {Constant(1.0)}


def test_no_rules_reach_nothing():
    assert plan(MODEL, ()) == ()


SOUGHT = "expected a parameter that the rule matches: Rule(initializer=Zeros(), {}), found {}. {}"
NO_BUFFERS = "Rules are for parameters, not for buffers."


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            Rule(Zeros(), under="bodi"),
            "bodi: expected a path of the model for the rule, found none of that name. Did you mean 'body'?",
        ),
        (
            Rule(Zeros(), under="body.1"),
            "body.1: expected a path of the model for the rule, found none of that name. Did you mean 'body.3'?",
        ),
        (
            Rule(Zeros(), layer="Liner"),
            "expected a layer of kind 'Liner' for the rule, found none. Did you mean 'Linear'?",
        ),
        (
            Rule(Zeros(), under="body", layer="Embedding"),
            "body: expected a layer of kind 'Embedding' for the rule, found none. There are 'Linear', 'FixedLinear'.",
        ),
        (
            Rule(Zeros(), name="wieght"),
            SOUGHT.format("under='', layer='', name='wieght'", "none", "Did you mean 'weight'?"),
        ),
        # The name exists in the model, but not in a layer of that kind.
        (
            Rule(Zeros(), layer="Embedding", name="bias"),
            SOUGHT.format("under='', layer='Embedding', name='bias'", "none", "There is 'weight'."),
        ),
        (
            Rule(Zeros(), under="body2", name="bias"),
            "body2: " + SOUGHT.format("under='body2', layer='', name='bias'", "none", "There is 'weight'."),
        ),
        (
            Rule(Zeros(), under="body.3"),
            "body.3: " + SOUGHT.format("under='body.3', layer='', name=''", "buffers only", NO_BUFFERS),
        ),
        (
            Rule(Zeros(), layer="FixedLinear", name="weight"),
            SOUGHT.format("under='', layer='FixedLinear', name='weight'", "buffers only", NO_BUFFERS),
        ),
    ],
)
def test_a_rule_that_reaches_nothing_says_why(rule, text):
    with refused(PathError, text):
        plan(MODEL, [Rule(Normal()), rule])


def test_a_rule_for_a_model_without_parameters_says_so():
    text = SOUGHT.format("under='', layer='', name=''", "none", "There are none.")
    with refused(PathError, text):
        plan(Table(()), Rule(Zeros()))


NO_FANS = (
    "{}: expected a shape of at least 2 dimensions, to have fans, found shape {}. "
    "Give a vector or scalar an initializer with its own scale, such as Uniform, Normal or Zeros."
)


def test_an_initializer_that_does_not_fit_is_refused_by_path():
    with refused(InitializerError, NO_FANS.format("body.0.bias", "(4,)")):
        plan(MODEL, Rule(Xavier(), under="body"))
    # Of an alias too the rule's own word is repeated: that is where the reader looks.
    with refused(InitializerError, NO_FANS.format("body.2.bias", "(4,)")):
        plan(MODEL, Rule(Xavier(), under="body.2"))


@pytest.mark.parametrize("initializer", [Xavier(), Uniform()])
def test_a_shape_that_is_not_known_yet_is_refused(initializer):
    text = "1.weight: expected a shape that is known, found (8, ?). Send an input through the model first."
    with refused(InitializerError, text):
        plan(table_of(Sequential(ReLU(), Linear(None, 8))), Rule(initializer, name="weight"))


def test_initialization_prints_a_line_for_each_parameter():
    assert line(MODEL["body2.weight"], Normal(0.0, 0.01)) == "body2.weight (4, 4) <- Normal(mean=0.0, std=0.01)"
