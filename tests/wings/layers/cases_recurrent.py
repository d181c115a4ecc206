"""Recurrent layers for the generic tests. Flax has none for a whole one, so no default of its own is here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from paritree.common.layers.recurrent import GRU, LSTM, RNN, Recurrent

from .case import Case

X = np.random.default_rng(0).normal(size=(3, 6, 5)).astype(np.float32)


def output_of(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The sequence, without the state after it."""
    output, _ = module(x)
    return output


def case(name: str, spec: Recurrent, stock: type[nn.Module], **settings: Any) -> Case:
    return Case(
        name,
        spec,
        (X,),
        torch=lambda: stock(spec.input, spec.hidden, spec.layers, batch_first=True, **settings),
        call=output_of,
    )


CASES = (
    case("RNN", RNN(5, 4), nn.RNN),
    case(
        "RNN-relu-deep-no-bias", RNN(5, 4, 3, nonlinearity="relu", bias=False), nn.RNN, nonlinearity="relu", bias=False
    ),
    case("LSTM", LSTM(5, 4), nn.LSTM),
    case("LSTM-both-ways-deep", LSTM(5, 4, 2, bidirectional=True), nn.LSTM, bidirectional=True),
    case("LSTM-projection-no-bias", LSTM(5, 6, 2, proj_size=3, bias=False), nn.LSTM, proj_size=3, bias=False),
    case("GRU", GRU(5, 4), nn.GRU),
    case("GRU-both-ways-no-bias", GRU(5, 4, bidirectional=True, bias=False), nn.GRU, bidirectional=True, bias=False),
)
