"""Specs: they are data, they refuse children that are none, and their widths chain."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given

from paritree.common.errors import ChildNameError, PathError, SpecError
from paritree.common.layers import Decoder, Dropout, Embedding, FixedLinear, Flatten, Linear, ReLU, Sum
from paritree.common.spec import UNKNOWN, Block, Sequential, Shared, flow, index

from ..conftest import refused
from ..specs import NAMES, generated, lazy


@given(generated())
def test_the_repr_is_the_code_that_builds_the_spec(case):
    again = eval(repr(case.spec), dict(NAMES))
    assert again == case.spec
    assert hash(again) == hash(case.spec)
    assert repr(again) == repr(case.spec)
    assert pickle.loads(pickle.dumps(case.spec)) == copy.deepcopy(case.spec) == case.spec


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Linear(4, 8), "Linear(4, 8)"),
        (Linear(None, 8, bias=False), "Linear(None, 8, bias=False)"),
        (Decoder("a b", bias=True), "Decoder('a b', bias=True)"),
        (Sequential(ReLU(), Shared("0")), "Sequential(ReLU(), Shared('0'))"),
        (Sequential(), "Sequential()"),
        (Block({"a": ReLU(), "it's": Dropout(0.1)}), """Block({'a': ReLU(), "it's": Dropout(rate=0.1)})"""),
        (Block([("a", ReLU())], calls=["a", "a"]), "Block({'a': ReLU()}, calls=('a', 'a'))"),
        (Linear(np.int64(4), np.prod([2, 4])), "Linear(4, 8)"),
        (Dropout(np.float32(0.25)), "Dropout(rate=0.25)"),
    ],
)
def test_what_is_at_its_default_is_left_out_of_the_repr(spec, text):
    assert repr(spec) == text
    assert eval(text, dict(NAMES)) == spec


def test_equal_means_the_same_layers_in_the_same_order():
    pairs = [("a", ReLU()), ("b", Flatten())]
    assert Block(pairs) == Block(dict(pairs)) == Block([list(pair) for pair in pairs]) == Block(iter(pairs))
    assert Block(pairs) != Block(pairs[::-1])
    assert Block(pairs).program.calls == ("a", "b")
    assert Block(pairs, calls=("b", "a", "b")).program.calls == ("b", "a", "b")
    assert Block(pairs, calls=()).program.calls == ()
    assert Block(pairs, calls=iter("ab")) == Block(pairs, calls=["a", "b"])


def test_the_index_is_in_the_order_of_registration():
    spec = Sequential(Block({"b": ReLU(), "a": Sequential(Flatten(), ReLU())}), Shared("0"))
    assert list(index(spec)) == ["", "0", "0.b", "0.a", "0.a.0", "0.a.1", "1"]
    assert index(spec)["0.a.0"] == Flatten()
    assert index(ReLU()) == {"": ReLU()}


@given(generated())
def test_a_shape_flows_through_and_fills_in_the_widths_that_are_not_known(case):
    assert flow(case.spec, (case.width,)) == (case.spec, (case.out,))
    assert flow(lazy(case.spec), (case.width,)) == (case.spec, (case.out,))


@pytest.mark.parametrize(
    ("spec", "features", "out"),
    [
        (Linear(4, 8), UNKNOWN, (..., 8)),
        (Linear(4, 8), (4,), (8,)),
        (Linear(4, 8), (2, 3, 4), (2, 3, 8)),
        (Sequential(Linear(4, 8), ReLU(), Linear(8, 1)), UNKNOWN, (..., 1)),
        (FixedLinear(4, 8), (4,), (8,)),
        (Embedding(9, 4), (5,), (5, 4)),
        (Embedding(9, 4), UNKNOWN, (..., 4)),
        (Embedding(9, 4), (), (4,)),
        (Flatten(), (2, 3, 4), (24,)),
        (Sequential(Linear(4, 8), Flatten()), UNKNOWN, UNKNOWN),
        (Sum(), (2, 3), ()),
        (Block({"e": Embedding(9, 4), "d": Decoder("e")}), (5,), (5, 9)),
        (Block({"wide": Linear(4, 8), "back": Linear(8, 4)}, calls=("wide", "back", "wide")), (4,), (8,)),
        (Sequential(), (4,), (4,)),
    ],
)
def test_what_a_layer_makes_of_a_shape(spec, features, out):
    assert flow(spec, features) == (spec, out)


def test_a_width_is_learned_by_all_uses_of_a_layer_at_once():
    spec = Sequential(Linear(None, 4), Block({"a": Linear(None, 4), "b": Shared("a")}), Shared("0"))
    filled = Sequential(Linear(4, 4), Block({"a": Linear(4, 4), "b": Shared("a")}), Shared("0"))
    assert flow(spec, (4,)) == (filled, (4,))
    # Without an input, the second width follows from the first layer, and the first one from its later use.
    assert flow(spec) == (filled, (..., 4))
    assert flow(Sequential(*spec.layers[:2]))[0] == Sequential(Linear(None, 4), filled.layers[1])


NO_CHAIN = "{}: expected an input of width {} (in_features), found width {}. Set in_features to {}, or change the layer before."  # noqa: E501
RELAY = Block({"relu": ReLU(), "again": Shared("0")})


@pytest.mark.parametrize(
    ("build", "path", "wanted", "found"),
    [
        (lambda: Sequential(Linear(4, 8), ReLU(), Linear(4, 1)), "2", 4, 8),
        (lambda: Sequential(Linear(4, 8), FixedLinear(4, 1)), "1", 4, 8),
        (lambda: Block({"first": Linear(4, 8), "the last": Linear(4, 1)}), "the last", 4, 8),
        # In nested containers, where neither of the two alone is at fault.
        (lambda: Sequential(Linear(4, 8), Block({"a": ReLU(), "b": Sequential(ReLU(), Linear(4, 4))})), "1.b.1", 4, 8),
        (lambda: Sequential(Sequential(Sequential(Linear(4, 8))), Sequential(Sequential(Linear(4, 8)))), "1.0.0", 4, 8),
        # In the order of calls, which is not that of registration.
        (lambda: Block({"a": Linear(4, 8), "b": Linear(8, 4)}, calls=("b", "a", "b", "b")), "b", 8, 4),
        (lambda: Sequential(Linear(4, 8), Block({"a": Linear(4, 8), "b": Linear(8, 4)}, ["a", "b"])), "1.a", 4, 8),
        # A second use is named by its own path, and a part of it by the path that the part has there.
        (lambda: Sequential(Linear(4, 8), Shared("0")), "1", 4, 8),
        (lambda: Sequential(Sequential(Linear(4, 8)), Shared("0")), "1.0", 4, 8),
        (lambda: Sequential(Block({"a": Linear(4, 4), "b": Linear(4, 8)}), Shared("0")), "1.a", 4, 8),
        (lambda: Sequential(Linear(4, 4), RELAY, Linear(4, 8), Shared("1")), "3.again", 4, 8),
        (lambda: Sequential(Linear(4, 4), RELAY, Shared("1"), Linear(4, 8), Shared("2")), "4.again", 4, 8),
        (lambda: flow(Sequential(Linear(None, 8), Shared("0")), (4,)), "1", 4, 8),
        (lambda: flow(Sequential(ReLU(), Linear(4, 8)), (3,)), "1", 4, 3),
        (lambda: flow(Sequential(Flatten(), Linear(4, 8)), (2, 3)), "1", 4, 6),
    ],
)
def test_widths_that_do_not_chain_are_refused_at_the_layer_that_cannot_take_its_input(build, path, wanted, found):
    with refused(SpecError, NO_CHAIN.format(path, wanted, found, found)):
        build()


def test_a_decoder_of_another_width_is_refused():
    text = "2: expected an input of width 4 (in_features), found width 5. A Decoder takes the width of '0', its owner."
    with refused(SpecError, text):
        Sequential(Embedding(9, 4), Linear(4, 5), Decoder("0"))


@pytest.mark.parametrize("layer", [Linear(4, 8), FixedLinear(4, 8)])
def test_a_scalar_has_no_width(layer):
    text = f"1: expected an input with at least one axis for {layer.kind}, found a scalar. Drop the layer before."
    with refused(SpecError, text):
        Sequential(Sum(), layer)


CHILDREN = "Children are specs: Linear(4, 8), ReLU(), ..."
PAIRS = "expected children as a mapping, or as pairs of a name and a layer, found {}."


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: Sequential(ReLU(), 3), SpecError, f"1: expected a layer, found 3. {CHILDREN}"),
        (lambda: Sequential([ReLU()]), SpecError, f"0: expected a layer, found [ReLU()]. {CHILDREN}"),
        (lambda: Sequential(ReLU), SpecError, f"0: expected a layer, found {ReLU!r}. {CHILDREN}"),
        (lambda: Block({"a": ReLU(), "b c": None}), SpecError, f"b c: expected a layer, found None. {CHILDREN}"),
        (lambda: Block([ReLU()]), SpecError, PAIRS.format("[ReLU()]")),
        (lambda: Block([("a", ReLU(), 3)]), SpecError, PAIRS.format("[('a', ReLU(), 3)]")),
        (lambda: Block(None), SpecError, PAIRS.format("None")),
        (
            lambda: Block({"": ReLU()}),
            ChildNameError,
            "expected a child name of at least one character, found ''. Name every child of a Block.",
        ),
        (
            lambda: Block({"a.b": ReLU()}),
            ChildNameError,
            "expected a child name without a dot, found 'a.b'. "
            "A dot separates the components of a path; nest a Block, or use another sign.",
        ),
        (
            lambda: Block([("a", ReLU()), ("a", ReLU())]),
            ChildNameError,
            "expected every child name once, found 'a' twice. Rename one, or use Shared for a second use.",
        ),
    ],
)
def test_what_is_no_child_is_refused(build, error, text):
    with refused(error, text):
        build()


@pytest.mark.parametrize(
    ("calls", "error", "text"),
    [
        (
            ("relu", "linaer"),
            PathError,
            "linaer: expected the name of a child in calls, found none of that name. Did you mean 'linear'?",
        ),
        (
            [0],
            PathError,
            "0: expected the name of a child in calls, found none of that name. There are 'linear', 'relu'.",
        ),
        ("relu", SpecError, "expected calls as a sequence of names, found 'relu'. Write calls=('relu',)."),
    ],
)
def test_calls_that_name_no_child_are_refused(calls, error, text):
    with refused(error, text):
        Block({"linear": Linear(4, 4), "relu": ReLU()}, calls=calls)
