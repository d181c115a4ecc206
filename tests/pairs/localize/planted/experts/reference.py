"""A layer of experts in PyTorch: each token goes to two of five, one expert after the other takes its tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HIDDEN, EXPERTS, CHOSEN, FACTOR = 8, 12, 5, 2, 2.5


class Expert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.relu(self.up(x)).square())


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.ModuleList(Expert() for _ in range(EXPERTS))
        self.shared, self.shared_gate = Expert(), nn.Linear(WIDTH, 1)
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(x).flatten(0, 1)
        logits, chosen = self.router(tokens).topk(CHOSEN, dim=-1)
        shares = F.softmax(logits, dim=-1)  # fault: softmax, cast
        shares = shares * FACTOR
        mixed = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            token, slot = torch.where(chosen == number)
            given = expert(tokens[token]) * shares[token, slot, None]
            mixed = mixed.index_add(0, token, given)
        gate = torch.sigmoid(self.shared_gate(tokens))  # fault: gate
        mixed = mixed + gate * self.shared(tokens)
        return self.out(x + mixed.view_as(x))  # fault: skip
