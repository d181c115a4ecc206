"""A decoder of one block in PyTorch: rotary positions from doubled tables, root mean square norms, a gated MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WORDS, WIDTH, HEADS, HIDDEN = 13, 16, 2, 24
HEAD = WIDTH // HEADS


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.eps))  # fault: eps


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    one, two = x.chunk(2, dim=-1)
    return torch.cat([-two, one], dim=-1)  # fault: order


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, HEADS, HEAD).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, HEADS, HEAD).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, HEADS, HEAD).transpose(1, 2)
        inv_freq = 1.0 / 10_000.0 ** (torch.arange(0, HEAD, 2, dtype=x.dtype) / HEAD)  # fault: base
        angles = torch.outer(torch.arange(length, dtype=x.dtype), inv_freq)
        cos, sin = (table.repeat(1, 2) for table in (angles.cos(), angles.sin()))
        q = q * cos + rotate_half(q) * sin  # fault: order
        k = k * cos + rotate_half(k) * sin  # fault: keys
        scores = q @ k.transpose(2, 3) / HEAD**0.5
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)  # fault: mask
        scores = scores.masked_fill(hidden, float("-inf"))  # fault: mask
        mixed = scores.softmax(-1) @ v
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, WIDTH))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.attention_norm, self.mlp_norm, self.norm = RMSNorm(WIDTH), RMSNorm(WIDTH), RMSNorm(WIDTH)
        self.attention = Attention()
        self.gate_proj, self.up_proj = nn.Linear(WIDTH, HIDDEN, bias=False), nn.Linear(WIDTH, HIDDEN, bias=False)
        self.down_proj, self.lm_head = nn.Linear(HIDDEN, WIDTH, bias=False), nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.embed(words)
        x = x + self.attention(self.attention_norm(x))
        h = self.mlp_norm(x)
        gated = F.silu(self.gate_proj(h)) * self.up_proj(h)
        x = x + self.down_proj(gated)
        return self.lm_head(self.norm(x))
