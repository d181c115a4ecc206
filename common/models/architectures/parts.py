"""What several architectures are made of: activations by transformers' names, and the embeddings of BERT and ALBERT."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ...errors import UsageError
from ...initializers import Arange, Zeros
from ...layers import (
    GELU,
    Buffer,
    Dropout,
    Embedding,
    Identity,
    LayerNorm,
    LeakyReLU,
    Mish,
    Prefix,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Tanh,
)
from ...spec import Block, Layer

_QUICK_GELU = Block(
    {"sigmoid": Sigmoid()},
    forward="""
    def forward(x):
        return x * sigmoid(1.702 * x)
    """,
)
# The tanh formula, with sqrt(2 / pi) to ten digits.
_FAST_GELU = Block(
    {"tanh": Tanh()},
    forward="""
    def forward(x):
        return 0.5 * x * (1.0 + tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))
    """,
)
_SQUARED_RELU = Block(
    {"relu": ReLU()},
    forward="""
    def forward(x):
        y = relu(x)
        return y * y
    """,
)

ACTIVATIONS: Mapping[str, Layer] = {
    "relu": ReLU(),
    "relu2": _SQUARED_RELU,
    "relu6": ReLU6(),
    "gelu": GELU(),
    "gelu_python": GELU(),
    "gelu_accurate": GELU("tanh"),
    "gelu_fast": _FAST_GELU,
    "gelu_new": GELU("tanh"),
    "gelu_python_tanh": GELU("tanh"),
    "gelu_pytorch_tanh": GELU("tanh"),
    "quick_gelu": _QUICK_GELU,
    "silu": SiLU(),
    "swish": SiLU(),
    "tanh": Tanh(),
    "sigmoid": Sigmoid(),
    "leaky_relu": LeakyReLU(),
    "linear": Identity(),
    "mish": Mish(),
}

# Names that transformers knows besides, and why no layer here is what they mean.
REFUSED: Mapping[str, str] = {
    "gelu_10": "a GELU clipped at 10, whose derivative at the bound no layer has",
    "laplace": "an error function, which no layer is",
    "prelu": "an activation with a parameter, which is not described here",
    "xielu": "an activation with parameters, which is not described here",
}


def activation(name: str) -> Layer:
    """The layer that a configuration calls `name`.

    Raises:
        UsageError: there is none of that name, or what it means is not described here; naming a close one only where
            the name looks like a slip, since another activation would be another model.
    """
    if name in REFUSED:
        raise UsageError(name, "an activation that the layers here express", REFUSED[name])
    if name not in ACTIVATIONS:
        raise UsageError(name, "the name of an activation", "none of that name", _remedy(name))
    return ACTIVATIONS[name]


def _remedy(name: str) -> str:
    close = difflib.get_close_matches(name, ACTIVATIONS, n=1, cutoff=0.75)
    return f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(ACTIVATIONS)}."


def embeddings(config: Any, width: int) -> Layer:
    """Tokens' embeddings of that width, with those of position and segment, normalized.

    config: of BERT or ALBERT, which have the same names for what is read here.
    """
    init = config.weight_init
    positions = (1, config.max_position_embeddings)
    return Block(
        {
            "position_ids": Buffer(positions, Arange(), dtype="int64", persistent=False),
            "token_type_ids": Buffer(positions, Zeros(), dtype="int64", persistent=False),
            "word_embeddings": Embedding(config.vocab_size, width, weight_init=init, padding_idx=config.pad_token_id),
            "position_embeddings": Embedding(config.max_position_embeddings, width, weight_init=init),
            "token_type_embeddings": Embedding(config.type_vocab_size, width, weight_init=init),
            "LayerNorm": LayerNorm(width, config.layer_norm_eps),
            "dropout": Dropout(config.hidden_dropout_prob),
            "prefix": Prefix(),
        },
        forward="""
        def forward(tokens):
            x = word_embeddings(tokens) + token_type_embeddings(prefix(token_type_ids, tokens))
            return dropout(LayerNorm(x + position_embeddings(prefix(position_ids, tokens))))
        """,
    )
