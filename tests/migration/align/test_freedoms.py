"""Freedoms that cancel: orders and factors that one program makes up for, and what no weights make up for."""

from __future__ import annotations

import numpy as np
import pytest

import paritree
from paritree import AlignmentError, Pair
from paritree.migration.align.freedoms import known_factor, regrouped, turned

from ...attention import IDS, WIDTH, D, Way, linen_model, nnx_model, torch_model

HALVES, PAIRS = Way("halves"), Way("pairs")
RIGHT = {
    "halves to pairs": (torch_model, HALVES, nnx_model, PAIRS),
    "pairs to halves": (torch_model, PAIRS, nnx_model, HALVES),
    "halves to pairs, from nnx": (nnx_model, HALVES, torch_model, PAIRS),
    "halves to pairs, linen": (torch_model, HALVES, linen_model, PAIRS),
    "heads inside": (torch_model, Way(), nnx_model, Way(inner=True)),
    "heads inside, back": (nnx_model, Way(inner=True), torch_model, Way()),
    "striped groups": (torch_model, Way(), nnx_model, Way(striped=True)),
    "striped groups, linen": (torch_model, Way(striped=True), linen_model, Way()),
    "scale in the query": (torch_model, Way(), nnx_model, Way(scale=1.0)),
    "scale in the query, linen": (torch_model, Way(), linen_model, Way(scale=1.0)),
    "scale of the port alone": (torch_model, Way(scale=1.0), nnx_model, Way()),
    "a quarter": (torch_model, Way(scale=0.25), nnx_model, Way(scale=1.0)),
    "words times sqrt(d)": (torch_model, Way(word=D**0.5), nnx_model, Way()),
    "words times sqrt(d) in the port": (nnx_model, Way(), torch_model, Way(word=D**0.5)),
}


# Each with biases or without them; the thorough suite has both.
CASES = [
    pytest.param(name, bias, marks=() if bias == bool(number % 2) else pytest.mark.thorough)
    for number, name in enumerate(RIGHT)
    for bias in (False, True)
]


@pytest.mark.parametrize(("name", "bias"), CASES)
def test_what_cancels_is_found_and_proved(name: str, bias: bool) -> None:
    make, way, make_port, other = RIGHT[name]
    pair = Pair(make(way, bias), make_port(other, bias), (IDS,))
    found = paritree.align(pair)
    assert found.verified
    report = paritree.check(pair, found, contracts=("names", "shapes", "forward", "gradients"), devices=("cpu",))
    assert report.ok, str(report)
    is_factor = way.scale != other.scale or way.word != other.word
    assert any(row.transform for row in found.rows) == is_factor


WRONG = {
    "another base": (HALVES, Way("pairs", base=50.0)),
    "no rotation": (HALVES, Way()),
    "a scale that is no root": (Way(), Way(scale=WIDTH**-0.5 * 0.7311)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_weights_make_up_for_is_refused(name: str) -> None:
    way, other = WRONG[name]
    with pytest.raises(AlignmentError, match="The programs differ"):
        paritree.align(Pair(torch_model(way), nnx_model(other), (IDS,)))


def test_factors_that_a_program_has() -> None:
    assert [known_factor(value) for value in (8**0.5, 0.25, 24**-0.5, 2.0, 0.7311, 1.0)] == [
        "* 2.8284271247461903",
        "/ 4.0",
        "/ 4.898979485566356",
        "* 2.0",
        "",
        "",
    ]


def test_ways_say_what_an_axis_consists_of() -> None:
    assert [way(24) for way in turned(12)][:1] == [((6, 2, 2), (0, 2, 1))]
    assert ((4, 2, 3), (0, 2, 1)) in [way(24) for way in turned(12)]
    for length in (12, 16, 24):
        for way in (*turned(length), *regrouped(length)):
            lengths, order = way(length) or ((length,), (0,))
            assert sorted(np.arange(length).reshape(lengths).transpose(order).ravel()) == list(range(length))
