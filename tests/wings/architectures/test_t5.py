"""T5 against transformers' `T5ForConditionalGeneration`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from transformers.models.t5.modeling_t5 import T5Attention

from paritree.common.errors import UsageError
from paritree.common.layers import RelativeBuckets
from paritree.common.models.architectures.t5 import T5Config, t5
from paritree.common.spec import expansion
from paritree.common.wing.recognition import WINGS
from paritree.pairs.closeness import allowed, relative_error

from .twin import Twin, assert_same_distributions, assert_same_tables, config_of, padded, scatter, tokens

# Sequences longer than max_distance reach every bucket.
TINY = {
    "vocab_size": 40,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 20,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
CONFIGURATIONS = {
    "1.0": {},
    "1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 3},
}


def config(name: str = "1.0", **settings: object) -> transformers.T5Config:
    return transformers.T5Config(**{**TINY, **CONFIGURATIONS[name], **settings}, attn_implementation="eager")


def run(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, *decoder: torch.Tensor) -> torch.Tensor:
    decoded = dict(zip(("decoder_input_ids", "decoder_attention_mask"), decoder, strict=False))
    return model(input_ids=ids, attention_mask=mask, use_cache=False, **decoded).logits


def twin(name: str, decoder_mask: bool = True) -> Twin:
    theirs = config(name)
    torch.manual_seed(0)
    inputs = (tokens(40, 2, 13), padded((13, 8), 13), tokens(40, 2, 15, seed=1), padded((11, 15), 15))
    return Twin(
        spec=t5(config_of(T5Config, theirs)),
        model=scatter(transformers.T5ForConditionalGeneration(theirs)),
        inputs=inputs if decoder_mask else inputs[:3],
        run=run,
        # Norm, three products in a row and two of attention; norm and two products in the feed forward. In the decoder
        # attention is there twice. Then two norms and the head.
        depth=9 * theirs.num_layers + 15 * theirs.num_decoder_layers + 3,
    )


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def pair(request: pytest.FixtureRequest) -> Twin:
    return twin(request.param)


def test_the_spec_has_the_names_shapes_order_and_aliases_of_the_torch_class(pair: Twin):
    assert_same_tables(pair.spec, pair.model)


def test_a_t5_small_has_the_names_and_shapes_of_the_torch_class():
    with torch.device("meta"):
        theirs = transformers.T5ForConditionalGeneration(transformers.T5Config())
    assert_same_tables(t5(T5Config()), theirs)


@pytest.mark.parametrize(
    ("name", "aliases"),
    [
        ("1.0", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]),
        ("1.1", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]),
    ],
)
def test_the_embedding_is_shared(name: str, aliases: list[str]):
    ties = expansion.table_of(t5(config_of(T5Config, config(name)))).ties
    assert [(tie.owner, tie.alias) for tie in ties] == [("shared.weight", alias) for alias in aliases]


def test_the_torch_class_itself_is_within_the_allowance(pair: Twin):
    assert pair.too_large(pair.theirs()) == {}


@pytest.mark.parametrize("wing", WINGS)
def test_its_weights_give_its_output_and_gradients(pair: Twin, wing: str):
    assert pair.too_large(pair.ours(wing)) == {}


@pytest.fixture(scope="module")
def unmasked() -> Twin:
    return twin("1.0", decoder_mask=False)


@pytest.mark.parametrize("wing", WINGS)
def test_the_mask_of_the_decoder_may_be_left_out(unmasked: Twin, wing: str):
    assert unmasked.too_large(unmasked.theirs()) == {}
    assert unmasked.too_large(unmasked.ours(wing)) == {}


@pytest.mark.parametrize("bidirectional", [True, False], ids=["encoder", "decoder"])
@pytest.mark.parametrize(("buckets", "most"), [(32, 128), (8, 10), (12, 100)])
def test_the_bucket_of_every_distance_is_that_of_the_torch_class(bidirectional: bool, buckets: int, most: int):
    distances = range(-300, 301)
    ours = RelativeBuckets(bidirectional, buckets, most)
    theirs = T5Attention._relative_position_bucket(torch.tensor(distances), bidirectional, buckets, most)
    assert [ours.bucket(distance) for distance in distances] == theirs.tolist()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_parameter_has_the_initial_distribution_of_the_torch_class(name: str):
    # A factor other than 1 shows where it enters.
    theirs = config(name, initializer_factor=0.5)
    spec = t5(config_of(T5Config, theirs))
    assert_same_distributions(spec, lambda: transformers.T5ForConditionalGeneration(theirs), draws=24)


def test_a_feed_forward_of_another_form_is_refused():
    with pytest.raises(UsageError) as raised:
        T5Config(feed_forward_proj="wide-gelu")
    assert str(raised.value) == (
        "T5Config.feed_forward_proj: expected the name of an activation, or 'gated-' and one, found 'wide-gelu'."
    )


def test_an_encoder_tied_to_the_decoder_is_refused():
    with pytest.raises(UsageError) as raised:
        T5Config(tie_encoder_decoder=True)
    assert str(raised.value) == "T5Config.tie_encoder_decoder: expected False, found True."


def test_an_unknown_activation_is_refused():
    with pytest.raises(UsageError) as raised:
        t5(T5Config(feed_forward_proj="gated-gelo"))
    assert str(raised.value) == (
        "gelo: expected the name of an activation, found none of that name. Did you mean 'gelu'?"
    )


@pytest.mark.parametrize("place", [1, 3], ids=["encoder", "decoder"])
def test_each_mask_changes_the_output(pair: Twin, place: int):
    """So that the comparisons above would show a mask that does not enter."""
    shown = [np.ones_like(array) if index == place else array for index, array in enumerate(pair.inputs)]
    with torch.no_grad():
        without, output = (run(pair.model, *map(torch.from_numpy, each)) for each in (shown, pair.inputs))
    assert relative_error(without.numpy(), output.numpy()) > 100 * allowed(pair.depth)
