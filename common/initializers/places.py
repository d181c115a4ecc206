"""Initializers whose entries are a formula of their place, for what models keep in buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InitializerError
from .base import positive, settle
from .structured import Deterministic


@dataclass(frozen=True)
class Arange(Deterministic):
    """0, 1, 2, ... along the last axis, the same for all others."""

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """The place on the last axis."""
        return np.broadcast_to(np.arange(shape[-1], dtype=np.float64), shape).copy()

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """The shape must have an axis."""
        _expect_axes("Arange", 1, shape, path)


@dataclass(frozen=True)
class LowerTriangle(Deterministic):
    """1 where the place on the last axis is at most that on the one before, else 0: what is not to come."""

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """1 on the diagonal and below."""
        return np.broadcast_to(np.tri(shape[-2], shape[-1]), shape).copy()

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """The shape must have two axes."""
        _expect_axes("LowerTriangle", 2, shape, path)


@dataclass(frozen=True)
class InverseFrequencies(Deterministic):
    """theta^(-i/n) at place i of n on the last axis: the frequencies of rotary embeddings of heads of width 2n.

    Su et al. 2021, "RoFormer", where theta is 10000.
    """

    theta: float = 10000.0

    def __post_init__(self) -> None:
        settle(self, theta=positive("InverseFrequencies", "theta", self.theta))

    def draw(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """A geometric sequence from 1 on."""
        return np.broadcast_to(self.theta ** -(np.arange(shape[-1]) / max(1, shape[-1])), shape).copy()

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """The shape must have an axis."""
        _expect_axes("InverseFrequencies", 1, shape, path)


def _expect_axes(owner: str, least: int, shape: Sequence[int], path: str) -> None:
    if len(shape) < least:
        wanted = "one dimension" if least == 1 else f"{least} dimensions"
        raise InitializerError(path, f"a shape of at least {wanted} for {owner}", f"shape {tuple(shape)}")
