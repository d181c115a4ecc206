"""Models that transformers ships in torch and in Flax: for each one a tiny configuration, inputs and both calls.

The Flax side of each is `(wrapper.module, variables)`, and its call is that of the wrapper, which fills defaults and
turns images as the library does it for everybody. What a wrapper fills otherwise than its torch twin is given here.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch

from paritree import Pair

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Twin:
    """One model in both frameworks.

    torch: the name of the class; that of the Flax one begins with `Flax`.
    config: makes the configuration that both share.
    inputs: by the names of the arguments, the same on both sides.
    outputs: what of the result is compared.
    port_inputs: what the Flax call alone is given; what torch fills by itself.
    init: keywords for the Flax wrapper, such as the shape of what it is initialized with.
    """

    torch: str
    config: Callable[[], Any]
    inputs: Arrays
    outputs: tuple[str, ...] = ("logits",)
    port_inputs: Mapping[str, Any] | None = None
    init: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Built:
    """A twin made: the torch model, the Flax wrapper with draws of its own, and the pair of them."""

    reference: torch.nn.Module
    wrapper: Any
    pair: Pair


def build(name: str, seed: int = 0) -> Built:
    """The twin of that name, in inference mode."""
    return made(TWINS[name], seed)


def made(twin: Twin, seed: int = 0) -> Built:
    """A twin, in inference mode."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = getattr(transformers, twin.torch)(twin.config()).eval()
        wrapper = _flax_class(twin)(twin.config(), seed=seed + 1, **(twin.init or {}))
    port = wrapper.module, variables_of(wrapper)
    return Built(reference, wrapper, Pair(reference, port, twin.inputs, _torch_call(twin), _flax_call(twin, wrapper)))


def _flax_class(twin: Twin) -> Any:
    """The Flax class; those of T5's family call `jnp.clip` by names that JAX no longer has, and get one that does."""
    found = getattr(transformers, f"Flax{twin.torch}")
    for name in {base.__module__ for base in found.__mro__}:
        if "t5" in name:
            sys.modules[name].jnp = SimpleNamespace(**{**vars(jnp), "clip": _clip})  # type: ignore[attr-defined]
    return found


def _clip(array: Any, a_min: Any = None, a_max: Any = None) -> Any:
    return jnp.clip(array, a_min, a_max)


def variables_of(wrapper: Any) -> dict[str, Any]:
    """The wrapper's weights by collection; only those with running statistics hold them so."""
    return dict(wrapper.params) if "params" in wrapper.params else {"params": wrapper.params}


def _torch_call(twin: Twin) -> Callable[[Any, Any], Any]:
    def call(model: Any, inputs: Mapping[str, torch.Tensor]) -> Any:
        # Indices are int32 on both sides, and torch takes them as int64 in places.
        given = {name: array if array.is_floating_point() else array.long() for name, array in inputs.items()}
        return _compared(model(**given), twin)

    return call


def _flax_call(twin: Twin, wrapper: Any) -> Callable[[Any, Any], Any]:
    whole = "params" in wrapper.params

    def call(model: Any, inputs: Mapping[str, Any]) -> Any:
        own = copy.copy(wrapper)
        own._module, variables = model
        given = variables if whole else variables["params"]
        return _compared(own(**inputs, **(twin.port_inputs or {}), params=given), twin)

    return call


def _compared(result: Any, twin: Twin) -> Any:
    found = {name: getattr(result, name) for name in twin.outputs}
    return found if len(found) > 1 else found[twin.outputs[0]]


def _config(name: str, **settings: Any) -> Callable[[], Any]:
    def made() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(transformers, name)(**settings)

    return made


def _joined(name: str, method: str, *parts: Callable[[], Any], **settings: Any) -> Callable[[], Any]:
    """The configuration of a model that is made of two others."""
    return lambda: getattr(getattr(transformers, name), method)(*(part() for part in parts), **settings)


_random = np.random.default_rng(0)
# The lowest indices pad, begin and end a sequence, and some embeddings treat them in their own way.
TOKENS = _random.integers(3, 32, (2, 7)).astype(np.int32)
ANSWER = _random.integers(3, 32, (2, 5)).astype(np.int32)
LONG_TOKENS = _random.integers(3, 32, (2, 16)).astype(np.int32)
IMAGES = _random.normal(size=(2, 3, 8, 8)).astype(np.float32)
LARGE_IMAGES = _random.normal(size=(2, 3, 32, 32)).astype(np.float32)
SOUND = _random.normal(size=(2, 64)).astype(np.float32)
MELS = _random.normal(size=(2, 6, 12)).astype(np.float32)

