"""A small encoder of sentences in PyTorch: a table of sines, norms behind the sums, padding left out of the mean."""

from __future__ import annotations

import math

import torch
from torch import nn

WORDS, WIDTH, HEADS, HIDDEN, LONGEST = 17, 12, 3, 20, 32
HEAD = WIDTH // HEADS


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        place = torch.arange(LONGEST, dtype=torch.float64)[:, None]  # fault: offset
        wave = torch.exp(torch.arange(0, WIDTH, 2, dtype=torch.float64) * (-math.log(10_000.0) / WIDTH))
        table = torch.zeros(LONGEST, WIDTH, dtype=torch.float64)
        table[:, 0::2], table[:, 1::2] = torch.sin(place * wave), torch.cos(place * wave)  # fault: order
        self.register_buffer("table", table.float(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * math.sqrt(WIDTH) + self.table[: x.shape[1]]  # fault: scale, offset, order


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.linear1, self.linear2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def attend(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        q, k, v = (each.unflatten(-1, (HEADS, HEAD)).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(HEAD)
        scores = scores.masked_fill(shown[:, None, None, :] == 0, -1e9)  # fault: mask
        weights = torch.softmax(scores, dim=-1)  # fault: axis
        return self.out(torch.matmul(weights, v).transpose(1, 2).flatten(2))

    def forward(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attend(x, shown))
        return self.norm2(x + self.linear2(torch.relu(self.linear1(x))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(WORDS, WIDTH), Positions()
        self.layers = nn.ModuleList([Layer(), Layer()])

    def forward(self, words: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        x = self.positions(self.embedding(words))
        for layer in self.layers:
            x = layer(x, shown)
        total = (x * shown[..., None]).sum(dim=1)
        return total / shown.sum(dim=1, keepdim=True)  # fault: count
