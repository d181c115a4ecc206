"""Entries that are the same in every draw: their values, and that they are so on both sides.

An entry is *still* on a side if all draws of that side have one value there. For laws without point masses a still
entry is constant; with them it may be chance, and then each entry that is still on one side alone is so on either with
the same probability.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from ...common.initializers import first_index
from .evidence import Evidence, constraint
from .sign_tests import count_p

Values = np.ndarray[Any, Any]


def still(draws: Values) -> Values:
    """By index in the flattened parameter, `(entries,)`, whether all draws `(draws, *shape)` agree."""
    flat = draws.reshape(len(draws), -1)
    return (flat == flat[0]).all(axis=0)


def in_words(draws: Values) -> str:
    """What the draws `(draws, *shape)` of a parameter are: constant, or random with which std."""
    if not still(draws).all():
        return f"random, std {_std(draws):.3g}"
    flat = np.unique(draws[0].astype(np.float64))
    if len(flat) == 1:
        return f"constant {flat[0]:g}"
    return f"constant in every draw, its values from {flat[0]:.3g} to {flat[-1]:.3g}"


def constants(path: str, reference: Values, port: Values) -> list[Evidence]:
    """What can be said of entries that are still: of the whole parameter as a constraint, of parts of it as tests.

    Both sides are `(draws, *shape)`, with as many draws each.

    A parameter all of whose entries are still is taken for constant. For an initializer with point masses that is wrong
    with the probability that all its draws agree everywhere, which is not small for a scalar and two draws, and for
    nothing else.
    """
    ours, theirs = still(reference), still(port)
    wrong = None
    if ours.all() and theirs.all():
        wrong = _unequal(reference[0], port[0])
    elif _never_met(reference, port, ours, theirs) or _never_met(port, reference, theirs, ours):
        wrong = f"the port's is {in_words(port)}, the reference's is {in_words(reference)}"
    rows = [constraint(path, "constants", reference.size, wrong)]
    if wrong or (ours.all() and theirs.all()):
        return rows
    shape = reference.shape[1:]
    flat, other = reference.reshape(len(reference), -1), port.reshape(len(port), -1)
    return [*rows, *_separated(path, flat, other, ours & theirs), *_one_sided(path, ours, theirs, shape)]


def _never_met(constant: Values, random: Values, constant_still: Values, random_still: Values) -> bool:
    """Whether one side is constant, and the other's entries all vary and never have the constant's value.

    A draw that has it now and then may come from a law with point masses, and is left to the tests.
    """
    return bool(constant_still.all() and not random_still.any() and not (random == constant[0]).any())


def _unequal(reference: Values, port: Values) -> str | None:
    different = reference != port
    if not different.any():
        return None
    index, count = first_index(different), np.count_nonzero(different)
    if len(np.unique(reference)) == len(np.unique(port)) == 1:
        return f"the port's is constant {port[index]:g}, the reference's is constant {reference[index]:g}"
    share = f"{count} of {reference.size} entries differ"
    return (
        f"both are constant, but entry {index} is {port[index]:g} in the port "
        f"and {reference[index]:g} in the reference ({share})"
    )


def _separated(path: str, reference: Values, port: Values, both: Values) -> list[Evidence]:
    """Entries that are still on both sides, at different values.

    Where the 2R values of an entry are R times one and R times another, the sides have them apart with probability
    2 / C(2R, R) under the null hypothesis, so that the number of such entries is binomial among all of that kind.
    """
    among = int(np.count_nonzero(_half_and_half(reference, port)))
    if not among:
        return []
    apart = np.flatnonzero(both & (reference[0] != port[0]))
    chance = 2 * math.exp(-_log_choices(len(reference)))
    p_value = float(special.bdtrc(len(apart) - 1, among, chance))
    finding = f"{len(apart)} entries are constant on both sides and differ"
    if len(apart):
        first = port[0, apart[0]], reference[0, apart[0]]
        finding += f": the first is {first[0]:g} in the port and {first[1]:g} in the reference"
    effect = partial(_apart_effect, among, chance)
    return [Evidence(path, "constant values", among, len(apart), p_value, finding, smallest=effect)]


def _half_and_half(reference: Values, port: Values) -> Values:
    """By index, whether the values of both sides together are two, each as often as the other."""
    draws, first = len(reference), reference[0]
    kind = (reference == first).sum(axis=0) + (port == first).sum(axis=0) == draws
    found = np.flatnonzero(kind)
    values = np.concatenate([reference[:, found], port[:, found]]).astype(np.float64)
    others = values != values[0]
    most, least = np.where(others, values, -np.inf).max(axis=0), np.where(others, values, np.inf).min(axis=0)
    kind[found] = most == least
    return kind


def _apart_effect(among: int, chance: float, alpha: float, beta: float) -> str:
    """The least number of entries that the binomial test finds."""
    for count in range(1, min(among, 1000) + 1):
        if special.bdtrc(count - 1, among, chance) <= alpha:
            return f"{count} entries that are constant at different values"
    return "nothing: too few draws"


def _one_sided(path: str, ours: Values, theirs: Values, shape: tuple[int, ...]) -> list[Evidence]:
    """Entries that are still on one side alone: in all, and in the worst row and column."""
    odd = np.flatnonzero(ours != theirs)
    if not len(odd):
        return []
    in_port, n = theirs[odd], len(odd)
    count = int(in_port.sum())
    finding = f"{count} entries are constant in the port alone, and {n - count} in the reference alone"
    rows = [Evidence(path, "constant entries", n, count, float(count_p(count, n)), finding, smallest=_effect)]
    for axis, word in ((0, "row"), (1, "column")):
        if len(shape) <= axis or shape[axis] == 1 or len(shape) == 1:
            continue
        index = np.unravel_index(odd, shape)[axis]
        all_of = np.bincount(index, minlength=shape[axis])
        of_port = np.bincount(index, weights=in_port, minlength=shape[axis]).astype(np.int64)
        p_values = count_p(of_port, all_of)
        worst = int(np.argmin(p_values))
        side = "port" if 2 * of_port[worst] >= all_of[worst] else "reference"
        finding = f"{word} {worst} is constant in the {side} and random in the other, in {all_of[worst]} entries"
        p_value = min(1.0, float(p_values[worst]) * shape[axis])
        effect = partial(_line_effect, word, shape[axis])
        n, statistic = int(all_of[worst]), float(of_port[worst])
        rows.append(Evidence(path, f"constant {word}s", n, statistic, p_value, finding, smallest=effect))
    return rows


def _effect(alpha: float, beta: float) -> str:
    """k entries that are all still on one side have probability 2^(1 - k); none of them is missed."""
    return f"{math.ceil(1 - math.log2(alpha))} entries that are constant on one side alone"


def _line_effect(word: str, lines: int, alpha: float, beta: float) -> str:
    return f"{_effect(alpha / lines, beta)}, in one of {lines} {word}s"


def _log_choices(draws: int) -> float:
    """log C(2R, R)."""
    return float(special.gammaln(2 * draws + 1) - 2 * special.gammaln(draws + 1))


def _std(draws: Values) -> float:
    return float(draws.astype(np.float64).std())
