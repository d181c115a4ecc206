"""Training: what both sides of a pair are trained with, and what a few steps of it tell. No framework is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from ..errors import UsageError, nearest
from .runs import Cotangents
from .stored import StoredTensor

OptimizerName = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with all its numbers, since the two frameworks' defaults differ.

    name: `sgd` (`torch.optim.SGD`, `optax.sgd`) or `adamw` (`torch.optim.AdamW`, `optax.adamw`).
    momentum: of `sgd`. weight_decay, betas, eps: of `adamw`; the decay is decoupled from the gradient.

    Raises:
        UsageError: another name.
    """

    name: OptimizerName
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.name not in get_args(OptimizerName):
            remedy = nearest(self.name, get_args(OptimizerName))
            raise UsageError(self.name, "the name of an optimizer", "none of that name", remedy)


class Training(NamedTuple):
    """What some steps left.

    losses: before each step.
    stored_tensors: all of the model after the last step, as the wing's function of that name tells them, with buffers
        and ties.
    """

    losses: tuple[float, ...]
    stored_tensors: dict[str, StoredTensor]


class Trainer(Protocol):
    """A side made ready to be trained: in training mode, dropout switched off, on a copy of the model.

    weights: native arrays by the paths of `stored_tensors`; what is not given keeps the value that it has in the model.
    targets: an array for each floating output, by the outputs' shapes. The loss is the sum over the outputs of the mean
        squared error.
    """

    def __call__(
        self, weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int
    ) -> Training: ...


class Stepper(Protocol):
    """A side made ready to make the caller's own steps: in training mode, dropout switched off, on a copy of the model.

    weights, targets: as of a `Trainer`. Where the caller has a step function the targets are not asked for.
    """

    def __call__(self, weights: Mapping[str, Any], targets: Cotangents, steps: int) -> Training: ...


class Pass(NamedTuple):
    """What one forward pass in a mode told.

    outputs: the floating-point arrays among the outputs, by their path in the output's structure.
    buffers: after the pass, by native path: every tensor that is no parameter.
    changed: the parameters that the call has changed, looked for in inference mode; none of a record.
    """

    outputs: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]
    changed: tuple[str, ...] = ()


class Passer(Protocol):
    """A side made ready to be run forward in either mode, on a copy of the model.

    training: in training mode; otherwise in inference mode.
    dropout: whether dropout draws its masks; without, it passes on what it gets. Says nothing in inference mode.
    seed: of the masks.
    """

    def __call__(self, weights: Mapping[str, Any], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass: ...
