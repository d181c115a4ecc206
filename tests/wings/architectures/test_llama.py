"""Llama against `LlamaForCausalLM` of transformers: tables, outputs, gradients, dropout, initial distributions.

Its norms and rotary embeddings cast to float32, also in a float64 model, so that its own float64 is no oracle.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from paritree.common.errors import UsageError
from paritree.common.models.architectures.llama import LlamaConfig, llama
from paritree.common.wing.recognition import WINGS

from . import twin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import LlamaConfig as TheirConfig
    from transformers import LlamaForCausalLM

TIME = 7
# The embedding, in each layer two norms, five products, rotation, attention, an activation and a gate, the last norm,
# and the decoder.
DEPTH = 3 + 2 * 11
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "tied": {"tie_word_embeddings": True, "num_key_value_heads": 4, "pad_token_id": 0},
    "one head of keys": {"num_key_value_heads": 1, "head_dim": 6, "rope_theta": 500.0, "hidden_act": "gelu"},
    "biases": {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-5},
}


def their_config(**settings: Any) -> TheirConfig:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}
    settings = {**sizes, "intermediate_size": 24, "vocab_size": 32, "max_position_embeddings": 9, **settings}
    return TheirConfig(**settings, attn_implementation="eager", use_cache=False)


def run(model: torch.nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return model(input_ids=tokens, attention_mask=mask).logits


def make(mask: np.ndarray | None = None, **settings: Any) -> twin.Twin:
    config = their_config(**settings)
    inputs = (twin.tokens(32, 3, TIME), *(() if mask is None else (mask,)))
    spec = llama(twin.config_of(LlamaConfig, config))
    model = twin.scatter(LlamaForCausalLM(config))
    return twin.Twin(spec, model, inputs, run, DEPTH)


CASES = {
    **{name: make(**settings) for name, settings in VARIANTS.items()},
    "padded": make(mask=twin.padded((TIME, 4, 1), TIME)),
    "padded on the left": make(mask=twin.padded((TIME, 4, 1), TIME)[:, ::-1].copy()),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_is_that_of_the_model(name: str) -> None:
    twin.assert_same_tables(CASES[name].spec, CASES[name].model)


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert llama(twin.config_of(LlamaConfig, TheirConfig())) == llama(LlamaConfig())


def test_the_repr_is_the_code_that_builds_it() -> None:
    twin.assert_repr_is_code(CASES["default"].spec)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_buffers_are_those_of_the_model(name: str) -> None:
    twin.assert_same_buffers(CASES[name].spec, CASES[name].model)


@pytest.mark.parametrize("name", CASES)
def test_the_model_agrees_with_the_oracle(name: str) -> None:
    assert CASES[name].too_large(CASES[name].theirs()) == {}
    if name != "padded on the left":
        # In float32, to which its softmax casts, float64's lowest number is -inf, and a row of these gives NaN.
        assert CASES[name].too_large(CASES[name].theirs(torch.float64)) == {}


@pytest.mark.parametrize("wing", WINGS)
@pytest.mark.parametrize("name", CASES)
def test_a_wing_agrees_with_the_oracle(name: str, wing: str, device: str) -> None:
    assert CASES[name].too_large(CASES[name].ours(wing, device)) == {}


@pytest.mark.parametrize("fault", [{"hidden_act": "gelu"}, {"rms_norm_eps": 1e-4}])
def test_a_wrong_setting_is_seen(fault: dict[str, Any]) -> None:
    case = CASES["padded"]
    wrong = llama(replace(twin.config_of(LlamaConfig, their_config()), **fault))
    assert case.too_large(replace(case, spec=wrong).ours("torch")) != {}


def test_a_mask_that_is_not_heeded_is_seen() -> None:
    case = CASES["padded"]
    assert case.too_large(replace(case, inputs=case.inputs[:1]).ours("torch")) != {}


def test_dropout_stands_where_the_model_has_it() -> None:
    twin.assert_same_dropout(make(attention_dropout=0.4))


def test_the_initial_distributions_are_those_of_the_model() -> None:
    config = their_config(num_hidden_layers=1)
    spec = llama(twin.config_of(LlamaConfig, config))
    twin.assert_same_distributions(spec, lambda: LlamaForCausalLM(config), draws=40)


def test_scaled_rotary_embeddings_are_refused() -> None:
    scaling = {"rope_type": "linear", "factor": 2.0}
    with pytest.raises(UsageError) as caught:
        twin.config_of(LlamaConfig, their_config(rope_scaling=scaling))
    assert str(caught.value) == f"LlamaConfig.rope_scaling: expected None, found {scaling!r}."
