"""The architectures and their small models: what the torch class is, how it is set, and what it is given.

A torch class is transformers' own, or for the LSTM a module written as PyTorch's `word_language_model` example has it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from paritree.common.models import architectures as ours
from paritree.common.spec import Layer

from .twin import Inputs, Twin, config_of, padded, scatter, tokens

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """An architecture, ours and the torch class that it describes.

    config, spec: our configuration, and what makes a spec of it.
    their_config, model: the configuration of the torch class, and the class.
    sizes: what every small model is set to.
    run: the model's output for its inputs as tensors.
    prepared: the model with values that tell one array from another.
    vanishing: see Twin.
    devices: on which the wings are run.
    faults: fields of our configuration that, set so, give another model.
    dropout: settings with a rate of its own wherever there is dropout.
    drawn: settings under which initial distributions are compared, over `draws` models.
    refused: settings of theirs that ours does not describe, and what is said of them.
    """

    config: type[Any]
    spec: Callable[[Any], Layer]
    their_config: Callable[..., Any]
    model: Callable[[Any], nn.Module]
    sizes: Settings
    run: Callable[..., torch.Tensor]
    prepared: Callable[[nn.Module], nn.Module] = scatter
    vanishing: str = r"(?!)"
    devices: tuple[str, ...] = ("cpu",)
    faults: tuple[Settings, ...] = ()
    dropout: Settings | None = None
    drawn: tuple[Settings, ...] = ({},)
    draws: int = 24
    refused: tuple[tuple[Settings, str], ...] = ()

    def configured(self, **settings: Any) -> Any:
        """Their configuration of a small model."""
        return self.their_config(**{**self.sizes, **settings})

    def spec_of(self, theirs: Any) -> Layer:
        """Our spec for their configuration."""
        return self.spec(config_of(self.config, theirs))


@dataclass(frozen=True)
class Case:
    """One small model of an architecture, with inputs.

    settings: beside the architecture's sizes.
    depth, seen: see Twin.
    float64: the precision of what the torch class gives in float64, which a cast in its code makes less exact; None for
        one that gives nothing of use.
    """

    architecture: Architecture
    inputs: Inputs
    depth: int
    settings: Settings = field(default_factory=dict)
    seen: np.ndarray | float = 1.0
    float64: str | None = "float64"

    @cached_property
    def twin(self) -> Twin:
        """Made once in a process, when first asked for."""
        return self.with_settings()

    def with_settings(self, **settings: Any) -> Twin:
        made = self.architecture
        config = made.configured(**{**self.settings, **settings})
        torch.manual_seed(0)
        model = made.prepared(made.model(config))
        return Twin(made.spec_of(config), model, self.inputs, made.run, self.depth, made.vanishing, self.seen)


def of_transformers(name: str) -> Callable[..., Any]:
    """A class of transformers. It is imported when it is first called, which takes seconds."""

    def make(*arguments: Any, **settings: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = getattr(importlib.import_module("transformers"), name)
        return kind(*arguments, **settings)

    return make


def logits(model: nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return model(input_ids=tokens, attention_mask=mask).logits


def image_logits(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixels).logits


TIME = 7
TEXT = tokens(32, 3, TIME)
RIGHT = padded((TIME, 4, 1), TIME)
LEFT = RIGHT[:, ::-1].copy()
# Where nothing is to be attended to at all.
NOTHING = padded((TIME, 4, 0), TIME)
DEVICES = ("cpu", "cuda")


def with_padding(mask: np.ndarray) -> Inputs:
    """The text with the token of padding where the mask says so, and the mask."""
    return TEXT * mask, mask


BERT = Architecture(
    config=ours.BertConfig,
    spec=ours.bert,
    their_config=of_transformers("BertConfig"),
    model=of_transformers("BertForMaskedLM"),
    sizes={
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_size": 16,
        "intermediate_size": 24,
        "vocab_size": 32,
        "max_position_embeddings": 9,
        "attn_implementation": "eager",
    },
    run=logits,
    vanishing=r"\.key\.bias$",
    devices=DEVICES,
    faults=({"hidden_act": "gelu_new"}, {"layer_norm_eps": 1e-4}, {"pad_token_id": None}),
    dropout={"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.4},
    drawn=({"hidden_size": 32},),
    draws=40,
    refused=(
        (
            {"position_embedding_type": "relative_key"},
            "BertConfig.position_embedding_type: expected 'absolute', found 'relative_key'.",
        ),
        ({"is_decoder": True}, "BertConfig.is_decoder: expected False, found True."),
        ({"tie_word_embeddings": False}, "BertConfig.tie_word_embeddings: expected True, found False."),
    ),
)
# Embeddings and their norm, in each layer two norms, five products, attention and an activation, and in the head two
# products, a norm and an activation.
BERT_DEPTH = 2 + 2 * 9 + 4

ALBERT = Architecture(
    config=ours.AlbertConfig,
    spec=ours.albert,
    their_config=of_transformers("AlbertConfig"),
    model=of_transformers("AlbertForMaskedLM"),
    sizes={**BERT.sizes, "num_hidden_layers": 3, "embedding_size": 8},
    run=logits,
    vanishing=BERT.vanishing,
    devices=DEVICES,
    faults=({"hidden_act": "gelu"}, {"layer_norm_eps": 1e-4}, {"pad_token_id": None}),
    dropout=BERT.dropout,
    drawn=({"embedding_size": 32},),
    draws=40,
    refused=(
        (
            {"position_embedding_type": "relative_key"},
            "AlbertConfig.position_embedding_type: expected 'absolute', found 'relative_key'.",
        ),
        ({"tie_word_embeddings": False}, "AlbertConfig.tie_word_embeddings: expected True, found False."),
    ),
)
# Embeddings, their norm and their product, and then as BERT.
ALBERT_DEPTH = 3 + 3 * 9 + 4

GPT2 = Architecture(
    config=ours.GPT2Config,
    spec=ours.gpt2,
    their_config=of_transformers("GPT2Config"),
    model=of_transformers("GPT2LMHeadModel"),
    sizes={
        "n_layer": 2,
        "n_head": 4,
        "n_embd": 16,
        "vocab_size": 32,
        "n_positions": 9,
        "attn_implementation": "eager",
        "use_cache": False,
    },
    run=logits,
    devices=DEVICES,
    faults=(
        {"activation_function": "gelu"},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
    ),
    dropout={"resid_pdrop": 0.2, "embd_pdrop": 0.3, "attn_pdrop": 0.4},
    drawn=({"n_embd": 32},),
    draws=40,
    refused=(
        (
            {"add_cross_attention": True},
            "GPT2Config.add_cross_attention: expected False, found True. Describe such a decoder by its layers.",
        ),
    ),
)
# Embeddings, in each layer two norms, four products, attention and an activation, the last norm, and the decoder.
GPT2_DEPTH = 3 + 2 * 8

SCALING = {"rope_type": "linear", "factor": 2.0}
LLAMA = Architecture(
    config=ours.LlamaConfig,
    spec=ours.llama,
    their_config=of_transformers("LlamaConfig"),
    model=of_transformers("LlamaForCausalLM"),
    sizes={**BERT.sizes, "num_key_value_heads": 2, "use_cache": False},
    run=logits,
    devices=DEVICES,
    faults=({"hidden_act": "gelu"}, {"rms_norm_eps": 1e-4}),
    dropout={"attention_dropout": 0.4},
    drawn=({"num_hidden_layers": 1},),
    draws=40,
    refused=(({"rope_scaling": SCALING}, f"LlamaConfig.rope_scaling: expected None, found {SCALING!r}."),),
)
# The embedding, in each layer two norms, five products, rotation, attention, an activation and a gate, the last norm,
# and the decoder.
LLAMA_DEPTH = 3 + 2 * 11


def sequence_to_sequence(
    model: nn.Module, ids: torch.Tensor, mask: torch.Tensor, *decoder: torch.Tensor
) -> torch.Tensor:
    decoded = dict(zip(("decoder_input_ids", "decoder_attention_mask"), decoder, strict=False))
    return model(input_ids=ids, attention_mask=mask, use_cache=False, **decoded).logits


# Sequences longer than max_distance reach every bucket.
PAIR_OF_TEXTS = (tokens(40, 2, 13), padded((13, 8), 13), tokens(40, 2, 15, seed=1), padded((11, 15), 15))
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 3}
T5 = Architecture(
    config=ours.T5Config,
    spec=ours.t5,
    their_config=of_transformers("T5Config"),
    model=of_transformers("T5ForConditionalGeneration"),
    sizes={
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
        "attn_implementation": "eager",
    },
    run=sequence_to_sequence,
    # A factor other than 1 shows where it enters.
    drawn=({"initializer_factor": 0.5}, {"initializer_factor": 0.5, **GATED}),
)
# Norm, three products in a row and two of attention; norm and two products in the feed forward: nine in each layer of
# the encoder. In the decoder attention is there twice. Then two norms and the head.
T5_DEPTH, GATED_DEPTH = 9 * 2 + 15 * 2 + 3, 9 * 2 + 15 * 3 + 3

VIT = Architecture(
    config=ours.ViTConfig,
    spec=ours.vit,
    their_config=of_transformers("ViTConfig"),
    model=of_transformers("ViTForImageClassification"),
    # Images and patches that are not square show whether the patches are in order.
    sizes={
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "image_size": (12, 20),
        "patch_size": (4, 5),
        "num_channels": 3,
        "num_labels": 5,
        "attn_implementation": "eager",
    },
    run=image_logits,
    vanishing=r"key\.bias$",
    # A std of 1, cut at two absolute, shows that the cut is not in units of the std.
    drawn=({"initializer_range": 1.0},),
)
PICTURES = (np.random.default_rng(0).normal(size=(2, 3, 12, 20)).astype(np.float32),)
# A projection, two norms and six products in each layer, a norm and a projection.
VIT_DEPTH = 1 + 8 * 2 + 2


def scatter_statistics(model: nn.Module) -> nn.Module:
    """The model with running statistics that differ from channel to channel, and a count."""
    generator = torch.Generator().manual_seed(3)
    for name, buffer in scatter(model).named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.5 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        else:
            buffer.fill_(7)
    return model


# Few different shapes, since JAX compiles for each.
BASIC = {"layer_type": "basic", "hidden_sizes": [8, 8], "depths": [1, 2]}
BOTTLENECK = {"layer_type": "bottleneck", "hidden_sizes": [32, 32], "depths": [2, 1]}
DOWN = {"depths": [2], "downsample_in_first_stage": True}
RESNET = Architecture(
    config=ours.ResNetConfig,
    spec=ours.resnet,
    their_config=of_transformers("ResNetConfig"),
    model=of_transformers("ResNetForImageClassification"),
    sizes={"num_channels": 3, "embedding_size": 8, "num_labels": 5},
    run=image_logits,
    prepared=scatter_statistics,
    drawn=(BOTTLENECK,),
)
LARGE_PICTURES = (np.random.default_rng(0).normal(size=(4, 3, 22, 30)).astype(np.float32),)


def resnet_depth(layers: int, convolutions: int) -> int:
    """A convolution and a norm in the stem and in each convolutional layer, and the classifier."""
    return 2 * (1 + convolutions * layers) + 1


class LanguageModel(nn.Module):
    """Tokens (time, batch) to log-probabilities (time, batch, vocabulary)."""

    def __init__(self, config: ours.LSTMLanguageModelConfig) -> None:
        super().__init__()
        self.drop = nn.Dropout(config.dropout)
        self.encoder = nn.Embedding(config.ntoken, config.ninp)
        self.rnn = nn.LSTM(config.ninp, config.nhid, config.nlayers, dropout=config.dropout)
        self.decoder = nn.Linear(config.nhid, config.ntoken)
        if config.tie_weights:
            self.decoder.weight = self.encoder.weight
        for weight in (self.encoder.weight, self.decoder.weight):
            nn.init.uniform_(weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(self.drop(self.encoder(ids)))
        return nn.functional.log_softmax(self.decoder(self.drop(states)), dim=-1)


UNTIED = {"ninp": 10, "tie_weights": False}
LSTM_LM = Architecture(
    config=ours.LSTMLanguageModelConfig,
    spec=ours.lstm_lm,
    their_config=ours.LSTMLanguageModelConfig,
    model=LanguageModel,
    sizes={"ntoken": 30, "ninp": 12, "nhid": 12},
    run=lambda module, ids: module(ids.T).transpose(0, 1),
    drawn=({}, UNTIED),
)
SENTENCES = (tokens(30, 3, 7),)
# The embedding, each layer of the LSTM, and the decoder.
LSTM_DEPTH = 1 + 2 + 1

ARCHITECTURES = {
    "bert": BERT,
    "albert": ALBERT,
    "gpt2": GPT2,
    "llama": LLAMA,
    "t5": T5,
    "vit": VIT,
    "resnet": RESNET,
    "lstm-lm": LSTM_LM,
}

# The norms and rotations of Llama, the norms of T5 and the attention of ViT cast to float32, also in a float64 model.
CAST = {"float64": "float32"}
CASES = {
    "bert": Case(BERT, (TEXT,), BERT_DEPTH),
    "bert, no padding token": Case(BERT, (TEXT,), BERT_DEPTH, {"pad_token_id": None, "hidden_act": "gelu_new"}),
    "bert, relu": Case(BERT, (TEXT,), BERT_DEPTH, {"hidden_act": "relu", "type_vocab_size": 3, "layer_norm_eps": 1e-5}),
    "bert, padded": Case(BERT, with_padding(RIGHT), BERT_DEPTH),
    "bert, padded on the left": Case(BERT, with_padding(LEFT), BERT_DEPTH),
    "bert, a sequence of nothing": Case(BERT, with_padding(NOTHING), BERT_DEPTH),
    "albert": Case(ALBERT, (TEXT,), ALBERT_DEPTH),
    "albert, groups": Case(ALBERT, (TEXT,), ALBERT_DEPTH, {"num_hidden_groups": 2, "pad_token_id": None}),
    "albert, inner groups": Case(
        ALBERT,
        (TEXT,),
        ALBERT_DEPTH,
        {"num_hidden_groups": 2, "num_hidden_layers": 4, "inner_group_num": 2, "hidden_act": "gelu"},
    ),
    "albert, padded": Case(ALBERT, with_padding(RIGHT), ALBERT_DEPTH),
    "gpt2": Case(GPT2, (TEXT,), GPT2_DEPTH),
    "gpt2, untied": Case(GPT2, (TEXT,), GPT2_DEPTH, {"tie_word_embeddings": False, "n_inner": 20}),
    "gpt2, scaled by layer": Case(
        GPT2, (TEXT,), GPT2_DEPTH, {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"}
    ),
    "gpt2, not scaled": Case(GPT2, (TEXT,), GPT2_DEPTH, {"scale_attn_weights": False}),
    "gpt2, padded": Case(GPT2, (TEXT, RIGHT), GPT2_DEPTH),
    # A place on the left that is padding attends to nothing: what it gives is of no use, and here left out.
    "gpt2, padded on the left": Case(GPT2, (TEXT, LEFT), GPT2_DEPTH, seen=LEFT[..., None]),
    "llama": Case(LLAMA, (TEXT,), LLAMA_DEPTH, **CAST),
    "llama, tied": Case(
        LLAMA,
        (TEXT,),
        LLAMA_DEPTH,
        {"tie_word_embeddings": True, "num_key_value_heads": 4, "pad_token_id": 0},
        **CAST,
    ),
    "llama, one head of keys": Case(
        LLAMA,
        (TEXT,),
        LLAMA_DEPTH,
        {"num_key_value_heads": 1, "head_dim": 6, "rope_theta": 500.0, "hidden_act": "gelu"},
        **CAST,
    ),
    "llama, biases": Case(
        LLAMA, (TEXT,), LLAMA_DEPTH, {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-5}, **CAST
    ),
    "llama, padded": Case(LLAMA, (TEXT, RIGHT), LLAMA_DEPTH, **CAST),
    # In float32, to which its softmax casts, float64's lowest number is -inf, and a row of these gives NaN.
    "llama, padded on the left": Case(LLAMA, (TEXT, LEFT), LLAMA_DEPTH, float64=None),
    "t5": Case(T5, PAIR_OF_TEXTS, T5_DEPTH, **CAST),
    "t5, 1.1": Case(T5, PAIR_OF_TEXTS, GATED_DEPTH, GATED, **CAST),
    "t5, no mask of the decoder": Case(T5, PAIR_OF_TEXTS[:3], T5_DEPTH, **CAST),
    "vit": Case(VIT, PICTURES, VIT_DEPTH, **CAST),
    "vit, no biases": Case(
        VIT, PICTURES, VIT_DEPTH, {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}, **CAST
    ),
    "resnet, basic": Case(RESNET, LARGE_PICTURES, resnet_depth(3, 2), BASIC),
    "resnet, basic, downsampled": Case(
        RESNET, LARGE_PICTURES, resnet_depth(2, 2), {"layer_type": "basic", "hidden_sizes": [8], **DOWN}
    ),
    "resnet, bottleneck": Case(RESNET, LARGE_PICTURES, resnet_depth(3, 3), BOTTLENECK),
    "resnet, bottleneck, downsampled": Case(
        RESNET,
        LARGE_PICTURES,
        resnet_depth(2, 3),
        {
            "layer_type": "bottleneck",
            "hidden_sizes": [32],
            "downsample_in_bottleneck": True,
            "hidden_act": "gelu",
            **DOWN,
        },
    ),
    "lstm-lm": Case(LSTM_LM, SENTENCES, LSTM_DEPTH),
    "lstm-lm, one layer": Case(LSTM_LM, SENTENCES, LSTM_DEPTH - 1, {"nlayers": 1, "dropout": 0.0}),
    "lstm-lm, untied": Case(LSTM_LM, SENTENCES, LSTM_DEPTH, UNTIED),
}
