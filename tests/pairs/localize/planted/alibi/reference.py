"""Attention with grouped heads and linear biases in PyTorch, by the fused function; queries and keys are normed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HEADS, GROUPS, HEAD = 16, 4, 2, 4


def biases(length: int) -> torch.Tensor:
    """What is added to the logits, as in MPT: (heads, length, length)."""
    slopes = 2.0 ** (-8.0 * torch.arange(1, HEADS + 1) / HEADS)
    places = torch.arange(length)
    distances = places[None, :] - places[:, None]  # fault: distance
    biased = slopes[:, None, None] * distances  # fault: distance
    return biased.masked_fill(distances > 0, float("-inf"))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.wqkv = nn.Linear(WIDTH, (HEADS + 2 * GROUPS) * HEAD)
        self.q_norm, self.k_norm = nn.LayerNorm(HEAD), nn.LayerNorm(HEAD)
        self.out_proj = nn.Linear(HEADS * HEAD, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = self.wqkv(self.norm(x)).split([HEADS * HEAD, GROUPS * HEAD, GROUPS * HEAD], dim=-1)
        q = self.q_norm(q.view(batch, length, HEADS, HEAD)).transpose(1, 2)
        k = self.k_norm(k.view(batch, length, GROUPS, HEAD)).transpose(1, 2)  # fault: norm
        v = v.view(batch, length, GROUPS, HEAD).transpose(1, 2)
        k, v = (each.repeat_interleave(HEADS // GROUPS, dim=1) for each in (k, v))  # fault: groups
        bias = biases(length).to(x)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # fault: scale, groups
        return x + self.out_proj(y.transpose(1, 2).flatten(2))
