"""ALBERT, one layer applied at every depth, with the names of transformers' `AlbertForMaskedLM`.

Sources: Lan et al. 2019, "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations";
`models/albert` of transformers 4.57.6 for the names and the initial distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UsageError
from ...initializers import Normal, Zeros
from ...layers import AttentionWeights, Decoder, Dropout, LayerNorm, Linear, Parameter, WeightedValues
from ...spec import Block, Layer, List
from .parts import activation, embeddings


@dataclass(frozen=True)
class AlbertConfig:
    """The fields of transformers' `AlbertConfig` that shape the model, at its defaults (an ALBERT xxlarge).

    embedding_size: width of the embeddings, which a Linear brings to hidden_size.
    num_hidden_layers: how many times a group is applied; inner_group_num: how many layers a group has.
    num_hidden_groups: how many groups there are, each for an equal share of the depth.
    pad_token_id: the token whose embedding is drawn as 0 and has no gradient from where it is looked up; None for none.

    Raises:
        UsageError: positions that are relative, or an output weight of its own, which are not described here.
    """

    vocab_size: int = 30000
    embedding_size: int = 128
    hidden_size: int = 4096
    num_hidden_layers: int = 12
    num_hidden_groups: int = 1
    num_attention_heads: int = 64
    intermediate_size: int = 16384
    inner_group_num: int = 1
    hidden_act: str = "gelu_new"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    position_embedding_type: str = "absolute"
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        for name, value in {"position_embedding_type": "absolute", "tie_word_embeddings": True}.items():
            if getattr(self, name) != value:
                raise UsageError(f"AlbertConfig.{name}", repr(value), repr(getattr(self, name)))

    @property
    def weight_init(self) -> Normal:
        """What every weight is drawn from; biases are 0."""
        return Normal(0.0, self.initializer_range)

    @property
    def groups(self) -> tuple[int, ...]:
        """The number of the group that each depth applies."""
        return tuple(
            depth * self.num_hidden_groups // self.num_hidden_layers for depth in range(self.num_hidden_layers)
        )


def albert(config: AlbertConfig) -> Layer:
    """Tokens (batch, time), and optionally a mask of the same shape, to logits (batch, time, vocab_size).

    All tokens are of type 0.
    """
    body = Block(
        {"embeddings": embeddings(config, config.embedding_size), "encoder": _encoder(config)},
        forward="""
        def forward(tokens, mask=None):
            return encoder(embeddings(tokens), mask)
        """,
    )
    return Block(
        {"albert": body, "predictions": _predictions(config)},
        forward="""
        def forward(tokens, mask=None):
            return predictions(albert(tokens, mask))
        """,
    )


def _encoder(config: AlbertConfig) -> Layer:
    applied = "".join(f"    x = albert_layer_groups[{group}](x, mask)\n" for group in config.groups)
    return Block(
        {
            "embedding_hidden_mapping_in": _linear(config, config.embedding_size, config.hidden_size),
            "albert_layer_groups": List(*(_group(config) for _ in range(config.num_hidden_groups))),
        },
        forward=f"def forward(x, mask=None):\n    x = embedding_hidden_mapping_in(x)\n{applied}    return x\n",
    )


def _group(config: AlbertConfig) -> Layer:
    return Block(
        {"albert_layers": List(*(_layer(config) for _ in range(config.inner_group_num)))},
        forward="""
        def forward(x, mask=None):
            for each in albert_layers:
                x = each(x, mask)
            return x
        """,
    )


def _layer(config: AlbertConfig) -> Layer:
    """A transformer layer with its norms behind the sums; transformers' dropout behind `ffn_output` is never called."""
    return Block(
        {
            "full_layer_layer_norm": LayerNorm(config.hidden_size, config.layer_norm_eps),
            "attention": _attention(config),
            "ffn": _linear(config, config.hidden_size, config.intermediate_size),
            "ffn_output": _linear(config, config.intermediate_size, config.hidden_size),
            "activation": activation(config.hidden_act),
        },
        forward="""
        def forward(x, mask=None):
            x = attention(x, mask)
            return full_layer_layer_norm(ffn_output(activation(ffn(x))) + x)
        """,
    )


def _attention(config: AlbertConfig) -> Layer:
    width = config.hidden_size
    return Block(
        {
            "query": _linear(config, width, width),
            "key": _linear(config, width, width),
            "value": _linear(config, width, width),
            "weights": AttentionWeights(config.num_attention_heads),
            "attention_dropout": Dropout(config.attention_probs_dropout_prob),
            "values": WeightedValues(config.num_attention_heads),
            "output_dropout": Dropout(config.hidden_dropout_prob),
            "dense": _linear(config, width, width),
            "LayerNorm": LayerNorm(width, config.layer_norm_eps),
        },
        forward="""
        def forward(x, mask=None):
            mixed = values(attention_dropout(weights(query(x), key(x), mask)), value(x))
            return LayerNorm(x + output_dropout(dense(mixed)))
        """,
    )


def _predictions(config: AlbertConfig) -> Layer:
    """Logits by the word embeddings, with a bias that transformers lists twice."""
    return Block(
        {
            "bias": Parameter((config.vocab_size,), Zeros()),
            "LayerNorm": LayerNorm(config.embedding_size, config.layer_norm_eps),
            "dense": _linear(config, config.hidden_size, config.embedding_size),
            "decoder": Decoder("albert.embeddings.word_embeddings", bias="bias"),
            "activation": activation(config.hidden_act),
        },
        calls=("dense", "activation", "LayerNorm", "decoder"),
    )


def _linear(config: AlbertConfig, inputs: int, outputs: int) -> Layer:
    return Linear(inputs, outputs, weight_init=config.weight_init, bias_init=Zeros())
