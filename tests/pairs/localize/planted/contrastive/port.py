"""The contrastive loss in PyTorch: the labels are never made, the loss is written out with what each label weighs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

import paritree

from .reference import HIDDEN, LETTERS, PIXELS, SMOOTHING, WIDTH
from .reference import Contrast as Reference

FAULTS = {
    "activation": r"(?i)gelu",
    "eps": r"(?i)\beps|1e-0?6",
    "temperature": r"(?i)exp|scale|temperature|factor",
    "smoothing": None,
    "detached": r"(?i)stop_gradient|detach|gradient",
}


class Tower(nn.Module):
    def __init__(self, signals: int, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.fc1, self.fc2 = nn.Linear(signals, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        form = "tanh" if self.fault == "activation" else "none"
        x = self.fc2(F.gelu(self.fc1(x), approximate=form))  # fault: activation
        if self.fault == "eps":
            return F.normalize(x, dim=-1, eps=1e-6)  # fault: eps
        return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)  # fault: eps


class Contrast(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.pixels, self.letters = Tower(PIXELS, fault), Tower(LETTERS, fault)
        self.logit_scale = nn.Parameter(torch.tensor([0.7]))

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """The cross entropy of each row, whose own place is the label."""
        logs = F.log_softmax(logits, dim=-1)
        others = logs.sum(-1) - logs.diagonal() if self.fault == "smoothing" else logs.sum(-1)  # fault: smoothing
        others = others / (len(logs) - 1 if self.fault == "smoothing" else len(logs))  # fault: smoothing
        return -((1 - SMOOTHING) * logs.diagonal() + SMOOTHING * others)

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        a, b = self.pixels(images), self.letters(texts)
        b = b.detach() if self.fault == "detached" else b  # fault: detached
        scale = self.logit_scale if self.fault == "temperature" else self.logit_scale.exp()  # fault: temperature
        logits = scale * (a @ b.T)  # fault: detached, temperature
        return 0.5 * (self.loss(logits) + self.loss(logits.T))


def pair(fault: str = "") -> paritree.Pair:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images, texts = (rng.normal(size=(4, size)).astype(np.float32) for size in (PIXELS, LETTERS))
    return paritree.Pair(Reference(nnx.Rngs(0)), Contrast(fault).eval(), (images, texts))
