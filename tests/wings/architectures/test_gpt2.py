"""GPT-2 against `GPT2LMHeadModel` of transformers: tables, outputs, gradients, dropout, initial distributions."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from paritree.common.errors import UsageError
from paritree.common.models.architectures.gpt2 import GPT2Config, gpt2
from paritree.common.wing.recognition import WINGS
from paritree.pairs.closeness import allowed

from . import twin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import GPT2Config as TheirConfig
    from transformers import GPT2LMHeadModel

TIME = 7
# Embeddings, in each layer two norms, four products, attention and an activation, the last norm, and the decoder.
DEPTH = 3 + 2 * 8
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "untied": {"tie_word_embeddings": False, "n_inner": 20},
    "scaled by layer": {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"},
    "not scaled": {"scale_attn_weights": False},
}


def their_config(**settings: Any) -> TheirConfig:
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 16, "vocab_size": 32, "n_positions": 9}
    return TheirConfig(**{**sizes, **settings}, attn_implementation="eager", use_cache=False)


def run(model: torch.nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return model(input_ids=tokens, attention_mask=mask).logits


def make(mask: np.ndarray | None = None, seen: np.ndarray | float = 1.0, **settings: Any) -> twin.Twin:
    config = their_config(**settings)
    inputs = (twin.tokens(32, 3, TIME), *(() if mask is None else (mask,)))
    spec = gpt2(twin.config_of(GPT2Config, config))
    return twin.Twin(spec, twin.scatter(GPT2LMHeadModel(config)), inputs, run, DEPTH, seen=seen)


RIGHT = twin.padded((TIME, 4, 1), TIME)
CASES = {
    **{name: make(**settings) for name, settings in VARIANTS.items()},
    "padded": make(mask=RIGHT),
    # A place on the left that is padding attends to nothing: what it gives is of no use, and here left out.
    "padded on the left": make(mask=RIGHT[:, ::-1].copy(), seen=RIGHT[:, ::-1, None].copy()),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_is_that_of_the_model(name: str) -> None:
    twin.assert_same_tables(CASES[name].spec, CASES[name].model)


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert gpt2(twin.config_of(GPT2Config, TheirConfig())) == gpt2(GPT2Config())


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


@pytest.mark.parametrize(
    "fault", [{"activation_function": "gelu"}, {"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True}]
)
def test_a_wrong_setting_is_seen(fault: dict[str, Any]) -> None:
    case = CASES["padded"]
    wrong = gpt2(replace(twin.config_of(GPT2Config, their_config()), **fault))
    assert case.too_large(replace(case, spec=wrong).ours("torch")) != {}


def test_a_mask_that_is_not_heeded_is_seen() -> None:
    case = CASES["padded"]
    assert case.too_large(replace(case, inputs=case.inputs[:1]).ours("torch")) != {}


def test_dropout_stands_where_the_model_has_it() -> None:
    twin.assert_same_dropout(make(resid_pdrop=0.2, embd_pdrop=0.3, attn_pdrop=0.4))


def test_the_initial_distributions_are_those_of_the_model() -> None:
    config = their_config(n_embd=32)
    spec = gpt2(twin.config_of(GPT2Config, config))
    twin.assert_same_distributions(spec, lambda: GPT2LMHeadModel(config), draws=40)


def test_cross_attention_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        twin.config_of(GPT2Config, their_config(add_cross_attention=True))
    assert str(caught.value) == (
        "GPT2Config.add_cross_attention: expected False, found True. Describe such a decoder by its layers."
    )
