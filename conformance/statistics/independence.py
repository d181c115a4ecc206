"""Independence across parameters: two that share a key, or a copied initial value, are each distributed as
promised; only the two together show it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from ...common.initializers import Initializer
from .evidence import Evidence, constraint, inapplicable
from .pooled import mean_p
from .scores import scores

Values = np.ndarray[Any, Any]

# A reused key correlates fully: sqrt(1024) = 32 standard deviations.
MOST_VALUES = 1024
# Below this many values even that is no proof.
LEAST_VALUES = 64


def across(
    samples: Mapping[str, Values],
    initializers: Mapping[str, Initializer],
    ties: Iterable[tuple[str, str]] = (),
) -> list[Evidence]:
    """Hold every parameter's draws against those of the parameters before it; only declared ties may match.

    `samples` are those of `examine`, by path, drawn together: replicate i of each comes from seed i. Copies are
    a constraint among parameters of one shape. Correlation is tested on the leading values of both, as stored in
    the canonical layout and as stored with the axes reversed: a matrix of Flax's is the transpose of the canonical
    one, and a reused key repeats the order of storage. For arrays of more than two axes and unlike shapes neither
    order need be the native one.
    """
    tied = {frozenset(pair) for pair in ties}
    random = [path for path in samples if not initializers[path].deterministic and samples[path].size]
    leading = {path: _leading(samples[path], initializers[path]) for path in random if initializers[path].independent}
    rows = []
    for index, path in enumerate(random):
        others = [other for other in random[:index] if frozenset((path, other)) not in tied]
        if not others:
            continue
        rows.append(constraint(path, "copies", samples[path].size, _copy(path, others, samples)))
        if path in leading:
            rows.append(_correlation(path, [other for other in others if other in leading], leading))
    return rows


def correlation(first: Values, second: Values) -> tuple[float, float]:
    """The correlation of two equally long vectors of scores, and its two-sided p-value.

    Given the second vector, the product of the two over the second's norm is exactly standard normal if the
    first is independent of it. Zeros, which stand for values on an atom, drop out.
    """
    both = (first != 0) & (second != 0)
    product, norm = float(first[both] @ second[both]), float(np.linalg.norm(second[both]))
    if norm == 0:
        return 0.0, 1.0
    return product / (norm * max(float(np.linalg.norm(first[both])), 1e-300)), float(mean_p(product / norm, 1))


def _leading(values: Values, initializer: Initializer) -> tuple[Values, Values]:
    """Scores `(replicates, entries)` in the two orders of storage, each replicate cut to the most that is used."""
    law = initializer.law(values.shape[1:])
    if law.continuous is None:
        empty = np.zeros((len(values), 0))
        return empty, empty
    reversed_axes = (0, *range(values.ndim - 1, 0, -1))
    orders = (values, values.transpose(reversed_axes))
    first, second = (order.reshape(len(values), -1)[:, :MOST_VALUES] for order in orders)
    return scores(first, law).z, scores(second, law).z


def _copy(path: str, others: Sequence[str], samples: Mapping[str, Values]) -> str | None:
    own = samples[path]
    for other in others:
        count = min(len(own), len(samples[other]))
        same_shape = own.shape[1:] == samples[other].shape[1:]
        if same_shape and own[:count].size >= LEAST_VALUES and np.array_equal(own[:count], samples[other][:count]):
            return f"its draws are those of {other}, expected draws of its own: no tie of the two is declared"
    return None


def _correlation(path: str, others: Sequence[str], leading: Mapping[str, tuple[Values, Values]]) -> Evidence:
    best, tried = (2.0, 0.0, "", 0), 0  # Any p-value is below 2.
    for other in others:
        for own, theirs in zip(leading[path], leading[other], strict=True):
            count, width = min(len(own), len(theirs)), min(own.shape[1], theirs.shape[1])
            draws = min(count, max(1, MOST_VALUES // max(width, 1)))
            if draws * width < LEAST_VALUES:
                continue
            size, p_value = correlation(own[:draws, :width].ravel(), theirs[:draws, :width].ravel())
            tried += 1
            if p_value < best[0]:
                best = (p_value, size, other, draws * width)
    if not tried:
        return inapplicable(path, "correlation", f"no other parameter shares {LEAST_VALUES} values with it")
    p_value, size, other, n = best
    finding = f"the correlation of its draws with those of {other} is {size:.3g}, as with a reused key"
    if abs(size) < 0.99:
        finding = f"the correlation of its draws with those of {other} is {size:.3g}, expected none"
    effect = partial(_correlation_effect, n, tried)
    return Evidence(path, "correlation", n, size, min(1.0, p_value * tried), finding, smallest=effect)


def _correlation_effect(n: int, pairs: int, alpha: float, beta: float) -> str:
    """Of the z-test, to first order: the statistic's mean is sqrt(n) times the correlation."""
    size = float(-special.ndtri(alpha / pairs / 2) - special.ndtri(beta)) / math.sqrt(n)
    return f"a correlation of {size:.2g}" if size < 1 else "no correlation: too few values"
