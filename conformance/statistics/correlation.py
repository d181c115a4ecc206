"""Parameters against each other: two that share a key, or a copied initial value, are each distributed as promised.

Only the two together show it. `across` knows the law of each parameter, and which are tied. `copies` knows neither:
which parameters of a model share their values by design, the other side of the pair tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from ...common.initializers import Initializer
from .constants import still
from .evidence import Evidence, constraint, inapplicable
from .pooled import mean_p
from .scores import scores
from .sign_tests import smallest_mean, sum_p

Values = np.ndarray[Any, Any]

# How many leading values of a parameter are used in all: a reused key correlates fully, which is sqrt(1024) = 32
# standard deviations.
_MOST_VALUES = 1024
# Below this many values equality may be chance, and even full correlation is no proof.
_LEAST_VALUES = 64
# How many draws a pair of sides uses at most.
_MOST_DRAWS = 8
# From here on the other side counts as sharing its draws as well.
_SHARED = 0.5


def across(
    samples: Mapping[str, Values],
    initializers: Mapping[str, Initializer],
    ties: Iterable[tuple[str, str]] = (),
) -> list[Evidence]:
    """Hold every parameter's draws against those of the parameters before it; only declared ties may match.

    samples: those of `examine`, `(replicates, *shape)` by path, drawn together: replicate i of each comes from seed i.
    initializers: what each was to be drawn from. ties: paths that are declared to be one parameter.

    Copies are a constraint among parameters of one shape. Correlation is tested on the leading values of both, as
    stored in the canonical layout and as stored with the axes reversed: a matrix of Flax's is the transpose of the
    canonical one, and a reused key repeats the order of storage. For arrays of more than two axes and unlike shapes
    neither order need be the native one.

    Raises:
        InitializerError: a shape that does not suit its initializer.
    """
    tied = {frozenset(pair) for pair in ties}
    random = [path for path in samples if not initializers[path].deterministic and samples[path].size]
    independent = [path for path in random if initializers[path].independent]
    leading = {path: _leading_scores(samples[path], initializers[path]) for path in independent}
    rows = []
    for index, path in enumerate(random):
        others = [other for other in random[:index] if frozenset((path, other)) not in tied]
        if not others:
            continue
        rows.append(constraint(path, "copies", samples[path].size, _copied_from(path, others, samples)))
        if path in leading:
            rows.append(_worst_correlation(path, [other for other in others if other in leading], leading))
    return rows


def correlation(first: Values, second: Values) -> tuple[float, float]:
    """The correlation of two equally long vectors of scores, and its two-sided p-value.

    Given the second vector, the product of the two over the second's norm is exactly standard normal if the
    first is independent of it: a sum of normals whose squared weights sum to 1. Zeros, which stand for values at a
    point mass, drop out.
    """
    both = (first != 0) & (second != 0)
    product, norm = float(first[both] @ second[both]), float(np.linalg.norm(second[both]))
    if norm == 0:
        return 0.0, 1.0
    return product / (norm * max(float(np.linalg.norm(first[both])), 1e-300)), float(mean_p(product / norm, 1))


def copies(
    reference: Mapping[str, Values], port: Mapping[str, Values], ties: Iterable[tuple[str, str]] = ()
) -> list[Evidence]:
    """Hold the parameters of each side against each other; what both sides share, or a tie declares, is in order.

    reference, port: by one set of paths, `(draws, *shape)` in one layout; draw i of all of a side's parameters is of
        one seed.
    ties: paths that are declared to be one parameter.

    Equal draws are a constraint. Correlation is tested at the leading entries in the order of storage, and in that of
    the axes reversed, since a reused key repeats one of these.

    The test of correlation is exact for every law. Of two parameters u and v, and each two neighbouring entries, the
    product (u_2j - u_2j+1) (v_2j - v_2j+1) has either sign with probability 1/2 if u is drawn independently of v and
    its two entries are of one law: exchanging them changes the sign, and nothing else.
    """
    tied = {frozenset(pair) for pair in ties}
    random = [path for path in reference if _is_random(reference[path]) and _is_random(port[path])]
    sides = {"reference": reference, "port": port}
    groups = {side: _equal_to(draws, random) for side, draws in sides.items()}
    rows = [_copy(path, groups, tied, reference[path].size) for path in random]
    return rows + _correlations(random, sides, tied, groups)


def _leading_scores(values: Values, initializer: Initializer) -> tuple[Values, Values]:
    """Scores `(replicates, entries)` of the values that are used, in the two orders of storage."""
    law = initializer.law(values.shape[1:])
    if law.continuous is None:
        empty = np.zeros((len(values), 0))
        return empty, empty
    return scores(_leading(values, _MOST_VALUES), law).z, scores(_leading(values, _MOST_VALUES, True), law).z


def _leading(draws: Values, width: int, backwards: bool = False) -> Values:
    """The first entries of each draw, `(draws, width)`, in the order of the axes or with the axes reversed."""
    ordered = draws.transpose(0, *range(draws.ndim - 1, 0, -1)) if backwards else draws
    if ordered.ndim > 1:
        # Without a copy of all of it: as many of the leading rows as are needed.
        ordered = ordered[:, : -(-width // max(1, math.prod(ordered.shape[2:])))]
    return ordered.reshape(len(ordered), -1)[:, :width]


def _copied_from(path: str, others: Sequence[str], samples: Mapping[str, Values]) -> str | None:
    own = samples[path]
    for other in others:
        count = min(len(own), len(samples[other]))
        same_shape = own.shape[1:] == samples[other].shape[1:]
        if same_shape and own[:count].size >= _LEAST_VALUES and np.array_equal(own[:count], samples[other][:count]):
            return f"its draws are those of {other}, expected draws of its own: no tie of the two is declared"
    return None


def _worst_correlation(path: str, others: Sequence[str], leading: Mapping[str, tuple[Values, Values]]) -> Evidence:
    best, tried = (2.0, 0.0, "", 0), 0  # Any p-value is below 2.
    for other in others:
        for own, theirs in zip(leading[path], leading[other], strict=True):
            count, width = min(len(own), len(theirs)), min(own.shape[1], theirs.shape[1])
            draws = min(count, max(1, _MOST_VALUES // max(width, 1)))
            if draws * width < _LEAST_VALUES:
                continue
            size, p_value = correlation(own[:draws, :width].ravel(), theirs[:draws, :width].ravel())
            tried += 1
            if p_value < best[0]:
                best = (p_value, size, other, draws * width)
    if not tried:
        return inapplicable(path, "correlation", f"no other parameter shares {_LEAST_VALUES} values with it")
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


def _is_random(draws: Values) -> bool:
    return "float" in draws.dtype.name and draws.size >= _LEAST_VALUES and not still(draws).all()


def _equal_to(sides: Mapping[str, Values], paths: Iterable[str]) -> dict[str, str]:
    """The first parameter whose draws, two of them, each one repeats: itself if it repeats none."""
    first: dict[bytes, str] = {}
    return {path: first.setdefault(_content(sides[path]), path) for path in paths}


def _content(draws: Values) -> bytes:
    """The values of two draws as bytes, those of a large one by its leading entries."""
    flat = draws[:2].reshape(2, -1)[:, : 2**16]
    return str((draws.shape[1:], draws.dtype.name)).encode() + flat.tobytes()


def _copy(path: str, groups: Mapping[str, Mapping[str, str]], tied: set[frozenset[str]], n: int) -> Evidence:
    for side, other_side in (("port", "reference"), ("reference", "port")):
        source = groups[side][path]
        shared = groups[other_side][path] == groups[other_side][source]
        if source != path and not shared and frozenset((path, source)) not in tied:
            finding = (
                f"the {side}'s draws are those of its {source}, the {other_side}'s are draws of their own: "
                "a reused key, or a tie that one side does not have"
            )
            return constraint(path, "copies", n, finding)
    return constraint(path, "copies", n, None)


def _correlations(
    paths: list[str],
    sides: Mapping[str, Mapping[str, Values]],
    tied: set[frozenset[str]],
    groups: Mapping[str, Mapping[str, str]],
) -> list[Evidence]:
    """For each parameter of either side the worst of its pairs with those before it."""
    if len(paths) < 2:
        return []
    measured = {side: [_products(draws, paths, order) for order in (False, True)] for side, draws in sides.items()}
    declared = np.zeros((len(paths), len(paths)), dtype=bool)
    index = {path: number for number, path in enumerate(paths)}
    for pair in tied:
        known = sorted((index[path] for path in pair if path in index), reverse=True)
        if len(known) == 2:
            declared[known[0], known[1]] = True
    rows = []
    for side, other_side in (("port", "reference"), ("reference", "port")):
        shared = np.max([np.abs(sizes) for _, sizes in measured[other_side]], axis=0) > _SHARED
        copied = np.array([[groups[side][one] == groups[side][other] for other in paths] for one in paths])
        (plain_p, plain), (turned_p, turned) = measured[side]
        sizes = np.where(plain_p <= turned_p, plain, turned)
        # A copy is a finding already, and what both sides share is none.
        p_values = np.where(declared | shared | copied, 1.0, np.minimum(plain_p, turned_p))
        rows += _worst_pairs(paths, sides[side], (side, other_side), p_values, sizes)
    return rows


def _worst_pairs(
    paths: list[str], draws: Mapping[str, Values], sides: tuple[str, str], p_values: Values, sizes: Values
) -> Iterator[Evidence]:
    """For each parameter but the first the least p-value with those before it, times the number of tests."""
    side, other_side = sides
    for number, path in enumerate(paths[1:], start=1):
        worst = int(np.argmin(p_values[number, :number]))
        tried = 2 * number
        p_value = min(1.0, float(p_values[number, worst]) * tried)
        size = float(sizes[number, worst])
        finding = (
            f"the correlation of the {side}'s draws with those of its {paths[worst]} is {size:.3g}, "
            f"and the {other_side}'s have none"
        )
        n = min(_MOST_VALUES, draws[path].size)
        effect = partial(_product_effect, n // 2, tried)
        yield Evidence(path, f"correlation in the {side}", n, size, p_value, finding, smallest=effect)


def _products(draws: Mapping[str, Values], paths: list[str], backwards: bool) -> tuple[Values, Values]:
    """For all pairs of parameters the p-value of their products, and the correlation of the differences."""
    count = min(_MOST_DRAWS, *(len(draws[path]) for path in paths))
    width = _MOST_VALUES // count
    differences = np.zeros((len(paths), count, width // 2))
    for number, path in enumerate(paths):
        values = _leading(draws[path][:count], width, backwards).astype(np.float64)
        pairs = values.shape[1] // 2
        differences[number, :, :pairs] = values[:, 0 : 2 * pairs : 2] - values[:, 1 : 2 * pairs : 2]
    flat = differences.reshape(len(paths), -1)
    norms = np.sqrt(np.square(flat).sum(axis=1))
    flat = flat / np.where(norms > 0, norms, 1.0)[:, None]
    sizes = flat @ flat.T
    return sum_p(sizes, np.square(flat) @ np.square(flat).T), sizes


def _product_effect(pairs: int, tried: int, alpha: float, beta: float) -> str:
    """By the theory of normal draws: a product of differences has mean 2 rho and, for small rho, std 2."""
    size = smallest_mean(pairs, alpha / tried, beta)
    return f"a correlation of {size:.2g}" if size < 1 else "no correlation: too few values"
