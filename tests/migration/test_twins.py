"""Models that transformers ships in torch and in Flax: aligned without rules and carried as by its converter."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from flax import traverse_util

import paritree
from paritree import Pair

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers
    from transformers.modeling_flax_pytorch_utils import convert_pytorch_state_dict_to_flax

TOKENS = np.random.default_rng(0).integers(0, 32, (2, 7)).astype(np.int32)
SHOWN = np.ones_like(TOKENS)
PLACES = np.broadcast_to(np.arange(7, dtype=np.int32), TOKENS.shape).copy()
TEXT = {"tokens": TOKENS, "shown": SHOWN, "places": PLACES}
WIDTHS = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 24}


class Twin(NamedTuple):
    """The names of both classes and their configuration's, its fields, inputs, and both calls."""

    torch: str
    flax: str
    config: str
    settings: dict[str, Any]
    inputs: Any
    torch_call: Callable[[Any, Any], Any]
    flax_call: Callable[[Any, Any], Any]


def _gpt2(model: Any, inputs: Any) -> Any:
    return model[0].apply(model[1], inputs["tokens"], inputs["shown"], inputs["places"]).logits


def _bert(model: Any, inputs: Any) -> Any:
    kinds = inputs["shown"] * 0
    return model[0].apply(model[1], inputs["tokens"], inputs["shown"], kinds, inputs["places"], None).logits


def _text(model: Any, inputs: Any) -> Any:
    return model(input_ids=inputs["tokens"].long(), attention_mask=inputs["shown"]).logits


TWINS = {
    "gpt2": Twin(
        "GPT2LMHeadModel",
        "FlaxGPT2LMHeadModel",
        "GPT2Config",
        {"n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 32, "n_positions": 16},
        TEXT,
        _text,
        _gpt2,
    ),
    "bert": Twin(
        "BertForMaskedLM",
        "FlaxBertForMaskedLM",
        "BertConfig",
        {**WIDTHS, "vocab_size": 32, "max_position_embeddings": 16},
        TEXT,
        _text,
        _bert,
    ),
    "vit": Twin(
        "ViTForImageClassification",
        "FlaxViTForImageClassification",
        "ViTConfig",
        {**WIDTHS, "image_size": 8, "patch_size": 4, "num_labels": 3},
        (np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32),),
        lambda model, inputs: model(*inputs).logits,
        lambda model, inputs: model[0].apply(model[1], inputs[0].transpose(0, 2, 3, 1)).logits,
    ),
}


def built(twin: Twin) -> tuple[Any, Any]:
    """The torch model and the Flax wrapper, each with draws of its own."""
    config = getattr(transformers, twin.config)(**twin.settings)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(transformers, twin.torch)(config).eval(), getattr(transformers, twin.flax)(config, seed=1)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_aligns_and_carries_what_the_converter_of_the_library_does(name: str) -> None:
    twin = TWINS[name]
    reference, wrapper = built(twin)
    port = wrapper.module, {"params": wrapper.params}
    found = paritree.align(Pair(reference, port, twin.inputs, twin.torch_call, twin.flax_call))
    assert (found.verified, found.coverage) == (True, 1.0)
    # A key's bias moves all scores of a query alike, so that its gradient is zero.
    assert {row.reference.split(".")[-2:][0] for row in found.rows if row.evidence != "fingerprint"} <= {"key"}
    linen = paritree.wing("linen")
    weights = paritree.wing("torch").weights(reference)
    carried = linen.load(port, found.carry(weights))
    expected = convert_pytorch_state_dict_to_flax(reference.state_dict(), wrapper)
    # The converter lists a tied decoder once more, which the Flax model has no place for.
    converted = traverse_util.flatten_dict(expected)
    for path, array in traverse_util.flatten_dict(carried[1]["params"]).items():
        np.testing.assert_array_equal(array, converted[path], err_msg=".".join(path))
    back = found.inverse().carry(linen.weights(carried))
    assert all(back[row.reference].tobytes() == weights[row.reference].tobytes() for row in found.rows)
