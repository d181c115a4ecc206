"""The architectures by name, and by a configuration of transformers."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import paritree
from paritree import UsageError
from paritree.common.models.architectures import ARCHITECTURES, GPT2Config, from_transformers, gpt2

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

CLASSES = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel"),
    "bert": ("BertConfig", "BertForMaskedLM"),
    "albert": ("AlbertConfig", "AlbertForMaskedLM"),
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "t5": ("T5Config", "T5ForConditionalGeneration"),
    "vit": ("ViTConfig", "ViTForImageClassification"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_name_is_the_class_at_its_default_configuration(name: str) -> None:
    config, model = (getattr(transformers, each) for each in CLASSES[name])
    with torch.device("meta"):
        theirs = model(config())
    rows = paritree.table(ARCHITECTURES[name].make())
    assert [(row.path, row.shape) for row in rows.parameters] == [
        (path, tuple(array.shape)) for path, array in theirs.named_parameters()
    ]
    assert CLASSES[name][1] in ARCHITECTURES[name].title
    assert from_transformers(config()) == ARCHITECTURES[name].make()


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
    config = transformers.LlamaConfig(
        vocab_size=17, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    ours = paritree.carry(theirs, paritree.build(from_transformers(config), wing))
    tokens = np.arange(10).reshape(2, 5)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(tokens)).logits.numpy()
    with paritree.wing(wing).running():
        np.testing.assert_allclose(paritree.wing(wing).call(ours, (tokens,)), expected, atol=1e-6)
