"""Activations by the names of transformers' configurations, and settings that leave a part of a model out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers.activations import ACT2FN

from paritree.common.errors import UsageError
from paritree.common.models.architectures.llama import LlamaConfig, llama
from paritree.common.models.architectures.parts import ACTIVATIONS, REFUSED, activation
from paritree.common.spec import Layer
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import relative_error

from .cases import BASIC, LARGE_PICTURES, PICTURES, RESNET, VIT, image_logits
from .twin import Inputs, assert_same_tables, config_of, scatter

# Both sides of every kink, and values at which the forms of GELU differ.
VALUES = np.linspace(-8, 8, 641)[None]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_name_means_what_it_means_in_transformers(name: str):
    wing = load_wing("torch")
    with wing.running(dtype="float64"):
        found = wing.call(wing.build(activation(name), dtype="float64"), (VALUES,))
    np.testing.assert_allclose(found, ACT2FN[name](torch.from_numpy(VALUES)).numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["relu2", "quick_gelu", "gelu_fast"])
def test_one_that_is_written_as_a_block_has_the_derivative_of_transformers(name: str):
    leaf = torch.tensor(VALUES, requires_grad=True)
    ACT2FN[name](leaf).sum().backward()
    assert leaf.grad is not None
    for wing in map(load_wing, WINGS):
        with wing.running(dtype="float64"):
            values = wing.call(wing.build(activation(name), dtype="float64"), (VALUES,))
            model = wing.build(activation(name), dtype="float64")
            step = 1e-6
            rise = (wing.call(model, (VALUES + step,)) - wing.call(model, (VALUES - step,))) / (2 * step)
        assert relative_error(values, ACT2FN[name](torch.tensor(VALUES)).numpy()) < 1e-15
        assert relative_error(rise, leaf.grad.numpy()) < 1e-6


def test_every_name_of_transformers_is_described_or_refused():
    assert set(ACTIVATIONS) | set(REFUSED) == set(ACT2FN)
    assert not set(ACTIVATIONS) & set(REFUSED)


def test_a_name_that_no_layer_expresses_is_refused_without_another():
    with pytest.raises(UsageError) as raised:
        activation("laplace")
    assert str(raised.value) == (
        "laplace: expected an activation that the layers here express, found an error function, which no layer is."
    )
    with pytest.raises(UsageError) as raised:
        activation("hardswish")
    assert str(raised.value) == (
        "hardswish: expected the name of an activation, found none of that name. There are relu, relu2, relu6, gelu, "
        "gelu_python, gelu_accurate, gelu_fast, gelu_new, gelu_python_tanh, gelu_pytorch_tanh, quick_gelu, silu, "
        "swish, tanh, sigmoid, leaky_relu, linear, mish."
    )


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError) as raised:
        activation("rellu")
    assert str(raised.value) == (
        "rellu: expected the name of an activation, found none of that name. Did you mean 'relu'?"
    )


# Models without a head, and a scaling that scales nothing


@pytest.mark.parametrize("hidden_act", ["gelu", "quick_gelu", "linear"])
def test_a_vit_without_labels_gives_the_class_token(hidden_act: str):
    theirs = VIT.configured(num_hidden_layers=1, hidden_act=hidden_act, num_labels=0)
    _assert_same(VIT.spec_of(theirs), scatter(VIT.model(theirs)), PICTURES)


def test_a_resnet_without_labels_gives_the_pooled_features():
    theirs = RESNET.configured(**BASIC, num_labels=0)
    _assert_same(RESNET.spec_of(theirs), scatter(RESNET.model(theirs)), LARGE_PICTURES)


def _assert_same(spec: Layer, model: nn.Module, inputs: Inputs) -> None:
    assert_same_tables(spec, model)
    expected = image_logits(model, torch.from_numpy(inputs[0])).detach().numpy()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    for name in WINGS:
        wing = load_wing(name)
        found = wing.call(wing.load(wing.build(spec), weights), inputs)
        assert found.shape == expected.shape
        assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("key", ["rope_type", "type"])
def test_a_rope_scaling_of_the_type_default_is_none(key: str):
    settings = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    settings |= {"num_attention_heads": 2}
    theirs = transformers.LlamaConfig(**settings, rope_scaling={key: "default"})
    assert llama(config_of(LlamaConfig, theirs)) == llama(LlamaConfig(**settings))
    assert LlamaConfig(**settings, rope_scaling={key: "default"}).rope_scaling == {key: "default"}


@pytest.mark.parametrize("scaling", [{}, {"rope_type": "linear", "factor": 2.0}, {"type": "dynamic"}])
def test_a_rope_scaling_that_scales_or_says_nothing_is_refused(scaling: dict[str, object]):
    with pytest.raises(UsageError) as raised:
        LlamaConfig(rope_scaling=scaling)
    assert str(raised.value) == f"LlamaConfig.rope_scaling: expected None, found {scaling!r}."
