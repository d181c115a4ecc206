"""The LSTM language model against a module written as PyTorch's `word_language_model` example has it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paritree.common.errors import UsageError
from paritree.common.models.architectures.lstm_lm import LSTMLanguageModelConfig, lstm_lm
from paritree.common.wing.recognition import WINGS

from .twin import Twin, assert_same_distributions, assert_same_tables, scatter, tokens

CONFIGURATIONS = {
    "tied": LSTMLanguageModelConfig(ntoken=30, ninp=12, nhid=12),
    "one layer": LSTMLanguageModelConfig(ntoken=30, ninp=12, nhid=12, nlayers=1, dropout=0.0),
    "untied": LSTMLanguageModelConfig(ntoken=30, ninp=10, nhid=12, tie_weights=False),
}


class LanguageModel(nn.Module):
    """Tokens (time, batch) to log-probabilities (time, batch, vocabulary)."""

    def __init__(self, config: LSTMLanguageModelConfig) -> None:
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


def twin(name: str) -> Twin:
    config = CONFIGURATIONS[name]
    torch.manual_seed(0)
    return Twin(
        spec=lstm_lm(config),
        model=scatter(LanguageModel(config)),
        inputs=(tokens(config.ntoken, 3, 7),),
        run=lambda module, ids: module(ids.T).transpose(0, 1),
        # The embedding, each layer of the LSTM, and the decoder.
        depth=config.nlayers + 2,
    )


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def pair(request: pytest.FixtureRequest) -> Twin:
    return twin(request.param)


def test_the_spec_has_the_names_shapes_order_and_aliases_of_the_example(pair: Twin):
    assert_same_tables(pair.spec, pair.model)


def test_the_example_itself_is_within_the_allowance(pair: Twin):
    assert pair.too_large(pair.theirs()) == {}


@pytest.mark.parametrize("wing", WINGS)
def test_its_weights_give_its_output_and_gradients(pair: Twin, wing: str):
    assert pair.too_large(pair.ours(wing)) == {}


@pytest.mark.parametrize("name", ["tied", "untied"])
def test_every_parameter_has_the_initial_distribution_of_the_example(name: str):
    config = CONFIGURATIONS[name]
    assert_same_distributions(lstm_lm(config), lambda: LanguageModel(config), draws=24)


def test_tied_weights_of_two_widths_are_refused():
    with pytest.raises(UsageError) as raised:
        LSTMLanguageModelConfig(ninp=10, nhid=12)
    assert str(raised.value) == (
        "LSTMLanguageModelConfig.nhid: expected 10 (ninp), the width of the embedding that the output weight is tied "
        "to, found 12. Make them equal, or set tie_weights to False."
    )
