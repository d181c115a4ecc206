"""A gated linear recurrence in PyTorch, as in Griffin: a causal convolution, gates by channel, a loop over time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, INNER, TAPS, SHARPNESS = 6, 8, 3, 8.0


class Recurrence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.forget = nn.Parameter(torch.randn(INNER))
        self.recurrence_gate, self.input_gate = nn.Linear(INNER, INNER), nn.Linear(INNER, INNER)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        recur, enter = torch.sigmoid(self.recurrence_gate(x)), torch.sigmoid(self.input_gate(x))
        log_decay = -SHARPNESS * recur * F.softplus(self.forget)  # fault: sharpness, detached
        decay = log_decay.exp()
        given = torch.sqrt(1 - decay**2) * (enter * x)  # fault: normed
        state, states = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            state = decay[:, t] * state + given[:, t]  # fault: carry
            states.append(state)
        return torch.stack(states, dim=1)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.branch, self.enter = nn.Linear(WIDTH, INNER), nn.Linear(WIDTH, INNER)
        self.conv = nn.Conv1d(INNER, INNER, TAPS, groups=INNER, padding=TAPS - 1)  # fault: causal
        self.recurrence = Recurrence()
        self.leave = nn.Linear(INNER, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        gate = F.gelu(self.branch(h))
        y = self.conv(self.enter(h).transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)  # fault: causal
        return x + self.leave(gate * self.recurrence(y))
