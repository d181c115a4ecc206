"""Layers: what each holds by default, how Flax spells it, and which numbers it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paritree.common import layers
from paritree.common.errors import InitializerError, SpecError
from paritree.common.initializers import Dirac, Normal, Uniform, Xavier, Zeros
from paritree.common.layers import (
    GELU,
    Decoder,
    Dropout,
    Embedding,
    FixedLinear,
    Flatten,
    Halve,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Sum,
    Tanh,
)
from paritree.common.spec import Shared, Tied

from ..conftest import refused


def held(layer):
    return [(each.name, each.shape, each.kind) for each in layer.parameters()]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Linear(4, 8), [("weight", (8, 4), "parameter"), ("bias", (8,), "parameter")]),
        (Linear(4, 8, bias=False), [("weight", (8, 4), "parameter")]),
        (Linear(None, 8), [("weight", (8, None), "parameter"), ("bias", (8,), "parameter")]),
        (Embedding(9, 4), [("weight", (9, 4), "parameter")]),
        (FixedLinear(4, 8), [("weight", (8, 4), "buffer")]),
        *((layer(), []) for layer in (ReLU, Tanh, Sigmoid, SiLU, GELU, LeakyReLU, Softplus)),
        *((layer(), []) for layer in (Dropout, Flatten, Halve, Sum)),
    ],
)
def test_what_a_layer_holds_in_the_order_of_registration(layer, expected):
    assert held(layer) == expected
    assert layer.kind == type(layer).__name__


@pytest.mark.parametrize(
    ("layer", "text", "values"),
    [
        (Linear(4, 8), "Linear(4, 8)", (4, 8, True, None, None)),
        (Embedding(9, 4), "Embedding(9, 4)", (9, 4, None, None)),
        (Decoder("e"), "Decoder('e')", ("e", False, None, 1.0)),
        (FixedLinear(4, 8), "FixedLinear(4, 8)", (4, 8, 0.0, None)),
        (FixedLinear(4, 8, 1), "FixedLinear(4, 8, shift=1.0)", (4, 8, 1.0, None)),
        (Dropout(), "Dropout()", (0.5,)),
        (Dropout(0.1), "Dropout(rate=0.1)", (0.1,)),
        (GELU(), "GELU()", ("none",)),
        (GELU("tanh"), "GELU(approximate='tanh')", ("tanh",)),
        (LeakyReLU(), "LeakyReLU()", (0.01,)),
        (LeakyReLU(0.2), "LeakyReLU(slope=0.2)", (0.2,)),
        (Softplus(), "Softplus()", (1.0, 20.0)),
        (Halve(), "Halve()", (1.0,)),
        (Halve(2), "Halve(limit=2.0)", (2.0,)),
        *((layer(), f"{layer.__name__}()", ()) for layer in (Flatten, ReLU, Tanh, Sigmoid, SiLU, Sum)),
    ],
)
def test_a_layer_s_repr_leaves_its_defaults_out(layer, text, values):
    assert repr(layer) == text
    assert tuple(vars(layer).values()) == values


@pytest.mark.parametrize("inputs", [1, 4, 20, 256])
def test_a_linear_layer_is_by_default_uniform_between_the_bounds_of_its_fan_in(inputs):
    bound = 1 / math.sqrt(inputs)
    for each in Linear(inputs, 8).parameters():
        law = each.initializer.law(each.shape)
        assert law.support == pytest.approx((-bound, bound), rel=1e-12)
        assert law.std == pytest.approx(2 * bound / math.sqrt(12), rel=1e-12)


def test_the_bound_of_a_bias_is_not_known_before_the_width_is():
    weight, bias = Linear(None, 8).parameters()
    assert weight.initializer == Linear(4, 8).parameters()[0].initializer
    assert bias.initializer is None
    assert Linear(None, 8, bias_init=Zeros()).parameters()[1].initializer == Zeros()


def test_given_initializers_replace_the_defaults():
    weight, bias = Linear(4, 8, weight_init=Normal(0.0, 0.01), bias_init=Zeros()).parameters()
    assert (weight.initializer, bias.initializer) == (Normal(0.0, 0.01), Zeros())
    assert Embedding(9, 4).parameters()[0].initializer == Normal(0.0, 1.0)
    assert Embedding(9, 4, Xavier()).parameters()[0].initializer == Xavier()
    assert FixedLinear(4, 8).parameters()[0].initializer == Uniform(0.0, 1.0)


def test_a_decoder_is_the_linear_layer_that_its_embedding_makes_it():
    made = Decoder("e", bias=True, bias_init=Zeros()).tied_to(Embedding(9, 4), "d")
    assert made == Linear(4, 9, bias=True, bias_init=Zeros())
    assert Decoder("e").tied_to(Embedding(9, 4), "d") == Linear(4, 9, bias=False)


def test_a_kind_of_tie_says_itself_what_it_is():
    with pytest.raises(NotImplementedError):
        Tied("e").tied_to(Embedding(9, 4), "d")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("Linear", {"weight": "kernel", "bias": "bias"}),
        ("FixedLinear", {"weight": "kernel"}),
        ("Embedding", {"weight": "embedding"}),
        ("Decoder", {"weight": "embedding", "bias": "bias"}),
    ],
)
def test_names_lead_to_flax_s_and_back(kind, names):
    assert layers.names_in(kind, dict.fromkeys(names.values(), ())) == list(names)
    for name, native in names.items():
        assert layers.native(kind, name).parts == (native,)
        assert layers.names_in(kind, {native: ()}) == [name]
    assert layers.native(kind, "scale") is None
    assert layers.names_in(kind, {"scale": ()}) == []


def test_a_kind_that_the_spec_does_not_know_has_no_names():
    assert layers.native("BatchNorm9d", "weight") is None
    assert layers.names_in("BatchNorm9d", {"scale": ()}) == []


def test_a_framework_s_module_has_the_word_of_its_nearest_ancestor():
    class Dense: ...

    class Wide(Dense): ...

    class Wider(Wide): ...

    assert layers.kind_of(Dense(), {Dense: "Linear"}) == "Linear"
    assert layers.kind_of(Wider(), {Dense: "Linear"}) == "Linear"
    assert layers.kind_of(Wider(), {Dense: "Linear", Wide: lambda module: "FixedLinear"}) == "FixedLinear"
    assert layers.kind_of(Dense(), {Wide: "Linear"}) == "Dense"


BAD_SIZES = [0, -1, 1.0, 2.5, True, "8", math.nan, np.float64(8.0)]


@pytest.mark.parametrize("size", BAD_SIZES, ids=repr)
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda size: Linear(size, 8), "Linear.in_features"),
        (lambda size: Linear(4, size), "Linear.out_features"),
        (lambda size: Embedding(size, 4), "Embedding.vocabulary"),
        (lambda size: Embedding(9, size), "Embedding.features"),
        (lambda size: FixedLinear(size, 8), "FixedLinear.in_features"),
        (lambda size: FixedLinear(4, size), "FixedLinear.out_features"),
    ],
)
def test_a_size_is_a_positive_whole_number(build, name, size):
    with refused(SpecError, f"expected {name} as a positive whole number, found {size!r}."):
        build(size)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: Linear(4, None), "Linear.out_features"),
        (lambda: Embedding(None, 4), "Embedding.vocabulary"),
        (lambda: FixedLinear(None, 8), "FixedLinear.in_features"),
    ],
)
def test_only_the_inputs_of_a_linear_layer_may_be_unknown(build, name):
    with refused(SpecError, f"expected {name} as a positive whole number, found None."):
        build()


@pytest.mark.parametrize(
    ("build", "expected", "values"),
    [
        (Dropout, "Dropout.rate in [0, 1)", [1, 1.5, -0.1, math.nan, "a", True, None]),
        (Halve, "Halve.limit as a positive number", [0, -1.0, math.inf, math.nan, "a", None]),
        (LeakyReLU, "LeakyReLU.slope as a finite number", [math.inf, math.nan, "a", None]),
        (lambda shift: FixedLinear(2, 2, shift), "FixedLinear.shift as a finite number", [-math.inf, math.nan, "a"]),
        (GELU, "GELU.approximate as 'none' or 'tanh'", ["Tanh", "", None, True]),
    ],
)
def test_a_number_out_of_its_range_is_refused(build, expected, values):
    for value in values:
        with refused(SpecError, f"expected {expected}, found {value!r}."):
            build(value)


@pytest.mark.parametrize("layer", [Dropout(0), Dropout(0.999), Halve(1e-9), LeakyReLU(-1), GELU("tanh")], ids=repr)
def test_a_number_at_the_edge_of_its_range_is_accepted(layer):
    assert all(isinstance(value, float | str) for value in vars(layer).values())


@pytest.mark.parametrize("kind", [Shared, Decoder])
@pytest.mark.parametrize("of", ["", 2, None, ReLU()], ids=repr)
def test_a_reference_is_a_path(kind, of):
    what = f"expected {kind.__name__}.of as the path of a layer"
    with refused(SpecError, f"{what}, found {of!r}. A path is text: '2' for the child of index 2."):
        kind(of)


NO_FANS = (
    "{}: expected a shape of at least 2 dimensions, to have fans, found shape {}. "
    "Give a vector or scalar an initializer with its own scale, such as Uniform, Normal or Zeros."
)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Linear(4, 8, bias_init=Xavier()), NO_FANS.format("bias", "(8,)")),
        (lambda: Linear(None, 8, bias_init=Xavier()), NO_FANS.format("bias", "(8,)")),
        (
            lambda: Linear(4, 8, weight_init=Dirac()),
            "weight: expected a shape of 3 or 4 or 5 dimensions for Dirac, found shape (8, 4).",
        ),
        (
            lambda: Embedding(9, 4, Dirac()),
            "weight: expected a shape of 3 or 4 or 5 dimensions for Dirac, found shape (9, 4).",
        ),
        (
            lambda: FixedLinear(2, 3, weight_init=Dirac()),
            "weight: expected a shape of 3 or 4 or 5 dimensions for Dirac, found shape (3, 2).",
        ),
    ],
)
def test_an_initializer_that_does_not_fit_its_layer_is_refused_at_once(build, text):
    with refused(InitializerError, text):
        build()


@pytest.mark.parametrize("value", [Normal, "normal", 0.01], ids=repr)
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda value: Linear(4, 8, weight_init=value), "weight"),
        (lambda value: Linear(None, 8, weight_init=value), "weight"),
        (lambda value: Linear(4, 8, bias_init=value), "bias"),
        (lambda value: Decoder("e", bias=True, bias_init=value).tied_to(Embedding(9, 4), "d"), "bias"),
        (lambda value: Embedding(9, 4, value), "weight"),
        (lambda value: FixedLinear(4, 8, weight_init=value), "weight"),
    ],
)
def test_what_is_no_initializer_is_refused(build, name, value):
    with refused(InitializerError, f"{name}: expected an initializer such as Normal(0.0, 0.01), found {value!r}."):
        build(value)


@pytest.mark.parametrize(
    "build", [lambda **options: Linear(4, 8, **options), lambda **options: Decoder("e", **options)]
)
def test_a_bias_is_there_or_not(build):
    kind = type(build()).__name__
    for value in (1, None, Zeros()):
        text = f"expected {kind}.bias as True or False, found {value!r}. Initializers have names of their own."
        with refused(SpecError, text):
            build(bias=value)
    with refused(SpecError, f"expected no bias_init in a {kind} without a bias, found Zeros(). Drop one of the two."):
        build(bias=False, bias_init=Zeros())
