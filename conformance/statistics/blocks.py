"""Mean and spread again, row by row, column by column and in fused blocks: one pooled test averages a wrong
block away, and a fused projection has one fan per block, not one for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import power
from .evidence import Evidence, inapplicable
from .pooled import chi_square_p, mean_p, shift_in_words, spread_in_words
from .scores import Scores

# Equal parts of the rows: gate and value, the three of an attention or a GRU, the four of an LSTM.
SECTIONS = (2, 3, 4)
# A group of fewer values says nothing at the levels that are left after the correction.
LEAST_GROUP = 16


@dataclass(frozen=True)
class _Group:
    """The sums of the scores over the indices `start` to `stop` (excluded) of one axis."""

    name: str
    axis: int
    start: int
    stop: int
    total: float
    squares: float
    n: int


def blocks(path: str, sample: Scores) -> list[Evidence]:
    """Two tests each, mean and chi-square, for the rows, the columns and the sections of the rows.

    sample: the scores of `(draws, rows, columns, ...)`. Each test takes the worst group's p-value times the number of
    groups (Bonferroni), so that Holm's correction counts partitions and not rows.
    """
    shape = sample.values.shape[1:]
    rows: list[Evidence] = []
    for partition, axis in (("rows", 0), ("columns", 1)):
        if len(shape) <= axis or shape[axis] == 1:
            continue
        groups = _along(sample, axis)
        rows.extend(_by_group(path, partition, sample, groups))
        if axis == 0:
            rows.extend(_by_group(path, "sections", sample, _sections(groups)))
    return rows


def _along(sample: Scores, axis: int) -> list[_Group]:
    others = tuple(index for index in range(sample.z.ndim) if index != axis + 1)
    totals, squares = sample.z.sum(axis=others), np.square(sample.z).sum(axis=others)
    counts = np.count_nonzero(sample.kept, axis=others)
    word = "row" if axis == 0 else "column"
    sums = zip(totals.tolist(), squares.tolist(), counts.tolist(), strict=True)
    return [_Group(f"{word} {i}", axis, i, i + 1, total, square, n) for i, (total, square, n) in enumerate(sums)]


def _sections(groups: Sequence[_Group]) -> list[_Group]:
    sections = []
    for parts in SECTIONS:
        size, rest = divmod(len(groups), parts)
        if rest or size < 2:  # Sections of one row are the rows.
            continue
        for start in range(0, len(groups), size):
            members = groups[start : start + size]
            total, squares = sum(g.total for g in members), sum(g.squares for g in members)
            name = f"block of rows {start} to {start + size - 1}"
            sections.append(_Group(name, 0, start, start + size, total, squares, sum(g.n for g in members)))
    return sections


def _by_group(path: str, partition: str, sample: Scores, groups: Sequence[_Group]) -> list[Evidence]:
    if not groups:
        return []
    smallest_group = min(group.n for group in groups)
    if smallest_group < LEAST_GROUP:
        reason = f"groups of {smallest_group} values are below {LEAST_GROUP}: draw more replicates"
        return [inapplicable(path, f"{partition} {test}", reason) for test in ("mean", "chi-square")]
    n = np.array([group.n for group in groups])
    totals, squares = np.array([group.total for group in groups]), np.array([group.squares for group in groups])
    return [
        _worst(path, f"{partition} mean", sample, groups, mean_p(totals, n)),
        _worst(path, f"{partition} chi-square", sample, groups, chi_square_p(squares, n)),
    ]


def _worst(path: str, test: str, sample: Scores, groups: Sequence[_Group], p_values: np.ndarray[Any, Any]) -> Evidence:
    index = int(np.argmin(p_values))
    group = groups[index]
    chosen = (slice(None),) * (group.axis + 1) + (slice(group.start, group.stop),)
    values = sample.values[chosen][sample.kept[chosen]]
    words = shift_in_words if test.endswith("mean") else spread_in_words
    least = min(item.n for item in groups)
    statistic = group.total / group.n**0.5 if test.endswith("mean") else group.squares
    p_value = min(1.0, float(p_values[index]) * len(groups))
    effect = partial(_mean_effect if test.endswith("mean") else _std_effect, least, len(groups))
    finding = f"{group.name}: {words(values, sample.part)}"
    return Evidence(path, test, group.n, statistic, p_value, finding, smallest=effect)


def _mean_effect(n: int, groups: int, alpha: float, beta: float) -> str:
    return f"a shift of {power.mean_shift(n, alpha / groups, beta):.2g} std in one of {groups}"


def _std_effect(n: int, groups: int, alpha: float, beta: float) -> str:
    return f"a factor of {power.std_factors(n, alpha / groups, beta)[1]:.3g} in one of {groups}"
