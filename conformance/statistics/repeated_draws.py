"""Parameters of one side that repeat each other's draws though the other side's do not: a reused key, or a lost split.

Which parameters of a model share their values by design is not known here; the other side tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .constants import still
from .evidence import Evidence, constraint
from .sign_tests import caught, sum_p

Values = np.ndarray[Any, Any]

# How many leading entries of a parameter are used in all, and how many draws at most.
_MOST_VALUES = 1024
_MOST_DRAWS = 8
# Below this many values equality may be chance, and correlation is no proof.
_LEAST_VALUES = 64
# From here on the other side counts as sharing its draws as well.
_SHARED = 0.5


def copies(
    reference: Mapping[str, Values], port: Mapping[str, Values], ties: Iterable[tuple[str, str]] = ()
) -> list[Evidence]:
    """Hold the parameters of each side against each other; what both sides share, or a tie declares, is in order.

    Both map one set of paths to draws `(draws, *shape)`, in one layout; draw i of all of a side's parameters is of one
    seed. Equal draws are a constraint. Correlation is tested at the leading entries in the order of storage, and in
    that of the axes reversed, since a reused key repeats one of these.

    The test of correlation is exact for every law. Of two parameters u and v, and each two neighbouring entries, the
    product (u_2j - u_2j+1) (v_2j - v_2j+1) has either sign with probability 1/2 if u is drawn independently of v and
    its two entries are of one law.
    """
    tied = {frozenset(pair) for pair in ties}
    random = [path for path in reference if _is_random(reference[path]) and _is_random(port[path])]
    sides = {"reference": reference, "port": port}
    groups = {side: _equal_to(draws, random) for side, draws in sides.items()}
    rows = [_copy(path, groups, tied, reference[path].size) for path in random]
    return rows + _correlations(random, sides, tied, groups)


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
    """For each parameter the worst of its pairs with those before it, times their number."""
    if len(paths) < 2:
        return []
    measured = {side: [_products(draws, paths, order) for order in (False, True)] for side, draws in sides.items()}
    allowed = np.tri(len(paths), k=-1, dtype=bool)
    index = {path: number for number, path in enumerate(paths)}
    for pair in tied:
        known = sorted((index[path] for path in pair if path in index), reverse=True)
        if len(known) == 2:
            allowed[known[0], known[1]] = False
    rows = []
    for side, other_side in (("port", "reference"), ("reference", "port")):
        shared = np.max([np.abs(sizes) for _, sizes in measured[other_side]], axis=0) > _SHARED
        same = np.array([[groups[side][one] == groups[side][other] for other in paths] for one in paths])
        p_values = np.min([p for p, _ in measured[side]], axis=0)
        (plain_p, plain), (turned_p, turned) = measured[side]
        sizes = np.where(plain_p <= turned_p, plain, turned)
        # A copy is a finding already, and what both sides share is none.
        p_values = np.where(allowed & ~shared & ~same, p_values, 1.0)
        for number, path in enumerate(paths[1:], start=1):
            worst = int(np.argmin(p_values[number, :number]))
            tried = 2 * number
            p_value = min(1.0, float(p_values[number, worst]) * tried)
            size = float(sizes[number, worst])
            finding = (
                f"the correlation of the {side}'s draws with those of its {paths[worst]} is {size:.3g}, "
                f"and the {other_side}'s have none"
            )
            n = min(_MOST_VALUES, sides[side][path].size)
            effect = partial(_effect, n // 2, tried)
            rows.append(Evidence(path, f"correlation in the {side}", n, size, p_value, finding, smallest=effect))
    return rows


def _products(draws: Mapping[str, Values], paths: list[str], backwards: bool) -> tuple[Values, Values]:
    """For all pairs of parameters the p-value of their products, and the correlation of the differences."""
    count = min(_MOST_DRAWS, *(len(draws[path]) for path in paths))
    width = _MOST_VALUES // count
    differences = np.zeros((len(paths), count, width // 2))
    for number, path in enumerate(paths):
        values = _leading(draws[path][:count], width, backwards)
        pairs = values.shape[1] // 2
        differences[number, :, :pairs] = values[:, 0 : 2 * pairs : 2] - values[:, 1 : 2 * pairs : 2]
    flat = differences.reshape(len(paths), -1)
    norms = np.sqrt(np.square(flat).sum(axis=1))
    flat = flat / np.where(norms > 0, norms, 1.0)[:, None]
    sizes = flat @ flat.T
    return sum_p(sizes, np.square(flat) @ np.square(flat).T), sizes


def _leading(draws: Values, width: int, backwards: bool) -> Values:
    """The first entries of each draw, in the order of the axes or with the axes reversed."""
    if not backwards:
        return draws.reshape(len(draws), -1)[:, :width].astype(np.float64)
    turned = draws.transpose(0, *range(draws.ndim - 1, 0, -1))
    # Without a copy of all of it: as many of the leading rows as are needed.
    rows = -(-width // max(1, math.prod(turned.shape[2:])))
    return turned[:, :rows].reshape(len(draws), -1)[:, :width].astype(np.float64)


def _effect(pairs: int, tried: int, alpha: float, beta: float) -> str:
    """By the theory of normal draws: a product of differences has mean 2 rho and, for small rho, std 2."""
    size = caught(pairs, alpha / tried, beta)
    return f"a correlation of {size:.2g}" if size < 1 else "no correlation: too few values"
