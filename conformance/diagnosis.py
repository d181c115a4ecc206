"""From a difference to its likeliest cause, in words that lead to the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import numpy as np

from ..pairs.closeness import relative_error

Weights = Mapping[str, np.ndarray]

# Beyond this many guesses at a forward pass each, an intervention costs more than it tells.
MOST_GUESSES = 400


def explain(path: str, found: np.ndarray, expected: Weights, allowed: float) -> str:
    """What the array at `path` is, if not what is expected there: its transpose, another path's, a multiple."""
    exact = expected[path]
    if not np.isfinite(found).all():
        return "is not finite"
    if _is_square(exact) and relative_error(found, exact.T) <= allowed:
        return "is the transpose of what it should be"
    for other, array in expected.items():
        if other != path and array.shape == found.shape and relative_error(found, array) <= allowed:
            return f"is that of {other}"
    scale = float(np.vdot(exact, found) / np.vdot(exact, exact)) if np.any(exact) else 0.0
    if scale and relative_error(found, scale * exact) <= max(allowed, 1e-6):
        return f"is {scale:.4g} times what it should be"
    return f"differs by {relative_error(found, exact):.2g} of its norm"


def intervene(weights: Weights, agrees: Callable[[Weights], bool]) -> str | None:
    """Which single mistake in the weights' use would explain an output that is wrong, found by undoing it.

    agrees: whether the output is right once the model is given these weights. A square matrix that is used transposed
    is right when it is given transposed; two parameters of one shape that are mixed up, when they are given swapped.
    """
    for count, (words, altered) in enumerate(_guesses(weights)):
        if count >= MOST_GUESSES:
            return None
        if agrees(altered):
            return words
    return None


def _guesses(weights: Weights) -> Iterator[tuple[str, Weights]]:
    for path, array in weights.items():
        if _is_square(array):
            altered = {**weights, path: np.ascontiguousarray(array.T)}
            yield f"{path} is used transposed: given transposed, the output is right", altered
    for one, other in combinations(weights, 2):
        if weights[one].shape == weights[other].shape:
            altered = {**weights, one: weights[other], other: weights[one]}
            yield f"{one} and {other} are swapped: given swapped, the output is right", altered


def missing_site(found: np.ndarray, shares: list[np.ndarray], allowed: float) -> int | None:
    """The number of the site without whose share the sum is `found`."""
    total = np.sum(shares, axis=0)
    for number, share in enumerate(shares):
        if relative_error(found, total - share) <= allowed:
            return number
    return None


def _is_square(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.shape[0] == array.shape[1] > 1
