"""A gap: what both sides agree on, and what each makes of it. The causes are sought in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .comparing import apart
from .pairing import Paired


class Known(NamedTuple):
    """An array of the reference that the port has too: whose output or input it is, in words.

    axes: gives for each of its axes that of the port's array, or nothing where these are not as many or not known.
    """

    label: str
    array: np.ndarray
    axes: Callable[[], Sequence[int]] = tuple


@dataclass(frozen=True)
class Cause:
    """A likely cause of a difference: a word for it, and a sentence with what was measured.

    is_measured: whether it explains both sides' numbers; otherwise it only says what is done where they part.
    """

    name: str
    text: str
    is_measured: bool = True

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Gap:
    """One difference, with all arrays in float64 and in the reference's order of axes.

    known: the latest first.
    reference, port: what is made of it, of one shape.
    pair: the two modules that make it, if it is the output of modules with none inside that were compared.
    weights: the reference's by native path.
    masks: arrays of zeros and ones, or of truth values, among the inputs of all around.
    limit: how large an error rounding makes here.
    given_to: the two modules that are given what differs, if it is an input.
    later: what the port's modules get and give after that.
    axes: for each axis of what the reference makes that of what the port makes; empty where these are not as many.
    """

    known: tuple[Known, ...]
    reference: np.ndarray
    port: np.ndarray
    limit: float
    pair: Paired | None
    weights: Mapping[str, np.ndarray]
    masks: tuple[np.ndarray, ...] = ()
    given_to: Paired | None = None
    later: tuple[np.ndarray, ...] = ()
    axes: tuple[int, ...] = ()

    @property
    def error(self) -> float:
        return apart(self.port, self.reference)

    def is_reference(self, made: np.ndarray) -> bool:
        """Whether this is what the reference makes, and not what the port does."""
        return self._is(made, self.reference, self.port)

    def is_port(self, made: np.ndarray) -> bool:
        return self._is(made, self.port, self.reference)

    def _is(self, made: np.ndarray, this: np.ndarray, other: np.ndarray) -> bool:
        if made.shape != this.shape:
            return False
        error = apart(made, this)
        return error <= 4 * self.limit and 8 * error <= apart(made, other)

    @property
    def differs_at(self) -> np.ndarray:
        """Entry by entry, whether the two differ by more than rounding beside the root mean square."""
        finite = self.reference[np.isfinite(self.reference)]
        size = float(np.linalg.norm(finite)) / max(finite.size, 1) ** 0.5
        with np.errstate(invalid="ignore"):
            return ~(np.abs(self.reference - self.port) <= 8 * self.limit * size)

    def held(self) -> list[tuple[str, np.ndarray]]:
        """The reference's own tensors of the modules that make it."""
        holds = self.pair.reference.trace.holds if self.pair else ()
        return [(path, np.asarray(self.weights[path], np.float64)) for path in holds if path in self.weights]
