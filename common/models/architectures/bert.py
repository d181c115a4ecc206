"""BERT with its head for masked tokens, with the names of transformers' `BertForMaskedLM`.

Sources: Devlin et al. 2018, "BERT: Pre-training of Deep Bidirectional Transformers"; `models/bert` of transformers
4.57.6 for the names and the initial distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UsageError
from ...initializers import Normal, Zeros
from ...layers import AttentionWeights, Decoder, Dropout, LayerNorm, Linear, Parameter, WeightedValues
from ...spec import Block, Layer, List
from .parts import activation, embeddings


@dataclass(frozen=True)
class BertConfig:
    """The fields of transformers' `BertConfig` that shape the model, at its defaults (a BERT base).

    pad_token_id: the token whose embedding is drawn as 0 and has no gradient from where it is looked up; None for none.

    Raises:
        UsageError: relative positions, a decoder, or an output weight of its own, which are not described here.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        described = {"position_embedding_type": "absolute", "is_decoder": False, "tie_word_embeddings": True}
        for name, value in described.items():
            if getattr(self, name) != value:
                raise UsageError(f"BertConfig.{name}", repr(value), repr(getattr(self, name)))

    @property
    def weight_init(self) -> Normal:
        """What every weight is drawn from; biases are 0."""
        return Normal(0.0, self.initializer_range)


def bert(config: BertConfig) -> Layer:
    """Tokens (batch, time), and optionally a mask of the same shape, to logits (batch, time, vocab_size).

    All tokens are of type 0.
    """
    body = Block(
        {
            "embeddings": embeddings(config, config.hidden_size),
            "encoder": Block(
                {"layer": List(*(_layer(config) for _ in range(config.num_hidden_layers)))},
                forward="""
                def forward(x, mask=None):
                    for each in layer:
                        x = each(x, mask)
                    return x
                """,
            ),
        },
        forward="""
        def forward(tokens, mask=None):
            return encoder(embeddings(tokens), mask)
        """,
    )
    return Block(
        {"bert": body, "cls": Block({"predictions": _predictions(config)})},
        forward="""
        def forward(tokens, mask=None):
            return cls(bert(tokens, mask))
        """,
    )


def _layer(config: BertConfig) -> Layer:
    """A transformer layer with its norms behind the sums."""
    return Block(
        {
            "attention": Block(
                {"self": _attention(config), "output": _output(config, config.hidden_size)},
                forward="""
                def forward(x, mask=None):
                    return output(self(x, mask), x)
                """,
            ),
            "intermediate": Block(
                {
                    "dense": _linear(config, config.hidden_size, config.intermediate_size),
                    "intermediate_act_fn": activation(config.hidden_act),
                }
            ),
            "output": _output(config, config.intermediate_size),
        },
        forward="""
        def forward(x, mask=None):
            x = attention(x, mask)
            return output(intermediate(x), x)
        """,
    )


def _attention(config: BertConfig) -> Layer:
    width = config.hidden_size
    return Block(
        {
            "query": _linear(config, width, width),
            "key": _linear(config, width, width),
            "value": _linear(config, width, width),
            "weights": AttentionWeights(config.num_attention_heads),
            "dropout": Dropout(config.attention_probs_dropout_prob),
            "values": WeightedValues(config.num_attention_heads),
        },
        forward="""
        def forward(x, mask=None):
            return values(dropout(weights(query(x), key(x), mask)), value(x))
        """,
    )


def _output(config: BertConfig, width: int) -> Layer:
    """Back to the hidden width, and the sum with what the branch began from."""
    return Block(
        {
            "dense": _linear(config, width, config.hidden_size),
            "LayerNorm": _norm(config),
            "dropout": Dropout(config.hidden_dropout_prob),
        },
        forward="""
        def forward(x, residual):
            return LayerNorm(dropout(dense(x)) + residual)
        """,
    )


def _predictions(config: BertConfig) -> Layer:
    """Logits by the word embeddings, with a bias that transformers lists twice."""
    return Block(
        {
            "bias": Parameter((config.vocab_size,), Zeros()),
            "transform": Block(
                {
                    "dense": _linear(config, config.hidden_size, config.hidden_size),
                    "transform_act_fn": activation(config.hidden_act),
                    "LayerNorm": _norm(config),
                }
            ),
            "decoder": Decoder("bert.embeddings.word_embeddings", bias="bias"),
        },
        calls=("transform", "decoder"),
    )


def _linear(config: BertConfig, inputs: int, outputs: int) -> Layer:
    return Linear(inputs, outputs, weight_init=config.weight_init, bias_init=Zeros())


def _norm(config: BertConfig) -> Layer:
    return LayerNorm(config.hidden_size, config.layer_norm_eps)