TEXT: Arrays = {"input_ids": TOKENS}
TEXTS: Arrays = {"input_ids": TOKENS, "decoder_input_ids": ANSWER}

WIDTHS = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 24}
SHORT = {"vocab_size": 32, "max_position_embeddings": 16}
BERT = {**WIDTHS, **SHORT}
# RoBERTa's positions begin after the index that pads.
ROBERTA = {**WIDTHS, "vocab_size": 32, "max_position_embeddings": 20, "pad_token_id": 1}
VIT = {**WIDTHS, "image_size": 8, "patch_size": 4}
GPT2 = {"n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 32, "n_positions": 16}
GROUPED = {**SHORT, "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BART = {
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
    **{"encoder_ffn_dim": 24, "decoder_ffn_dim": 20, "d_model": 8, "pad_token_id": 1},
    **SHORT,
}
T5 = {"vocab_size": 32, "d_model": 8, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 2}
T5 |= {"relative_attention_num_buckets": 6, "relative_attention_max_distance": 12, "decoder_start_token_id": 0}
WAV2VEC2 = {**WIDTHS, "vocab_size": 32, "conv_dim": (8, 8), "conv_stride": (3, 2), "conv_kernel": (5, 3)}
WAV2VEC2 |= {"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
WAV2VEC2 |= {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "codevector_dim": 6, "proj_codevector_dim": 6}
WAV2VEC2 |= {"num_codevectors_per_group": 5, "num_codevector_groups": 2, "num_negatives": 2}
WHISPER = {**BART, "num_mel_bins": 6, "max_source_positions": 6, "max_target_positions": 16, "pad_token_id": 0}
WHISPER |= {"decoder_start_token_id": 1, "bos_token_id": 1, "eos_token_id": 2, "suppress_tokens": None}
WHISPER |= {"begin_suppress_tokens": None, "classifier_proj_size": 6}
CLIP_TEXT = {**BERT, "eos_token_id": 2, "pad_token_id": 1, "bos_token_id": 0}
OPT = {**SHORT, "hidden_size": 8, "num_hidden_layers": 2, "ffn_dim": 24, "num_attention_heads": 2}
CROSS = {"is_decoder": True, "add_cross_attention": True}
BATCH_NORMED = {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 2], "num_labels": 3}
SMALL_SHAPE = {"input_shape": (1, 32, 32, 3)}


def _text(model: str, config: str, outputs: tuple[str, ...] = ("logits",), **settings: Any) -> Twin:
    return Twin(model, _config(config, **settings), TEXT, outputs)


def _texts(model: str, config: str, outputs: tuple[str, ...] = ("logits",), **settings: Any) -> Twin:
    return Twin(model, _config(config, **settings), TEXTS, outputs)


def _image(model: str, config: str, outputs: tuple[str, ...] = ("logits",), **settings: Any) -> Twin:
    return Twin(model, _config(config, **settings), {"pixel_values": IMAGES}, outputs)


HIDDEN = ("last_hidden_state",)
POOLED = ("last_hidden_state", "pooler_output")
# These run at every run of the tests, the others where `thorough` ones are asked for.
QUICK = ("bart", "bert", "gpt2", "resnet", "vit")

TWINS: dict[str, Twin] = {
    "albert": _text("AlbertForMaskedLM", "AlbertConfig", **BERT, embedding_size=6),
    "bart": _texts("BartForConditionalGeneration", "BartConfig", **BART),
    "beit": _image("BeitForImageClassification", "BeitConfig", **VIT, num_labels=3),
    "beit-relative": _image(
        "BeitForImageClassification", "BeitConfig", **VIT, num_labels=3, use_relative_position_bias=True
    ),
    "bert": _text("BertForMaskedLM", "BertConfig", **BERT),
    "bert-pretraining": _text(
        "BertForPreTraining", "BertConfig", ("prediction_logits", "seq_relationship_logits"), **BERT
    ),
    "bert-model": _text("BertModel", "BertConfig", POOLED, **BERT),
    "big-bird": _text("BigBirdForMaskedLM", "BigBirdConfig", **BERT, attention_type="original_full"),
    "big-bird-sparse": Twin(
        "BigBirdForMaskedLM",
        _config("BigBirdConfig", **BERT, attention_type="block_sparse", block_size=2, num_random_blocks=1),
        {"input_ids": LONG_TOKENS},
    ),
    "blenderbot": _texts("BlenderbotForConditionalGeneration", "BlenderbotConfig", **BART),
    "blenderbot-small": _texts("BlenderbotSmallForConditionalGeneration", "BlenderbotSmallConfig", **BART),
    "bloom": _text("BloomForCausalLM", "BloomConfig", vocab_size=32, hidden_size=8, n_layer=2, n_head=2),
    "clip": Twin(
        "CLIPModel",
        _config("CLIPConfig", text_config=CLIP_TEXT, vision_config=VIT, projection_dim=6),
        {"input_ids": TOKENS, "pixel_values": IMAGES},
        ("logits_per_image", "text_embeds", "image_embeds"),
    ),
    "dinov2": _image("Dinov2ForImageClassification", "Dinov2Config", **VIT, num_labels=3, mlp_ratio=3),
    "distilbert": _text(
        "DistilBertForMaskedLM", "DistilBertConfig", n_layers=2, n_heads=2, dim=8, hidden_dim=24, **SHORT
    ),
    "electra": Twin(
        "ElectraForMaskedLM",
        _config("ElectraConfig", **BERT, embedding_size=6),
        {"input_ids": TOKENS, "token_type_ids": np.zeros_like(TOKENS)},
    ),
    "electra-pretraining": Twin(
        "ElectraForPreTraining",
        _config("ElectraConfig", **BERT, embedding_size=6),
        {"input_ids": TOKENS, "token_type_ids": np.zeros_like(TOKENS)},
    ),
    "encoder-decoder": Twin(
        "EncoderDecoderModel",
        _joined(
            "EncoderDecoderConfig",
            "from_encoder_decoder_configs",
            _config("BertConfig", **BERT),
            _config("BertConfig", **BERT, **CROSS),
            decoder_start_token_id=1,
            pad_token_id=0,
        ),
        TEXTS,
    ),
    "gemma": _text("GemmaForCausalLM", "GemmaConfig", **GROUPED, head_dim=6, pad_token_id=0),
    "gpt-neo": _text(
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        **SHORT,
        hidden_size=8,
        num_layers=2,
        num_heads=2,
        intermediate_size=24,
        attention_types=[[["global", "local"], 1]],
        window_size=3,
    ),
    "gpt2": _text("GPT2LMHeadModel", "GPT2Config", **GPT2),
    "gptj": _text("GPTJForCausalLM", "GPTJConfig", **GPT2, rotary_dim=2),
    "llama": _text("LlamaForCausalLM", "LlamaConfig", **GROUPED, pad_token_id=0),
    "longt5": _texts("LongT5ForConditionalGeneration", "LongT5Config", **T5, local_radius=3),
    "longt5-global": _texts(
        "LongT5ForConditionalGeneration",
        "LongT5Config",
        **T5,
        local_radius=3,
        global_block_size=2,
        encoder_attention_type="transient-global",
    ),
    "marian": _texts("MarianMTModel", "MarianConfig", **BART, decoder_start_token_id=1),
    "mbart": _texts("MBartForConditionalGeneration", "MBartConfig", **BART),
    "mistral": _text("MistralForCausalLM", "MistralConfig", **GROUPED, sliding_window=16),
    "mt5": _texts("MT5ForConditionalGeneration", "MT5Config", **T5),
    "opt": _text("OPTForCausalLM", "OPTConfig", **OPT),
    "opt-projected": _text("OPTForCausalLM", "OPTConfig", **OPT, word_embed_proj_dim=6),
    "pegasus": _texts("PegasusForConditionalGeneration", "PegasusConfig", **BART),
    "regnet": Twin(
        "RegNetForImageClassification",
        _config("RegNetConfig", **BATCH_NORMED, groups_width=4),
        {"pixel_values": LARGE_IMAGES},
        init=SMALL_SHAPE,
    ),
    "resnet-basic": Twin(
        "ResNetForImageClassification",
        _config("ResNetConfig", **BATCH_NORMED, layer_type="basic"),
        {"pixel_values": LARGE_IMAGES},
        init=SMALL_SHAPE,
    ),
    "resnet": Twin(
        "ResNetForImageClassification",
        _config("ResNetConfig", **BATCH_NORMED, layer_type="bottleneck"),
        {"pixel_values": LARGE_IMAGES},
        init=SMALL_SHAPE,
    ),
    "roberta": _text("RobertaForMaskedLM", "RobertaConfig", **ROBERTA),
    "roberta-classifier": _text("RobertaForSequenceClassification", "RobertaConfig", **ROBERTA, num_labels=3),
    "roberta-prelayernorm": _text("RobertaPreLayerNormForMaskedLM", "RobertaPreLayerNormConfig", **ROBERTA),
    "roformer": _text("RoFormerForMaskedLM", "RoFormerConfig", **BERT),
    "speech-encoder-decoder": Twin(
        "SpeechEncoderDecoderModel",
        _joined(
            "SpeechEncoderDecoderConfig",
            "from_encoder_decoder_configs",
            _config("Wav2Vec2Config", **WAV2VEC2),
            _config("BertConfig", **BERT, **CROSS),
            tie_word_embeddings=False,
        ),
        {"inputs": SOUND, "decoder_input_ids": ANSWER},
        init={"input_shape": ((1, 64), (1, 5))},
    ),
    "t5": _texts("T5ForConditionalGeneration", "T5Config", **T5),
    "t5-gated": _texts(
        "T5ForConditionalGeneration", "T5Config", **T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False
    ),
    "t5-encoder": _text("T5EncoderModel", "T5Config", HIDDEN, **T5),
    "vision-encoder-decoder": Twin(
        "VisionEncoderDecoderModel",
        _joined(
            "VisionEncoderDecoderConfig",
            "from_encoder_decoder_configs",
            _config("ViTConfig", **VIT),
            _config("GPT2Config", **GPT2, **CROSS),
        ),
        {"pixel_values": IMAGES, "decoder_input_ids": ANSWER},
    ),
    "vision-text-dual-encoder": Twin(
        "VisionTextDualEncoderModel",
        _joined(
            "VisionTextDualEncoderConfig",
            "from_vision_text_configs",
            _config("ViTConfig", **VIT),
            _config("BertConfig", **BERT),
            projection_dim=6,
        ),
        {"input_ids": TOKENS, "pixel_values": IMAGES},
        ("logits_per_image", "text_embeds", "image_embeds"),
    ),
    "vit": _image("ViTForImageClassification", "ViTConfig", **VIT, num_labels=3),
    "vit-model": _image("ViTModel", "ViTConfig", POOLED, **VIT),
    "wav2vec2": Twin(
        "Wav2Vec2ForCTC",
        _config("Wav2Vec2Config", **WAV2VEC2),
        {"input_values": SOUND},
        init={"input_shape": (1, 64)},
    ),
    "wav2vec2-pretraining": Twin(
        "Wav2Vec2ForPreTraining",
        _config("Wav2Vec2Config", **WAV2VEC2),
        {"input_values": SOUND},
        ("projected_states", "projected_quantized_states"),
        init={"input_shape": (1, 64)},
    ),
    "whisper": Twin(
        "WhisperForConditionalGeneration",
        _config("WhisperConfig", **WHISPER),
        {"input_features": MELS, "decoder_input_ids": ANSWER},
    ),
    "whisper-classifier": Twin(
        "WhisperForAudioClassification",
        _config("WhisperConfig", **WHISPER, num_labels=3),
        {"input_features": MELS},
    ),
    "xglm": _text("XGLMForCausalLM", "XGLMConfig", **SHORT, d_model=8, ffn_dim=24, num_layers=2, attention_heads=2),
    "xlm-roberta": _text("XLMRobertaForMaskedLM", "XLMRobertaConfig", **ROBERTA),
}

# The two programs of each of these differ in truth: what differs, and in which torch module it shows first.
DIFFERING: dict[str, tuple[Twin, str, str]] = {
    # The Flax wrapper fills `token_type_ids` with ones, torch with zeros.
    "electra-defaults": (replace(TWINS["electra"], inputs=TEXT), "default input", "electra.embeddings"),
    # A window of n positions is n long in torch, and n + 1 in Flax.
    "mistral-window": (
        replace(TWINS["mistral"], config=_config("MistralConfig", **GROUPED, sliding_window=4)),
        "mask",
        "model.layers.0.self_attn",
    ),
    # Without a window Flax lets each position attend to itself alone.
    "mistral-no-window": (
        replace(TWINS["mistral"], config=_config("MistralConfig", **GROUPED, sliding_window=None)),
        "mask",
        "model.layers.0.self_attn",
    ),
    # The head's activation is the configured one in Flax, and always GELU in torch.
    "electra-activation": (
        replace(TWINS["electra"], config=_config("ElectraConfig", **BERT, embedding_size=6, hidden_act="gelu_new")),
        "activation",
        "generator_predictions",
    ),
    # Flax reads another field of the configuration than torch.
    "gemma-activation": (
        replace(
            TWINS["gemma"],
            config=_config("GemmaConfig", **GROUPED, head_dim=6, pad_token_id=0, hidden_activation="gelu"),
        ),
        "activation",
        "model.layers.0.mlp",
    ),
    # The norms between the convolutions have the configured eps in Flax, and torch's default in torch.
    "wav2vec2-eps": (
        replace(TWINS["wav2vec2"], config=_config("Wav2Vec2Config", **WAV2VEC2, layer_norm_eps=1e-3)),
        "eps",
        "wav2vec2.feature_extractor.conv_layers.0.layer_norm",
    ),
}
