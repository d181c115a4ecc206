"""BERT against `BertForMaskedLM` of transformers: tables, outputs, gradients, dropout, initial distributions."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from paritree.common.errors import UsageError
from paritree.common.models.architectures.bert import BertConfig, bert
from paritree.common.wing.recognition import WINGS
from paritree.pairs.closeness import allowed

from . import twin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import BertConfig as TheirConfig
    from transformers import BertForMaskedLM

TIME = 7
# Embeddings and their norm, in each layer two norms, five products, attention and an activation, and in the head two
# products, a norm and an activation.
DEPTH = 2 + 2 * 9 + 4
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "no padding token": {"pad_token_id": None, "hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu", "type_vocab_size": 3, "layer_norm_eps": 1e-5},
}


def their_config(**settings: Any) -> TheirConfig:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16, "intermediate_size": 24}
    settings = {**sizes, "vocab_size": 32, "max_position_embeddings": 9, **settings}
    return TheirConfig(**settings, attn_implementation="eager")


def run(model: torch.nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return model(input_ids=tokens, attention_mask=mask).logits


def make(mask: np.ndarray | None = None, **settings: Any) -> twin.Twin:
    config = their_config(**settings)
    tokens = twin.tokens(32, 3, TIME) * (1 if mask is None else mask)
    inputs = (tokens, *(() if mask is None else (mask,)))
    spec = bert(twin.config_of(BertConfig, config))
    model = twin.scatter(BertForMaskedLM(config))
    return twin.Twin(spec, model, inputs, run, DEPTH, vanishing=r"\.key\.bias$")


CASES = {
    **{name: make(**settings) for name, settings in VARIANTS.items()},
    "padded": make(mask=twin.padded((TIME, 4, 1), TIME)),
    "padded on the left": make(mask=twin.padded((TIME, 4, 1), TIME)[:, ::-1].copy()),
    "a sequence of nothing": make(mask=twin.padded((TIME, 4, 0), TIME)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_is_that_of_the_model(name: str) -> None:
    twin.assert_same_tables(CASES[name].spec, CASES[name].model)


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert bert(twin.config_of(BertConfig, TheirConfig())) == bert(BertConfig())


def test_the_repr_is_the_code_that_builds_it() -> None:
    twin.assert_repr_is_code(CASES["default"].spec)


def test_the_buffers_are_those_of_the_model() -> None:
    twin.assert_same_buffers(CASES["default"].spec, CASES["default"].model)


@pytest.mark.parametrize("name", CASES)
def test_the_model_agrees_with_the_oracle(name: str) -> None:
    case = CASES[name]
    assert case.too_large(case.theirs()) == {}
    assert max(case.errors(case.theirs(torch.float64)).values()) <= allowed(DEPTH, "float64")


@pytest.mark.parametrize("wing", WINGS)
@pytest.mark.parametrize("name", CASES)
def test_a_wing_agrees_with_the_oracle(name: str, wing: str, device: str) -> None:
    assert CASES[name].too_large(CASES[name].ours(wing, device)) == {}


@pytest.mark.parametrize("fault", [{"hidden_act": "gelu_new"}, {"layer_norm_eps": 1e-4}, {"pad_token_id": None}])
def test_a_wrong_setting_is_seen(fault: dict[str, Any]) -> None:
    case = CASES["padded"]
    wrong = bert(replace(twin.config_of(BertConfig, their_config()), **fault))
    assert case.too_large(replace(case, spec=wrong).ours("torch")) != {}


def test_a_mask_that_is_not_heeded_is_seen() -> None:
    case = CASES["padded"]
    assert case.too_large(replace(case, inputs=case.inputs[:1]).ours("torch")) != {}


def test_dropout_stands_where_the_model_has_it() -> None:
    twin.assert_same_dropout(make(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.4))


def test_the_initial_distributions_are_those_of_the_model() -> None:
    config = their_config(hidden_size=32)
    spec = bert(twin.config_of(BertConfig, config))
    twin.assert_same_distributions(spec, lambda: BertForMaskedLM(config), draws=40)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("position_embedding_type", "relative_key", "expected 'absolute', found 'relative_key'."),
        ("is_decoder", True, "expected False, found True."),
        ("tie_word_embeddings", False, "expected True, found False."),
    ],
)
def test_what_is_not_described_is_refused(name: str, value: Any, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        twin.config_of(BertConfig, their_config(**{name: value}))
    assert str(caught.value) == f"BertConfig.{name}: {text}"
