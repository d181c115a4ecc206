"""GPT-2 as a language model, with the names of transformers' `GPT2LMHeadModel`.

Sources: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; `models/gpt2` of transformers
4.57.6 for the names and the initial distributions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import UsageError
from ...initializers import Constant, LowerTriangle, Normal, Zeros
from ...layers import (
    AttentionWeights,
    Buffer,
    Decoder,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Positions,
    Split,
    TransposedLinear,
    WeightedValues,
)
from ...spec import Block, Layer, List
from .parts import activation


@dataclass(frozen=True)
class GPT2Config:
    """The fields of transformers' `GPT2Config` that shape the model, at its defaults (a GPT-2 small).

    `reorder_and_upcast_attn` is not among them: it is another order of rounding, and not another model.

    n_inner: width of the feed forward; four times n_embd if None.
    scale_attn_weights: whether scores are divided by the square root of a head's width.
    scale_attn_by_inverse_layer_idx: whether they are divided by the layer's number, too, the first of which is 1.

    Raises:
        UsageError: cross-attention, which is not described here.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True
    add_cross_attention: bool = False

    def __post_init__(self) -> None:
        if self.add_cross_attention:
            raise UsageError(
                "GPT2Config.add_cross_attention", "False", "True", "Describe such a decoder by its layers."
            )

    @property
    def weight_init(self) -> Normal:
        """What every weight is drawn from, but for those that end a residual branch; biases are 0."""
        return Normal(0.0, self.initializer_range)

    @property
    def residual_init(self) -> Normal:
        """The same, narrower for the 2 n_layer branches that add up."""
        return Normal(0.0, self.initializer_range / math.sqrt(2 * self.n_layer))


def gpt2(config: GPT2Config) -> Layer:
    """Tokens (batch, time), and optionally a mask of the same shape, to logits (batch, time, vocab_size)."""
    width, init = config.n_embd, config.weight_init
    body = Block(
        {
            "wte": Embedding(config.vocab_size, width, weight_init=init),
            "wpe": Embedding(config.n_positions, width, weight_init=init),
            "drop": Dropout(config.embd_pdrop),
            "h": List(*(_layer(config, index) for index in range(config.n_layer))),
            "ln_f": LayerNorm(width, config.layer_norm_epsilon),
            "positions": Positions(),
        },
        forward="""
        def forward(tokens, mask=None):
            x = drop(wte(tokens) + wpe(positions(tokens)))
            for each in h:
                x = each(x, mask)
            return ln_f(x)
        """,
    )
    own = Linear(width, config.vocab_size, bias=False, weight_init=init)
    return Block(
        {"transformer": body, "lm_head": Decoder("transformer.wte") if config.tie_word_embeddings else own},
        forward="""
        def forward(tokens, mask=None):
            return lm_head(transformer(tokens, mask))
        """,
    )


def _layer(config: GPT2Config, index: int) -> Layer:
    """A transformer layer with its norms before attention and feed forward."""
    return Block(
        {
            "ln_1": LayerNorm(config.n_embd, config.layer_norm_epsilon),
            "attn": _attention(config, index),
            "ln_2": LayerNorm(config.n_embd, config.layer_norm_epsilon),
            "mlp": _feed_forward(config),
        },
        forward="""
        def forward(x, mask=None):
            x = attn(ln_1(x), mask) + x
            return x + mlp(ln_2(x))
        """,
    )


def _attention(config: GPT2Config, index: int) -> Layer:
    """Causal self-attention. Its buffers are transformers' own: they hold what `causal` says, and a number not used."""
    size, width = config.n_positions, config.n_embd
    scale = (width // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
    if config.scale_attn_by_inverse_layer_idx:
        scale /= index + 1
    return Block(
        {
            "bias": Buffer((1, 1, size, size), LowerTriangle(), dtype="bool", persistent=False),
            "masked_bias": Buffer((), Constant(-1e4), persistent=False),
            "c_attn": _product(width, 3 * width, config.weight_init),
            "c_proj": _product(width, width, config.residual_init),
            "split": Split(3),
            "weights": AttentionWeights(config.n_head, scale=scale, causal=True),
            "attn_dropout": Dropout(config.attn_pdrop),
            "values": WeightedValues(config.n_head),
            "resid_dropout": Dropout(config.resid_pdrop),
        },
        forward="""
        def forward(x, mask=None):
            query, key, value = split(c_attn(x))
            return resid_dropout(c_proj(values(attn_dropout(weights(query, key, mask)), value)))
        """,
    )


def _feed_forward(config: GPT2Config) -> Layer:
    inner = 4 * config.n_embd if config.n_inner is None else config.n_inner
    return Block(
        {
            "c_fc": _product(config.n_embd, inner, config.weight_init),
            "c_proj": _product(inner, config.n_embd, config.residual_init),
            "act": activation(config.activation_function),
            "dropout": Dropout(config.resid_pdrop),
        },
        calls=("c_fc", "act", "c_proj", "dropout"),
    )


def _product(inputs: int, outputs: int, init: Normal) -> Layer:
    return TransposedLinear(inputs, outputs, weight_init=init, bias_init=Zeros())
