"""Lazy construction where the framework has it, and what stands for it where it has not."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

from paritree import impl_torch
from paritree.common.errors import InitializerError, NotExpressibleError, ShapeError, SpecError
from paritree.common.initializers import Normal, Orthogonal
from paritree.common.layers import FixedLinear, Linear, ReLU
from paritree.common.spec import Block, Layer, Sequential, Shared, flow
from paritree.common.spec.rules import Rule
from paritree.impl_jax import linen, nnx

from .conftest import assert_same, exactly, normal

LAZY: dict[str, Layer] = {
    "with biases": Sequential(Linear(None, 8), ReLU(), Linear(None, 2)),
    "without": Sequential(Linear(None, 8, bias=False), Linear(8, 2)),
    "nested, shared and beside a buffer": Block(
        {
            "first": Sequential(Linear(None, 5, weight_init=Orthogonal()), FixedLinear(5, 5)),
            "second": Block({"inner": Linear(None, 5)}),
            "again": Shared("second.inner"),
        }
    ),
}
X = (normal(2, 5),)


def unborn(wing: Any, spec: Layer, **options: Any) -> Any:
    """What `materialize` takes: a lazy model, or None where there is no such thing."""
    return None if wing.NAME == "nnx" else wing.build(spec, **options)


@pytest.mark.parametrize("name", LAZY)
def test_an_input_gives_the_widths_and_the_draws_are_those_of_the_full_spec(wing: Any, name: str) -> None:
    spec = LAZY[name]
    model = unborn(wing, spec, seed=4)
    assert wing.is_lazy(model)
    model = wing.materialize(model, spec, X, seed=4)
    assert not wing.is_lazy(model)
    known, _ = flow(spec, (5,))
    built = wing.build(known, seed=4)
    assert wing.table(model) == wing.table(built)
    assert_same(wing.weights(model), wing.weights(built))
    np.testing.assert_array_equal(wing.call(model, X), wing.call(built, X))


def test_what_has_its_parameters_keeps_them(wing: Any) -> None:
    spec = LAZY["with biases"]
    model = wing.materialize(unborn(wing, spec), spec, X, seed=4)
    before = wing.weights(model)
    assert_same(wing.weights(wing.materialize(model, spec, X, seed=5)), before)


def test_torch_keeps_what_it_knew_before_the_input() -> None:
    spec = Sequential(Linear(None, 8), Linear(8, 2))
    model = impl_torch.build(spec, seed=1)
    known = model[1].weight.detach().clone()
    model = impl_torch.materialize(model, spec, X, seed=2)
    assert torch.equal(model[1].weight, known)


def test_torch_leaves_the_global_generator_alone() -> None:
    # A LazyLinear draws its parameters from it, before ours are drawn.
    spec = LAZY["with biases"]
    model = impl_torch.build(spec)
    before = torch.get_rng_state()
    impl_torch.materialize(model, spec, X)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wing", ["torch", "linen"], indirect=True)
def test_the_dtype_is_that_of_the_lazy_model(wing: Any) -> None:
    spec = LAZY["with biases"]
    with wing.running(dtype="float64"):
        model = wing.materialize(wing.build(spec, dtype="float64"), spec, (X[0].astype("float64"),))
        assert {row.dtype for row in wing.table(model)} == {"float64"}


def test_an_input_whose_width_does_not_chain(wing: Any) -> None:
    spec = Sequential(Linear(5, 8), Linear(None, 2))
    model = unborn(wing, spec)
    text = (
        "0: expected an input of width 5 (in_features), found width 3. "
        "Set in_features to 3, or change the layer before."
    )
    with pytest.raises(SpecError, match=exactly(text)):
        wing.materialize(model, spec, (normal(2, 3),))
    text = "expected an input to learn the widths from, found none. Give the arrays of one forward pass."
    with pytest.raises(SpecError, match=exactly(text)):
        wing.materialize(model, LAZY["with biases"], ())


def test_nnx_has_no_lazy_model() -> None:
    text = (
        "0.weight: expected a width that the spec knows, since an nnx.Module has its parameters from the start, "
        "found None. Give in_features, or use materialize(None, spec, inputs)."
    )
    with pytest.raises(NotExpressibleError, match=exactly(text)):
        nnx.build(LAZY["with biases"])


def test_linen_has_no_variables_before_an_input() -> None:
    model = linen.build(LAZY["with biases"])
    assert linen.weights(model) == {}
    assert len(linen.table(model)) == 0
    # The bias is uniform within 1 / sqrt(width), and the module does not know the width, even when Flax does.
    text = (
        "expected an initializer that knows the width of its layer, found one that does not. "
        "Call `materialize` with an input, and use the model that it returns."
    )
    with pytest.raises(InitializerError) as caught:
        model[0].init(jax.random.key(0), *X)
    assert str(caught.value) == text


def test_torch_says_what_is_not_known_yet() -> None:
    model = impl_torch.build(LAZY["with biases"])
    assert [row.shape for row in impl_torch.table(model)][:2] == [(None,), (None,)]
    text = "0.weight: expected a shape that is known, found (?,). Send an input through the model first."
    with pytest.raises(ShapeError, match=exactly(text)):
        impl_torch.weights(model)
    with pytest.raises(InitializerError, match=exactly(text)):
        impl_torch.initialize(model, Rule(Normal()))
    text = (
        "0.weight: expected shape (?,), found shape (8, 5). "
        "An axis is not known yet: send an input through the model first."
    )
    with pytest.raises(ShapeError, match=exactly(text)):
        impl_torch.set_parameter(model, "0.weight", np.zeros((8, 5), np.float32))
    assert impl_torch.is_lazy(model)
