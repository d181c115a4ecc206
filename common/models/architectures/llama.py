"""A Llama-style decoder as a language model, with the names of transformers' `LlamaForCausalLM`.

Sources: Touvron et al. 2023, "LLaMA" and "Llama 2"; Zhang & Sennrich 2019 for RMSNorm, Su et al. 2021 for rotary
embeddings, Ainslie et al. 2023 for grouped-query attention, Shazeer 2020 for the gated feed forward; `models/llama` of
transformers 4.57.6 for the names and the initial distributions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from ...initializers import InverseFrequencies, Normal, Zeros
from ...layers import (
    AttentionWeights,
    Buffer,
    Decoder,
    Dropout,
    Embedding,
    Linear,
    RMSNorm,
    Rotary,
    RotaryAngles,
    WeightedValues,
)
from ...spec import Block, Layer, List
from .parts import activation


@dataclass(frozen=True)
class LlamaConfig:
    """The fields of transformers' `LlamaConfig` that shape the model, at its defaults (a Llama 7B).

    num_key_value_heads: heads of keys and values, each of which serves as many heads of queries; num_attention_heads if
        None.
    head_dim: width of one head; hidden_size / num_attention_heads if None.
    pad_token_id: the token whose embedding is drawn as 0 and has no gradient from where it is looked up; None for none.
    rope_theta: the base of the rotary frequencies.
    rope_scaling: None, or of the type "default" (`rope_type`, in older files `type`), which scales nothing.

    Raises:
        UsageError: a rope_scaling of another type: scaled rotary embeddings are not described here.
    """

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    hidden_act: str = "silu"
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    rope_scaling: Mapping[str, Any] | None = None
    attention_bias: bool = False
    attention_dropout: float = 0.0
    mlp_bias: bool = False
    head_dim: int | None = None

    def __post_init__(self) -> None:
        scaling = self.rope_scaling
        # The older name wins, as in transformers.
        if scaling is not None and scaling.get("type", scaling.get("rope_type")) != "default":
            raise UsageError("LlamaConfig.rope_scaling", "None", repr(scaling))

    @property
    def head_width(self) -> int:
        """The width of one head."""
        return self.hidden_size // self.num_attention_heads if self.head_dim is None else self.head_dim

    @property
    def weight_init(self) -> Normal:
        """What every weight is drawn from; biases are 0."""
        return Normal(0.0, self.initializer_range)


def llama(config: LlamaConfig) -> Layer:
    """Tokens (batch, time), and optionally a mask of the same shape, to logits (batch, time, vocab_size)."""
    width, init = config.hidden_size, config.weight_init
    body = Block(
        {
            "embed_tokens": Embedding(config.vocab_size, width, weight_init=init, padding_idx=config.pad_token_id),
            "layers": List(*(_layer(config) for _ in range(config.num_hidden_layers))),
            "norm": RMSNorm(width, config.rms_norm_eps),
            "rotary_emb": _rotary(config),
        },
        forward="""
        def forward(tokens, mask=None):
            x = embed_tokens(tokens)
            angles = rotary_emb(x)
            for each in layers:
                x = each(x, angles, mask)
            return norm(x)
        """,
    )
    own = Linear(width, config.vocab_size, bias=False, weight_init=init)
    return Block(
        {"model": body, "lm_head": Decoder("model.embed_tokens") if config.tie_word_embeddings else own},
        forward="""
        def forward(tokens, mask=None):
            return lm_head(model(tokens, mask))
        """,
    )


def _rotary(config: LlamaConfig) -> Layer:
    frequencies = Buffer((config.head_width // 2,), InverseFrequencies(config.rope_theta), persistent=False)
    return Block(
        {"inv_freq": frequencies, "angles": RotaryAngles()},
        forward="""
        def forward(x):
            return angles(x, inv_freq)
        """,
    )


def _layer(config: LlamaConfig) -> Layer:
    """A transformer layer with its norms before attention and feed forward."""
    return Block(
        {
            "self_attn": _attention(config),
            "mlp": _feed_forward(config),
            "input_layernorm": RMSNorm(config.hidden_size, config.rms_norm_eps),
            "post_attention_layernorm": RMSNorm(config.hidden_size, config.rms_norm_eps),
        },
        forward="""
        def forward(x, angles, mask=None):
            x = x + self_attn(input_layernorm(x), angles, mask)
            return x + mlp(post_attention_layernorm(x))
        """,
    )


def _attention(config: LlamaConfig) -> Layer:
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads or config.num_attention_heads
    outer, width = config.hidden_size, config.head_width
    return Block(
        {
            "q_proj": _linear(config, outer, heads * width, config.attention_bias),
            "k_proj": _linear(config, outer, kv_heads * width, config.attention_bias),
            "v_proj": _linear(config, outer, kv_heads * width, config.attention_bias),
            "o_proj": _linear(config, heads * width, outer, config.attention_bias),
            "rotary": Rotary(),
            "weights": AttentionWeights(heads, kv_heads, causal=True),
            "dropout": Dropout(config.attention_dropout),
            "values": WeightedValues(heads, kv_heads),
        },
        forward="""
        def forward(x, angles, mask=None):
            query = rotary(q_proj(x), angles)
            key = rotary(k_proj(x), angles)
            return o_proj(values(dropout(weights(query, key, mask)), v_proj(x)))
        """,
    )


def _feed_forward(config: LlamaConfig) -> Layer:
    outer, inner = config.hidden_size, config.intermediate_size
    return Block(
        {
            "gate_proj": _linear(config, outer, inner, config.mlp_bias),
            "up_proj": _linear(config, outer, inner, config.mlp_bias),
            "down_proj": _linear(config, inner, outer, config.mlp_bias),
            "act_fn": activation(config.hidden_act),
        },
        forward="""
        def forward(x):
            return down_proj(act_fn(gate_proj(x)) * up_proj(x))
        """,
    )


def _linear(config: LlamaConfig, inputs: int, outputs: int, bias: bool) -> Layer:
    return Linear(inputs, outputs, bias, weight_init=config.weight_init, bias_init=Zeros() if bias else None)
