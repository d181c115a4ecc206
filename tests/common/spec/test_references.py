"""References: a Shared or a Decoder leads where a reader would look, or is refused."""

from __future__ import annotations

import pytest
from hypothesis import given

from paritree.common.errors import PathError, SpecError
from paritree.common.layers import Decoder, Embedding, Linear, ReLU
from paritree.common.spec import Block, Layer, References, Sequential, Shared, flow, index

from ..conftest import refused
from ..specs import NAMES, generated


def owners(spec: Layer) -> dict[str, str]:
    references = References(spec)
    return {path: references.resolve(path, node.of) for path, node in index(spec).items() if hasattr(node, "of")}


L = Linear(4, 4)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Sequential(L, Shared("0")), {"1": "0"}),
        (Block({"a": L, "b": Sequential(ReLU(), Shared("a"))}), {"b.1": "a"}),
        # The innermost container that has the name wins.
        (Sequential(L, Sequential(L, Shared("0"))), {"1.1": "1.0"}),
        (Block({"a": L, "b": Block({"a": L, "c": Sequential(Shared("a"))})}), {"b.c.0": "b.a"}),
        # A longer path is tried as a whole in every scope: climbing goes on where it does not fit.
        (Block({"a": Block({"x": L}), "b": Block({"a": Block({"y": L}), "c": Shared("a.x")})}), {"b.c": "a.x"}),
        # A name does not find itself.
        (Block({"relu": L, "b": Block({"relu": Shared("relu")})}), {"b.relu": "relu"}),
        # Names with blanks are names.
        (Sequential(Block({"block 0": L, "block 1": Shared("block 0")})), {"0.block 1": "0.block 0"}),
        # A Shared of a Shared leads to the layer itself, wherever each is written.
        (Sequential(L, Shared("0"), Shared("1"), Sequential(Shared("2"))), {"1": "0", "2": "0", "3.0": "0"}),
        # Inside a shared block a name means what it means where it is written.
        (Block({"a": L, "b": Block({"c": Shared("a")}), "d": Shared("b")}), {"b.c": "a", "d": "b"}),
        (Sequential(Embedding(9, 4), Shared("0"), Decoder("1")), {"1": "0", "2": "0"}),
    ],
)
def test_a_reference_is_looked_up_as_a_name_is_in_nested_functions(spec, expected):
    assert owners(spec) == expected
    assert owners(eval(repr(spec), dict(NAMES))) == expected


@given(generated())
def test_references_lead_where_they_were_made_to(case):
    def final(path):
        while path in case.targets:
            path = case.targets[path]
        return path

    assert owners(case.spec) == {path: final(path) for path in case.targets}


def test_a_part_of_a_model_may_refer_to_what_is_around_it():
    part = Sequential(Shared("x"), Shared("0"))
    assert owners(Block({"x": L, "y": part})) == {"y.0": "x", "y.1": "x"}
    tied = Sequential(Shared("x"), Decoder("0"))
    assert owners(Block({"x": Embedding(9, 4), "y": tied})) == {"y.0": "x", "y.1": "x"}


def test_a_long_row_of_references_is_no_deep_one():
    assert owners(Sequential(L, *(Shared(str(place)) for place in range(1500))))["1500"] == "0"


NOWHERE = "{}expected the path of a layer to share, {!r}, found none of that name. {}"
TOO_EARLY = (
    "{}: expected {!r} to be a layer that is complete before this use of it, found {!r}, which is not. "
    "Put the owner first: it is the first path in the order of registration."
)
EMBED = Embedding(9, 4)


@pytest.mark.parametrize(
    ("build", "where", "of", "remedy"),
    [
        (lambda: Block({"linear": L, "b": Shared("liner")}), "b: ", "liner", "Did you mean 'linear'?"),
        (
            lambda: Sequential(Block({"ab": L, "c": Sequential(Shared("abc"))})),
            "0.c.0: ",
            "abc",
            "Did you mean '0.ab'?",
        ),
        (lambda: Block({"embed": EMBED, "d": Decoder("embde")}), "d: ", "embde", "Did you mean 'embed'?"),
        # Neither what comes later, nor the use itself, nor what contains it, is suggested.
        (lambda: Sequential(L, Shared("11"), L), "1: ", "11", "There is '0'."),
        (lambda: Sequential(L, Sequential(L, Shared("x"))), "1.1: ", "x", "There are '0', '1.0'."),
        (lambda: Sequential(Shared("9")), "0: ", "9", "There are none."),
        (lambda: Shared("9"), "", "9", "There are none."),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(build, where, of, remedy):
    with refused(PathError, NOWHERE.format(where, of, remedy)):
        flow(build())


@pytest.mark.parametrize(
    ("build", "path", "of", "target"),
    [
        # To a later layer,
        (lambda: Sequential(L, Shared("2"), L), "1", "2", "2"),
        (lambda: Sequential(Sequential(Shared("1")), L), "0.0", "1", "1"),
        (lambda: Block({"a": Shared("b"), "b": Shared("a")}), "a", "b", "b"),
        (lambda: Block({"d": Decoder("e"), "e": EMBED}), "d", "e", "e"),
        # and to one that contains the use.
        (lambda: Sequential(L, Sequential(L, Shared("1"))), "1.1", "1", "1"),
        (lambda: Sequential(Block({"a": Block({"s": Shared("0.a")})})), "0.a.s", "0.a", "0.a"),
        (lambda: Block({"a": Block({"s": Shared("a")})}), "a.s", "a", "a"),
        (lambda: Block({"d": Sequential(Decoder("d"))}), "d.0", "d", "d"),
    ],
)
def test_a_reference_to_what_is_not_complete_is_refused(build, path, of, target):
    with refused(SpecError, TOO_EARLY.format(path, of, target)):
        flow(build())


def test_a_reference_that_leads_nowhere_is_no_fault_of_a_part():
    part = Sequential(Shared("elsewhere"), Linear(7, 4))
    with refused(PathError, NOWHERE.format("0: ", "elsewhere", "There are none.")):
        flow(part)


@pytest.mark.parametrize(
    ("build", "path", "of", "kind"),
    [
        (lambda: Block({"l": L, "d": Decoder("l")}), "d", "l", "Linear"),
        (lambda: Sequential(Sequential(EMBED), Sequential(Decoder("0"))), "1.0", "0", "Sequential"),
        (lambda: Sequential(L, Shared("0"), Decoder("1")), "2", "1", "Linear"),
    ],
)
def test_a_decoder_ties_to_an_embedding_alone(build, path, of, kind):
    text = f"{path}: expected {of!r} to be an Embedding, found {kind}. A Decoder ties to an Embedding."
    with refused(SpecError, text):
        build()
