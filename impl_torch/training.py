"""A training step: mean squared error and plain gradient descent, in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from .access import arrays, cuda_indices, tensor


def step(
    model: nn.Module, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[nn.Module, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    seed: of the dropout masks, if the model draws any. Returns `model` itself, updated in place.
    """
    with torch.random.fork_rng(devices=cuda_indices(model)):
        torch.manual_seed(seed)
        model.train()
        try:
            output = model(*arrays(model, inputs))
        finally:
            model.eval()
        loss = nn.functional.mse_loss(output, tensor(targets).to(output.device))
        # Nothing to train, nothing to do, as in the other wings; an optimizer would call it an error.
        if loss.requires_grad:
            optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model, loss.item()
