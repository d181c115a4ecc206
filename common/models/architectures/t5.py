"""T5, an encoder and a decoder, with the names of transformers' `T5ForConditionalGeneration`.

Sources: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer"; the
untied output and the gated feed forward of version 1.1 are Shazeer 2020, "GLU Variants Improve Transformer";
`models/t5` of transformers 4.57.6 for the names and the initial distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UsageError
from ...initializers import Constant, Normal
from ...layers import (
    AttentionWeights,
    Decoder,
    Dropout,
    Embedding,
    Linear,
    Rearrange,
    RelativeBuckets,
    RMSNorm,
    WeightedValues,
)
from ...spec import Block, Layer, List, Shared
from .parts import activation


@dataclass(frozen=True)
class T5Config:
    """The fields of transformers' `T5Config` that shape the model, at its defaults (a T5-small).

    d_kv, d_ff: width of one attention head, and of the feed forward.
    num_decoder_layers: num_layers if None.
    feed_forward_proj: an activation (`relu` in version 1.0), or `gated-` and one (`gated-gelu` in version 1.1).
    tie_word_embeddings: whether the output weight is the embedding, as in version 1.0.
    tie_encoder_decoder: False, since an encoder that is a part of the decoder is not described here.
    initializer_factor: multiplies the standard deviation of every weight, and the scales of the norms.

    Raises:
        UsageError: a feed_forward_proj of another form, or a tied encoder.
    """

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool = True
    tie_encoder_decoder: bool = False

    def __post_init__(self) -> None:
        if self.feed_forward_proj.removeprefix("gated-").count("-"):
            expected = "the name of an activation, or 'gated-' and one"
            raise UsageError("T5Config.feed_forward_proj", expected, repr(self.feed_forward_proj))
        if self.tie_encoder_decoder:
            raise UsageError("T5Config.tie_encoder_decoder", "False", "True")

    @property
    def gated(self) -> bool:
        """Whether the feed forward multiplies its activation by a second projection."""
        return self.feed_forward_proj.startswith("gated-")

    @property
    def dense_act_fn(self) -> str:
        """The activation's name; transformers takes the tanh formula for `gated-gelu`, but the exact one for `gelu`."""
        return "gelu_new" if self.feed_forward_proj == "gated-gelu" else self.feed_forward_proj.removeprefix("gated-")

    def normal(self, width: int = 1) -> Normal:
        """A normal with the standard deviation factor / sqrt(width)."""
        return Normal(0.0, self.initializer_factor * width**-0.5)


def t5(config: T5Config) -> Layer:
    """Tokens and mask (batch, time) of the input, and tokens of the output (batch, steps), to logits.

    The output's mask is optional. Logits are (batch, steps, vocab_size); step t sees the output's tokens up to t.
    """
    decoder_layers = config.num_layers if config.num_decoder_layers is None else config.num_decoder_layers
    if config.tie_word_embeddings:
        head: Layer = Decoder("shared", scale=config.d_model**-0.5)
    else:
        head = Linear(config.d_model, config.vocab_size, bias=False, weight_init=config.normal())
    return Block(
        {
            "shared": Embedding(config.vocab_size, config.d_model, weight_init=config.normal()),
            "encoder": _encoder(config),
            "decoder": _decoder(config, decoder_layers),
            "lm_head": head,
        },
        forward="""
        def forward(input_ids, attention_mask, decoder_input_ids, decoder_attention_mask=None):
            states = encoder(input_ids, attention_mask)
            return lm_head(decoder(decoder_input_ids, states, attention_mask, decoder_attention_mask))
        """,
    )


def _encoder(config: T5Config) -> Layer:
    layers = [
        Block(
            {"layer": List(_self_attention(config, index, causal=False), _feed_forward(config))},
            forward="""
            def forward(x, bias, mask=None):
                return layer[1](layer[0](x, bias, mask))
            """,
        )
        for index in range(config.num_layers)
    ]
    return Block(
        _stack(config, layers, bidirectional=True),
        forward="""
        def forward(tokens, mask=None):
            x = dropout(embed_tokens(tokens))
            bias = heads_first(block[0].layer[0].SelfAttention.relative_attention_bias(buckets(x, x)))
            for each in block:
                x = each(x, bias, mask)
            return dropout(final_layer_norm(x))
        """,
    )


