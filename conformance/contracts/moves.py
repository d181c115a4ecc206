"""Moves: how far steps of an optimizer take each tensor on both sides, and how much of that rounding alone decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.seeding import generator
from ...common.wing import Optimizer, PairError, Training
from ...pairs.comparison import Comparison
from ...pairs.precision import ROUNDINGS, Setting
from ...pairs.side import Side, Weights
from ...pairs.values import rounded

# Of an entry that is noise alone, one in a million is more than so many times what all of the nudges change.
BEYOND = 32.0
# Of an Adam that is not ours, as both frameworks have it.
_BETA = 0.999


def targets(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Fixed normal targets for the outputs, the same on both sides."""
    return [generator(0, f"target {number}").normal(size=shape) for number, shape in enumerate(shapes)]


class Move(NamedTuple):
    """How far a tensor went on both sides, or the noise in that, in float64 and in the port's layout."""

    ours: np.ndarray
    theirs: np.ndarray

    def where(self, mask: np.ndarray) -> Move:
        """The same with zeros elsewhere."""
        return Move(np.where(mask, self.ours, 0.0), np.where(mask, self.theirs, 0.0))

    def zero(self, noise: Move) -> tuple[np.ndarray, np.ndarray]:
        """For each side which entries are no more than noise."""
        most = BEYOND * (noise.ours + noise.theirs)
        return np.abs(self.ours) <= most, np.abs(self.theirs) <= most

    def alone(self, noise: Move) -> np.ndarray:
        """The entries that are more than noise on one side only, and apart by it: none that is it just about."""
        ours, theirs = self.zero(noise)
        return (ours ^ theirs) & (np.abs(self.theirs - self.ours) > BEYOND / 2 * (noise.ours + noise.theirs))

    def beyond(self, noise: Move) -> Move:
        """The port's as near to the reference's as the noise of both may bring it."""
        most = ROUNDINGS * (noise.ours + noise.theirs)
        return Move(self.ours, self.theirs - np.clip(self.theirs - self.ours, -most, most))


@dataclass(frozen=True, eq=False)
class Steps:
    """Some steps on both sides, from the values that the reference has and the map carries across.

    optimizer: what both make them with; None for each side's own, or its own step function.
    larger: by what factor all that is trained is larger than the reference has it.
    """

    comparison: Comparison
    setting: Setting
    optimizer: Optimizer | None
    count: int
    larger: float = 1.0

    def __str__(self) -> str:
        return f"{self.count} step{'s' if self.count > 1 else ''} of {self.name}"

    @property
    def name(self) -> str:
        return self.optimizer.name if self.optimizer else "its own recipe"

    @property
    def limit(self) -> float:
        """How far apart rounding takes what is trained alike.

        AdamW divides by 1 - beta^t, which Optax rounds to the arrays' precision and PyTorch does not: with a beta next
        to 1 most of the digits are lost.
        """
        beta = max(self.optimizer.betas) if self.optimizer else _BETA
        is_plain = self.optimizer is not None and self.optimizer.name != "adamw"
        correction = 0.0 if is_plain else self.setting.eps / (1 - beta)
        limit = self.comparison.limit
        return limit if self.setting.is_coarse else max(limit, correction)

    @property
    def policy(self) -> str:
        """Why that much is allowed."""
        if self.limit > self.comparison.limit:
            return f"eps of {self.setting.precision} / (1 - beta) of AdamW's correction"
        return self.comparison.policy

    @property
    def start(self) -> Weights:
        """The reference's own values, copies of one tensor of the port's made equal."""
        reference = self.comparison.reference
        held = {path: native.array for path, native in reference.tensors.items()}
        if self.larger != 1:
            trained = (path for path in held if reference.stored_tensors[path].trainable and reference.is_free(path))
            held |= {path: held[path] * np.asarray(self.larger, held[path].dtype) for path in trained}
        return self.comparison.bound.alike(held)

    def trained(self, side: Side, start: Weights) -> Training:
        """What the steps leave of a side, from these values of the reference's.

        Raises:
            PairError, NotExpressibleError: a side that cannot be trained so, or of which it was not recorded.
        """
        weights = start if side is self.comparison.reference else self.comparison.bound.carried(start)
        if self.optimizer is None:
            return side.stepped(weights, targets, self.count, self.setting)
        return side.train(weights, targets, self.optimizer, self.count, self.setting)

    def moves(self, side: Side, start: Weights, trained: Training) -> dict[str, np.ndarray]:
        """How far each tensor of the map went on a side, by the port's path."""
        bound = self.comparison.bound
        before, after = bound.carried(start), {path: each.array for path, each in trained.stored_tensors.items()}
        if side is self.comparison.reference:
            after = bound.carried({path: after[path] for path in start})
        return {
            path: after[path].astype(np.float64) - array.astype(np.float64)
            for path, array in before.items()
            if path in after
        }

    def gradients(self) -> Steps:
        """As many steps of SGD: what they move is a sum of gradients, which no optimizer has made larger or smaller."""
        # Of a step of one's own nobody else knows the loss.
        own = self.optimizer is None
        return self if own else Steps(self.comparison, self.setting, OPTIMIZERS[0], self.count)

    def again(self, paths: Iterable[str]) -> dict[str, Move]:
        """The moves of some of the tensors."""
        sides = self.comparison.reference, self.comparison.port
        ours, theirs = (self.moves(side, self.start, self.trained(side, self.start)) for side in sides)
        return {path: Move(ours[path], theirs[path]) for path in paths}

    def noise(self, moves: Mapping[str, Move]) -> dict[str, Move]:
        """For each entry the most that its move changes when all parameters are as far away as rounding takes them.

        Not by float64's rounding: a module that computes in float32 whatever it is given would be as it was. A tensor's
        median is the least, since of few roundings some change nothing by chance. None where a side has no other runs,
        as a record may have none.
        """
        ours = self.noise_of(self.comparison.reference, {path: move.ours for path, move in moves.items()})
        theirs = self.noise_of(self.comparison.port, {path: move.theirs for path, move in moves.items()})
        return {path: Move(ours[path], theirs[path]) for path in moves}

    def noise_of(self, side: Side, moves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same of one side."""
        found = {path: np.zeros(move.shape) for path, move in moves.items()}
        for near in rounded(self.start, self.comparison.reference.is_free):
            start = self.comparison.bound.alike(near)
            try:
                trained = self.trained(side, start)
            except (PairError, NotExpressibleError):
                break
            after = self.moves(side, start, trained)
            for path, most in found.items():
                np.maximum(most, np.abs(after[path] - moves[path]), out=most)
        return {path: np.maximum(most, np.median(most)) if most.size else most for path, most in found.items()}


OPTIMIZERS = (
    Optimizer("sgd", 0.05, momentum=0.9),
    Optimizer("adamw", 1e-3, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8),
)
