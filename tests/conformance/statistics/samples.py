"""Draws of laws that are known, for two sides of a pair: `(draws, *shape)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from scipy import special

Draws = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Draws]
PATH = "h.0.weight"


def normal(std: float = 0.02) -> Draw:
    return lambda rng, shape: (std * rng.standard_normal(shape)).astype(np.float32)


def uniform(bound: float = 1.0) -> Draw:
    return lambda rng, shape: rng.uniform(-bound, bound, shape).astype(np.float32)


def cut(std: float) -> Draw:
    """A normal cut at two sigma, `std` after the cut."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Draws:
        edge = special.ndtr(2.0)
        return (std / 0.87962566 * special.ndtri(rng.uniform(1 - edge, edge, shape))).astype(np.float32)

    return draw


def padded(draw: Draw) -> Draw:
    """The first row zero."""

    def made(rng: np.random.Generator, shape: tuple[int, ...]) -> Draws:
        values = draw(rng, shape)
        values[:, 0] = 0
        return values

    return made


def half(draw: Draw) -> Draw:
    return lambda rng, shape: draw(rng, shape).astype(ml_dtypes.bfloat16)


def by_rows(rng: np.random.Generator, shape: tuple[int, ...]) -> Draws:
    """Each row with a scale and a mean of its own: one law for each entry."""
    row = np.arange(shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
    return (0.1 + row) * rng.standard_normal(shape) + row


def haar(signs_fixed: bool = True, gain: float = 1.0) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Draws:
        wide = (shape[0], max(shape[1:]), min(shape[1:]))
        q, r = np.linalg.qr(rng.standard_normal(wide))
        q = q * np.sign(np.einsum("dii->di", r))[:, None] if signs_fixed else q
        return (gain * (q if q.shape == shape else q.transpose(0, 2, 1))).astype(np.float32)

    return draw


def pair(reference: Draw, port: Draw, shape: tuple[int, ...] = (4, 96, 64), seed: int = 0) -> tuple[Draws, Draws]:
    rng = np.random.default_rng(seed)
    return reference(rng, shape), port(rng, shape)


def side(seed: int, **changes: Draws) -> dict[str, Draws]:
    rng = np.random.default_rng(seed)
    shapes = {"a.weight": (8, 6), "b.weight": (8, 6), "c.weight": (40, 30), "a.bias": (8,)}
    made = {path: normal()(rng, (4, *shape)) for path, shape in shapes.items()}
    return {**made, "a.bias": np.zeros((4, 8), np.float32), **changes}