def _decoder(config: T5Config, depth: int) -> Layer:
    layers = [
        Block(
            {
                "layer": List(
                    _self_attention(config, index, causal=True),
                    _cross_attention(config),
                    _feed_forward(config),
                )
            },
            forward="""
            def forward(x, bias, states, states_mask=None, mask=None):
                x = layer[0](x, bias, mask)
                return layer[2](layer[1](x, states, states_mask))
            """,
        )
        for index in range(depth)
    ]
    return Block(
        _stack(config, layers, bidirectional=False),
        forward="""
        def forward(tokens, states, states_mask=None, mask=None):
            x = dropout(embed_tokens(tokens))
            bias = heads_first(block[0].layer[0].SelfAttention.relative_attention_bias(buckets(x, x)))
            for each in block:
                x = each(x, bias, states, states_mask, mask)
            return dropout(final_layer_norm(x))
        """,
    )


def _stack(config: T5Config, layers: Sequence[Layer], bidirectional: bool) -> dict[str, Layer]:
    """The children of the encoder or the decoder; the position bias of the first layer serves them all."""
    return {
        "embed_tokens": Shared("shared"),
        "block": List(*layers),
        "final_layer_norm": _norm(config),
        "dropout": Dropout(config.dropout_rate),
        "buckets": RelativeBuckets(
            bidirectional, config.relative_attention_num_buckets, config.relative_attention_max_distance
        ),
        "heads_first": Rearrange("b q k h -> b h q k"),
    }


def _self_attention(config: T5Config, index: int, causal: bool) -> Layer:
    return Block(
        {
            "SelfAttention": _attention(config, causal, has_bias=index == 0),
            "layer_norm": _norm(config),
            "dropout": Dropout(config.dropout_rate),
        },
        forward="""
        def forward(x, bias, mask=None):
            y = layer_norm(x)
            return x + dropout(SelfAttention(y, y, mask, bias))
        """,
    )


def _cross_attention(config: T5Config) -> Layer:
    return Block(
        {
            "EncDecAttention": _attention(config, causal=False, has_bias=False),
            "layer_norm": _norm(config),
            "dropout": Dropout(config.dropout_rate),
        },
        forward="""
        def forward(x, states, mask=None):
            return x + dropout(EncDecAttention(layer_norm(x), states, mask))
        """,
    )


def _attention(config: T5Config, causal: bool, has_bias: bool) -> Layer:
    """Attention of x to y. Its scores are not scaled: the initial distribution of q is narrower instead."""
    inner = config.num_heads * config.d_kv
    children: dict[str, Layer] = {
        "q": _linear(config.d_model, inner, config.normal(config.d_model * config.d_kv)),
        "k": _linear(config.d_model, inner, config.normal(config.d_model)),
        "v": _linear(config.d_model, inner, config.normal(config.d_model)),
        "o": _linear(inner, config.d_model, config.normal(inner)),
    }
    if has_bias:
        buckets, init = config.relative_attention_num_buckets, config.normal(config.d_model)
        children["relative_attention_bias"] = Embedding(buckets, config.num_heads, weight_init=init)
    children["weights"] = AttentionWeights(config.num_heads, scale=1.0, causal=causal)
    children["dropout"] = Dropout(config.dropout_rate)
    children["values"] = WeightedValues(config.num_heads)
    return Block(
        children,
        forward="""
        def forward(x, y, mask=None, bias=None):
            return o(values(dropout(weights(q(x), k(y), mask, bias)), v(y)))
        """,
    )


def _feed_forward(config: T5Config) -> Layer:
    return Block(
        {
            "DenseReluDense": _gated(config) if config.gated else _dense(config),
            "layer_norm": _norm(config),
            "dropout": Dropout(config.dropout_rate),
        },
        forward="""
        def forward(x):
            return x + dropout(DenseReluDense(layer_norm(x)))
        """,
    )


def _dense(config: T5Config) -> Layer:
    return Block(
        {
            "wi": _linear(config.d_model, config.d_ff, config.normal(config.d_model)),
            "wo": _linear(config.d_ff, config.d_model, config.normal(config.d_ff)),
            "dropout": Dropout(config.dropout_rate),
            "act": activation(config.dense_act_fn),
        },
        calls=("wi", "act", "dropout", "wo"),
    )


def _gated(config: T5Config) -> Layer:
    return Block(
        {
            "wi_0": _linear(config.d_model, config.d_ff, config.normal(config.d_model)),
            "wi_1": _linear(config.d_model, config.d_ff, config.normal(config.d_model)),
            "wo": _linear(config.d_ff, config.d_model, config.normal(config.d_ff)),
            "dropout": Dropout(config.dropout_rate),
            "act": activation(config.dense_act_fn),
        },
        forward="""
        def forward(x):
            return wo(dropout(act(wi_0(x)) * wi_1(x)))
        """,
    )


def _linear(inputs: int, outputs: int, init: Normal) -> Layer:
    return Linear(inputs, outputs, bias=False, weight_init=init)


def _norm(config: T5Config) -> Layer:
    return RMSNorm(config.d_model, config.layer_norm_epsilon, weight_init=Constant(config.initializer_factor))
