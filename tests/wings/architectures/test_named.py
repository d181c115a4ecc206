"""The architectures by name, and by a configuration of transformers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import paritree
from paritree import UsageError
from paritree.common.models.architectures import ARCHITECTURES, GPT2Config, from_transformers, gpt2

from . import cases
from .twin import assert_same_tables

# The named architectures whose class of transformers has their defaults.
CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "bert": "BertForMaskedLM",
    "albert": "AlbertForMaskedLM",
    "llama": "LlamaForCausalLM",
    "t5": "T5ForConditionalGeneration",
    "vit": "ViTForImageClassification",
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_name_is_the_class_at_its_default_configuration(name: str) -> None:
    described, named = cases.ARCHITECTURES[name], ARCHITECTURES[name]
    config = described.their_config()
    with torch.device("meta"):
        theirs = described.model(config)
    assert type(theirs).__name__ == CLASSES[name]
    assert CLASSES[name] in named.title
    assert named.make() == described.spec(described.config()) == from_transformers(config)
    assert_same_tables(named.make(), theirs)


def test_any_object_with_the_fields_will_do() -> None:
    ours = GPT2Config(n_layer=1)
    assert from_transformers(SimpleNamespace(model_type="gpt2", **vars(ours))) == gpt2(ours)


def test_what_is_not_described_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        from_transformers(SimpleNamespace(model_type="gtp2"))
    assert str(caught.value) == (
        "gtp2: expected a model type that is described, found none of that name. Did you mean 'gpt2'?"
    )
    with pytest.raises(UsageError) as caught:
        from_transformers(SimpleNamespace(model_type="gpt2", n_layer=1))
    assert str(caught.value).startswith("GPT2Config: expected a configuration with all of its fields, found none of ")


@pytest.mark.parametrize("wing", ["torch", "linen", "nnx"])
def test_a_live_model_s_weights_are_carried_by_name(wing: str) -> None:
    config = cases.LLAMA.configured()
    theirs = cases.LLAMA.model(config).eval()
    ours = paritree.carry(theirs, paritree.build(from_transformers(config), wing))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(cases.TEXT)).logits.numpy()
    with paritree.wing(wing).running():
        np.testing.assert_allclose(paritree.wing(wing).call(ours, (cases.TEXT,)), expected, atol=1e-6)
