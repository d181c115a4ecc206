"""What a spec amounts to: its table against a naive walk, its uses, its untied twin."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given

from paritree.common import paths
from paritree.common.errors import InitializerError, PathError, SpecError
from paritree.common.initializers import Dirac, Normal, Orthogonal, Uniform, Xavier, Zeros
from paritree.common.layers import Decoder, Embedding, FixedLinear, Linear, ReLU
from paritree.common.spec import Block, Layer, ParameterSpec, Sequential, Shared, flow, index
from paritree.common.spec.expansion import Use, table_of, untied, uses
from paritree.common.ties import Tie

from ..conftest import refused
from ..specs import generated, lazy


def walk(case, path, source):
    """Every parameter's path and owner, by the book: a Shared is the layer that the generator meant."""
    while source in case.targets:
        source = case.targets[source]
    layer = index(case.spec)[source]
    for each in layer.parameters():
        yield paths.join(path, each.name), paths.join(source, each.name)
    for name, _ in layer.children():
        yield from walk(case, paths.join(path, name), paths.join(source, name))


@given(generated())
def test_the_table_lists_every_path_with_its_owner(case):
    rows = table_of(case.spec)
    assert [(row.path, rows.owner(row.path)) for row in rows] == list(walk(case, "", ""))
    for row in rows:
        assert rows[rows.owner(row.path)].tie is None
        assert (row.shape, row.kind, row.layer) == tuple(
            getattr(rows[rows.owner(row.path)], name) for name in ("shape", "kind", "layer")
        )


@given(generated())
def test_a_lazy_model_has_the_table_of_its_twin_once_it_has_seen_an_input(case):
    filled, _ = flow(lazy(case.spec), (case.width,))
    assert table_of(filled) == table_of(case.spec)


@given(generated())
def test_the_untied_twin_has_every_path_as_a_parameter_of_its_own(case):
    rows, twin = table_of(case.spec), table_of(untied(case.spec))
    assert twin.ties == ()
    assert [(row.path, row.shape, row.kind, row.layer, row.initializer) for row in twin] == [
        (row.path, row.shape, row.kind, row.layer, row.initializer) for row in rows
    ]
    assert twin.scalars == sum(row.size for row in rows if row.kind == "parameter")
    assert untied(untied(case.spec)) == untied(case.spec)


def test_uses_are_the_leaves_with_the_place_where_their_parameters_live():
    block = Block({"in": Linear(4, 4), "out": Shared("in")})
    assert list(uses(Sequential(block, ReLU(), Shared("0")))) == [
        Use("0.in", "0.in", Linear(4, 4)),
        Use("0.out", "0.in", Linear(4, 4)),
        Use("1", "1", ReLU()),
        Use("2.in", "0.in", Linear(4, 4)),
        Use("2.out", "0.in", Linear(4, 4)),
    ]
    assert list(uses(Linear(4, 4))) == [Use("", "", Linear(4, 4))]
    assert list(uses(Sequential())) == []


def test_a_decoder_owns_its_bias_alone_and_its_copies_own_nothing():
    # The block holds its own embedding, so its second use decodes with the first one's.
    block = Block({"embed": Embedding(4, 4), "decode": Decoder("embed", bias=True)})
    rows = table_of(Block({"a": block, "b": Shared("a")}))
    assert {row.path: rows.owner(row.path) for row in rows} == {
        "a.embed.weight": "a.embed.weight",
        "a.decode.weight": "a.embed.weight",
        "a.decode.bias": "a.decode.bias",
        "b.embed.weight": "a.embed.weight",
        "b.decode.weight": "a.embed.weight",
        "b.decode.bias": "a.decode.bias",
    }
    assert rows["b.decode.weight"].tie == Tie("a.embed.weight", "b.decode.weight")
    assert {row.layer for row in rows} == {"Embedding", "Decoder"}


