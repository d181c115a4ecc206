"""A training step: mean squared error and plain gradient descent, in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..common.outputs import check_targets
from .access import arrays, cuda_indices, derivatives, in_mode, tensor


def step(
    model: nn.Module, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[nn.Module, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    seed: of the dropout masks, if the model draws any. Returns `model` itself, updated in place, each submodule in the
    mode that it had, and the parameters' `.grad` as they were.

    Raises:
        ShapeError: targets of another shape than the output's; NotExpressibleError: the output is not one array.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(devices=cuda_indices(model)), in_mode(model, training=True):
        torch.manual_seed(seed)
        output = model(*arrays(model, inputs))
        check_targets(targets, output)
        loss = nn.functional.mse_loss(output, tensor(targets).to(output.device))
    with torch.no_grad():
        for parameter, gradient in zip(parameters, derivatives(loss, parameters), strict=True):
            if gradient is not None:
                parameter -= learning_rate * gradient
    return model, loss.item()
