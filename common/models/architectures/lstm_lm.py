"""The LSTM language model of PyTorch's `word_language_model` example, its output weight tied to its embedding.

Sources: `word_language_model/model.py` in pytorch/examples (`RNNModel`) for the names and the initial distributions;
Press & Wolf 2016 and Inan et al. 2016 for the tie.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UsageError
from ...initializers import Uniform, Zeros
from ...layers import LSTM, Decoder, Dropout, Embedding, Linear, LogSoftmax
from ...spec import Block, Layer

# `initrange` of the example, for the embedding and the output weight; the LSTM is at PyTorch's own default.
_WEIGHT = Uniform(-0.1, 0.1)


@dataclass(frozen=True)
class LSTMLanguageModelConfig:
    """The arguments of the example's `RNNModel`, at the defaults of its command line; `tie_weights` defaults to True.

    ntoken: size of the vocabulary (33278 is WikiText-2's).
    ninp, nhid, nlayers: width of the embedding, width and number of the LSTM's layers.

    Raises:
        UsageError: tied weights of different widths.
    """

    ntoken: int = 33278
    ninp: int = 200
    nhid: int = 200
    nlayers: int = 2
    dropout: float = 0.2
    tie_weights: bool = True

    def __post_init__(self) -> None:
        if self.tie_weights and self.nhid != self.ninp:
            expected = f"{self.ninp} (ninp), the width of the embedding that the output weight is tied to"
            remedy = "Make them equal, or set tie_weights to False."
            raise UsageError("LSTMLanguageModelConfig.nhid", expected, str(self.nhid), remedy)


def lstm_lm(config: LSTMLanguageModelConfig) -> Layer:
    """Tokens (batch, time) to log-probabilities (batch, time, ntoken) of the next one, from a state of zeros.

    The example's arrays are (time, batch, ...), and it folds the two axes into one at the end.
    """
    # Dropout acts between two layers of the LSTM; PyTorch warns, and our LSTM refuses it, where there is only one.
    between = config.dropout if config.nlayers > 1 else 0.0
    own = Linear(config.nhid, config.ntoken, weight_init=_WEIGHT, bias_init=Zeros())
    return Block(
        {
            "drop": Dropout(config.dropout),
            "encoder": Embedding(config.ntoken, config.ninp, weight_init=_WEIGHT),
            "rnn": LSTM(config.ninp, config.nhid, config.nlayers, dropout=between),
            "decoder": Decoder("encoder", bias=True, bias_init=Zeros()) if config.tie_weights else own,
            "log_softmax": LogSoftmax(),
        },
        forward="""
        def forward(tokens):
            states = drop(rnn(drop(encoder(tokens))))
            return log_softmax(decoder(states))
        """,
    )