def test_an_untied_decoder_is_a_linear_layer():
    spec = Block({"embed": Embedding(9, 4), "decode": Decoder("embed", bias=True, bias_init=Zeros())})
    assert untied(spec) == Block({"embed": Embedding(9, 4), "decode": Linear(4, 9, bias_init=Zeros())})


def test_a_layer_that_is_called_twice_is_no_tie():
    spec = Block({"a": Linear(4, 4), "relu": ReLU()}, calls=("a", "relu", "a"))
    assert table_of(spec).paths == ("a.weight", "a.bias")
    assert untied(spec) == spec


@pytest.mark.parametrize(
    ("spec", "path", "initializer"),
    [
        (Linear(4, 8), "bias", Uniform(-0.5, 0.5)),
        (Sequential(Linear(16, 8)), "0.bias", Uniform(-0.25, 0.25)),
        (Sequential(Linear(4, 16), Linear(None, 8)), "1.bias", Uniform(-0.25, 0.25)),
        (Sequential(Linear(4, 8, weight_init=Orthogonal())), "0.weight", Orthogonal()),
        # An alias has its owner's.
        (Sequential(Linear(4, 4, bias_init=Zeros()), Shared("0")), "1.bias", Zeros()),
        (Block({"e": Embedding(9, 4, Normal(0.0, 0.02)), "d": Decoder("e")}), "d.weight", Normal(0.0, 0.02)),
        (FixedLinear(2, 2), "weight", Uniform(0.0, 1.0)),
    ],
)
def test_a_row_knows_its_initializer(spec, path, initializer):
    assert table_of(spec)[path].initializer == initializer


def test_the_dtype_is_that_of_every_row():
    assert {row.dtype for row in table_of(Sequential(Linear(4, 4), FixedLinear(4, 4)))} == {"float32"}
    assert {row.dtype for row in table_of(Sequential(Linear(4, 4), FixedLinear(4, 4)), "float64")} == {"float64"}


@dataclass(frozen=True, repr=False)
class Scale(Layer):
    """A layer from outside of the package, which trusts its initializer."""

    initializer: object

    def parameters(self):
        return (ParameterSpec("scale", (4,), self.initializer),)


NO_FANS = (
    "{}: expected a shape of at least 2 dimensions, to have fans, found shape {}. "
    "Give a vector or scalar an initializer with its own scale, such as Uniform, Normal or Zeros."
)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Sequential(ReLU(), Block({"s c": Scale(Xavier())})), NO_FANS.format("1.s c.scale", "(4,)")),
        (
            lambda: Sequential(Sequential(Linear(4, 8)), Block({"a": Linear(None, 2, weight_init=Dirac())})),
            "1.a.weight: expected a shape of 3 or 4 or 5 dimensions for Dirac, found shape (2, 8).",
        ),
        (
            lambda: Sequential(Embedding(9, 4), Block({"d": Decoder("0", bias=True, bias_init=Xavier())})),
            NO_FANS.format("1.d.bias", "(9,)"),
        ),
    ],
)
def test_an_initializer_that_does_not_fit_is_named_by_its_full_path(build, text):
    with refused(InitializerError, text):
        table_of(build())


def test_an_initializer_of_an_unknown_shape_is_not_judged_yet():
    rows = table_of(Linear(None, 8, weight_init=Dirac()))
    assert rows["weight"].shape == (8, None)


def test_a_table_of_a_spec_that_does_not_hold_together_is_refused():
    text = "0.0: expected the path of a layer to share, 'x', found none of that name. There are none."
    with refused(PathError, text):
        table_of(Sequential(Sequential(Shared("x"))))
    no_chain = "b.1: expected an input of width 4 (in_features), found width 8."
    with refused(SpecError, f"{no_chain} Set in_features to 8, or change the layer before."):
        # The part alone is sound: what its reference leads to is not known there.
        table_of(Block({"a": Linear(8, 8), "b": Sequential(Shared("a"), Linear(4, 4))}))
