"""What BERT and ALBERT begin with: the embeddings of token, position and segment."""

from __future__ import annotations

from typing import Any

from ...initializers import Arange, Zeros
from ...layers import Buffer, Dropout, Embedding, LayerNorm, Prefix
from ...spec import Block, Layer


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
