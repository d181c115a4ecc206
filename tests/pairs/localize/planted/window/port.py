"""The attention in PyTorch: one packed projection, the sink in the denominator of a softmax that is written out."""

from __future__ import annotations

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import paritree

from .reference import CAP, FARTHEST, HEAD, HEADS, WIDTH, WINDOW
from .reference import Block as Reference

FAULTS = {
    "cap": r"(?i)scale|factor|times|\bcap",
    "clip": None,
    "window": r"(?i)window|mask|\bsees?\b",
    "sink": None,
}


class Attention(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.relative, self.sinks = nn.Embedding(2 * FARTHEST + 1, HEADS), nn.Parameter(torch.randn(HEADS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, HEADS, HEAD).permute(2, 0, 3, 1, 4)
        logits = q.mul(HEAD**-0.5) @ k.mT
        logits = logits.div(CAP).tanh().mul(1.0 if self.fault == "cap" else CAP)  # fault: cap
        place = torch.arange(length)
        ahead = place[:, None] - place
        most = FARTHEST - 1 if self.fault == "clip" else FARTHEST
        logits = logits + self.relative(ahead.clamp(-most, most) + FARTHEST).permute(2, 0, 1)  # fault: clip
        far = ahead.abs() > WINDOW if self.fault == "window" else ahead.abs() >= WINDOW  # fault: window
        logits = logits.masked_fill(far, torch.finfo(logits.dtype).min)  # fault: window
        sink = self.sinks[:, None, None].expand(batch, HEADS, length, 1)
        most = torch.maximum(logits.amax(-1, keepdim=True), sink)
        shares = (logits - most).exp()
        total = shares.sum(-1, keepdim=True)
        total = total if self.fault == "sink" else total + (sink - most).exp()  # fault: sink
        y = (shares / total) @ v  # fault: sink
        return self.proj(y.transpose(1, 2).reshape(batch, length, WIDTH))


class Block(nn.Module):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.RMSNorm(WIDTH, eps=1e-6), nn.RMSNorm(WIDTH, eps=1e-6)
        self.attention = Attention(fault)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.ln1(x))
        one, two = self.fc1(self.ln2(x)).tensor_split(2, dim=-1)
        return x + self.fc2(one * F.gelu(two, approximate="tanh"))


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 7, WIDTH)).astype(np.float32)
    reference = Reference()
    return paritree.Pair((reference, reference.init(jax.random.key(0), x)), Block(fault).eval(), (x,))
