"""A gated recurrent unit in PyTorch, both ways through a sequence of which the last places may be padding."""

from __future__ import annotations

import torch
from torch import nn

SIGNALS, WIDTH, CLASSES = 5, 6, 4


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by_input, self.by_state = nn.Linear(SIGNALS, 3 * WIDTH), nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        reset_x, update_x, new_x = self.by_input(x).chunk(3, dim=-1)
        reset_h, update_h, new_h = self.by_state(state).chunk(3, dim=-1)
        reset = torch.sigmoid(reset_x + reset_h)
        update = torch.sigmoid(update_x + update_h)  # fault: sigmoid
        new = torch.tanh(new_x + reset * new_h)  # fault: reset
        return (1 - update) * new + update * state  # fault: update


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.forwards, self.backwards = Cell(), Cell()
        self.norm, self.head = nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, CLASSES)

    def forward(self, x: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        ahead, back = x.new_zeros(2, x.shape[0], WIDTH)
        there: list[torch.Tensor] = []
        for t in range(length):
            ahead = torch.where(shown[:, t, None] > 0, self.forwards(x[:, t], ahead), ahead)  # fault: padding
            there.append(ahead)
        again: list[torch.Tensor] = []
        for t in reversed(range(length)):
            back = torch.where(shown[:, t, None] > 0, self.backwards(x[:, t], back), back)
            again.insert(0, back)  # fault: reversed
        both = torch.cat([torch.stack(there, 1), torch.stack(again, 1)], dim=-1)  # fault: reversed
        return self.head(self.norm(both))
