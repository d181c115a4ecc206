"""Two-sample tests: are the draws of two initializers of one law? Exact for every law and every number of draws.

Nothing is known of the law, so entry i of a reference's draw is set beside entry i of a port's. If the two are drawn
alike and independently, exchanging them changes nothing: each difference of two symmetric scores has either sign with
probability 1/2, whatever the law, and whether or not other entries have the same one. Every test here is a sign test
(see `sign_tests`).

What this rests on is that the entries of one draw are independent of each other. Orthogonal matrices are recognized and
tested with one entry per draw. Another dependence within a draw (a matrix scaled by its own norm, a fixed number of
zeros in each column) cannot be told from the draws: then the entries of a draw move together, sums over them vary more
or less than is stated here, and only whole draws may be exchanged, which takes 2^-R and so 35 draws for a p-value of
6e-11. For such an initializer put one entry of each draw into `compare`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ...common.initializers import first_index
from .blocks import LEAST_GROUP, SECTIONS
from .constants import constants, in_words, still
from .evidence import Evidence, constraint, inapplicable
from .matched import Matched, in_one_format, matched
from .orthogonality import corner_signs, gain_of
from .rounding import eps
from .sign_tests import count_p, run_p, smallest_mean, sum_p

Values = np.ndarray[Any, Any]

# Quantiles of the pooled sample at which the two distribution functions are held against each other.
_LEVELS = np.arange(1, 32) / 32


def compare(reference: Values, port: Values, *, path: str = "") -> list[Evidence]:
    """Hold a port's draws of one parameter against the reference's, test by test.

    reference, port: `(draws, *shape)` in one layout, each draw made with a seed of its own; of unequal numbers of draws
        the first are used, of unequal floating-point dtypes the coarser one.

    Hand the evidence of all parameters to `judge` together.

    Raises:
        ShapeError: unequal shapes, or fewer than two draws of one side.
    """
    reference, port = in_one_format(reference, port, path)
    if reference.size == 0:
        return [inapplicable(path, "values", "there are none")]
    rows = [constraint(path, "finite", reference.size, _not_finite(reference, port))]
    if rows[0].p_value == 0:
        return rows
    rows += constants(path, reference, port)
    random = ~(still(reference) & still(port))
    if (rows[-1].p_value == 0 and rows[-1].constraint) or not random.any():
        return rows
    gains = gain_of(reference), gain_of(port)
    if gains != (None, None):
        return rows + _orthogonal(path, reference, port, gains)
    return rows + _independent(path, matched(reference, port, random))


def _not_finite(reference: Values, port: Values) -> str | None:
    for side, draws in (("reference", reference), ("port", port)):
        wrong = ~np.isfinite(draws)
        if wrong.any():
            index = first_index(wrong)
            return f"entry {index[1:]} of the {side}'s draw {index[0]} is {draws[index]}, expected a finite number"
    return None


def _independent(path: str, sample: Matched) -> list[Evidence]:
    return [*_pooled(path, sample), *_zeros(path, sample), *_groups(path, sample)]


def _pooled(path: str, sample: Matched) -> list[Evidence]:
    rows = [
        _sum(path, "mean", sample.reference_z, sample.port_z, _shifted(sample.reference, sample.port)),
        _sum(path, "std", sample.reference_z**2, sample.port_z**2, _scaled(sample.reference, sample.port)),
    ]
    return [*rows, *_ends(path, sample), _shape(path, sample)]


def _sum(path: str, test: str, reference: Values, port: Values, finding: str) -> Evidence:
    difference = port - reference
    total, squares = float(difference.sum()), float(np.square(difference).sum())
    effect = partial(_effect, test, difference.size, 1)
    return Evidence(path, test, difference.size, total, float(sum_p(total, squares)), finding, smallest=effect)


def _effect(test: str, n: int, groups: int, alpha: float, beta: float) -> str:
    """By the theory of normal draws. The difference of two scores has std sqrt(2), of two squares of scores std 2; a
    shift by d stds moves the one by d, a factor f on the std the other by 2 log f."""
    size = smallest_mean(n, alpha / groups, beta)
    words = f"a shift of {2**0.5 * size:.2g} std" if test == "mean" else f"a factor of {np.exp(size):.3g}"
    return words if groups == 1 else f"{words} in one of {groups}"


def _shifted(reference: Values, port: Values) -> str:
    spread = float(reference.std()) or float(port.std()) or 1.0
    shift = float(port.mean() - reference.mean()) / spread
    return f"the port's mean is {abs(shift):.3g} std {'above' if shift >= 0 else 'below'} the reference's"


def _scaled(reference: Values, port: Values) -> str:
    ours, theirs = float(reference.std()), float(port.std())
    if ours == 0:
        return f"the port's std is {theirs:.3g}, the reference's is 0"
    return f"the port's std is {theirs / ours:.3f} times the reference's ({theirs:.3g} against {ours:.3g})"


def _ends(path: str, sample: Matched) -> list[Evidence]:
    """How many of the most extreme values of both sides are all of one side.

    Each is of either side with probability 1/2, and of the opposite one the other value of its entry: k all of one side
    have probability at most 2^(1 - k).
    """
    middle = np.median(np.concatenate([sample.reference.ravel(), sample.port.ravel()]))
    orders = {
        "maximum": (sample.reference, sample.port, "largest"),
        "minimum": (-sample.reference, -sample.port, "smallest"),
        "extremes": (np.abs(sample.reference - middle), np.abs(sample.port - middle), "furthest from the middle"),
    }
    rows = []
    for test, (reference, port, word) in orders.items():
        ours, theirs = _beyond(reference, port), _beyond(port, reference)
        count, side = max((ours, "reference"), (theirs, "port"))
        finding = f"the {count} {word} of {2 * sample.n} values are all the {side}'s"
        effect = partial(_end_effect, sample.n)
        rows.append(Evidence(path, test, sample.n, float(count), run_p(count), finding, smallest=effect))
    return rows


def _beyond(values: Values, others: Values) -> int:
    """How many values exceed all of the others."""
    return int(np.count_nonzero(values > others.max()))


def _end_effect(n: int, alpha: float, beta: float) -> str:
    """k = 1 - log2(alpha) values beyond the other side's end suffice. A Poisson count of mean m is below k with
    probability at most beta from m = k + sqrt(2 k log(1/beta)) + log(1/beta) on (Chernoff, rounded up)."""
    needed = -np.log2(alpha) + 1
    expected = needed - np.log(beta) + np.sqrt(2 * needed * -np.log(beta))
    if expected >= n:
        return "no cut: too few values"
    return f"an end that leaves out {100 * expected / n:.2g} % of the mass"


def _shape(path: str, sample: Matched) -> Evidence:
    """The two distribution functions at quantiles of the pooled sample, which do not depend on the sides.

    Of the entries where just one of the two values is below a quantile, either side's is with probability 1/2 (the sign
    test, McNemar 1947). The worst p-value counts times the number of quantiles.
    """
    pool = np.concatenate([sample.reference.ravel(), sample.port.ravel()])
    levels = np.unique(np.quantile(pool, _LEVELS, method="lower"))
    below = [(sample.reference <= level, sample.port <= level) for level in levels]
    of_port = np.array([np.count_nonzero(theirs & ~ours) for ours, theirs in below])
    of_reference = np.array([np.count_nonzero(ours & ~theirs) for ours, theirs in below])
    p_values = count_p(of_port, of_port + of_reference)
    worst = int(np.argmin(p_values))
    distance = float(of_port[worst] - of_reference[worst]) / sample.n
    p_value = min(1.0, float(p_values[worst]) * len(levels))
    finding = f"the distribution functions are {abs(distance):.3g} apart at {levels[worst]:.4g}"
    effect = partial(_shape_effect, sample.n, len(levels))
    return Evidence(path, "shape", sample.n, distance, p_value, finding, smallest=effect)


def _shape_effect(n: int, levels: int, alpha: float, beta: float) -> str:
    """At the median, where half of the entries count, each with a sign of std 1 that the distance shifts."""
    return f"distribution functions that are {smallest_mean(2 * n, alpha / levels, beta):.2g} apart in the middle"


def _zeros(path: str, sample: Matched) -> list[Evidence]:
    """The number of exact zeros: of the entries where one side alone has one, either has with probability 1/2."""
    ours, theirs = sample.reference == 0, sample.port == 0
    of_port, different = int(np.count_nonzero(theirs & ~ours)), int(np.count_nonzero(theirs ^ ours))
    if not different:
        return []
    finding = (
        f"a share of {np.count_nonzero(theirs) / sample.n:.4g} of the port's values is 0, "
        f"{np.count_nonzero(ours) / sample.n:.4g} of the reference's"
    )
    effect = partial(_zero_effect, sample.n, different)
    p_value = float(count_p(of_port, different))
    return [Evidence(path, "zeros", sample.n, of_port, p_value, finding, smallest=effect)]


def _zero_effect(n: int, different: int, alpha: float, beta: float) -> str:
    share = smallest_mean(different, alpha, beta) * different / n
    return f"shares that are {share:.2g} apart" if share < 1 else "no difference: too few zeros"


def _groups(path: str, sample: Matched) -> list[Evidence]:
    """Mean and std by row, by column, and by equal blocks of these; the worst group times their number."""
    rows: list[Evidence] = []
    differences = {"mean": sample.port_z - sample.reference_z, "std": sample.port_z**2 - sample.reference_z**2}
    for axis, name in enumerate(("rows", "columns", *(f"axis {k}" for k in range(2, len(sample.shape))))):
        if len(sample.shape) <= axis or sample.shape[axis] == 1:
            continue
        index = np.unravel_index(sample.indices, sample.shape)[axis]
        for partition, parts, groups in _partitions(name, sample.shape[axis], index):
            rows += _by_group(path, partition, sample, differences, groups, parts)
    return rows


def _partitions(name: str, length: int, index: Values) -> Iterator[tuple[str, int, Values]]:
    """Each partition's name, how many groups it has, and which of them each entry is in."""
    yield name, length, index
    for parts in SECTIONS:
        if length % parts == 0 and length // parts > 1:
            yield f"{name} in {parts} blocks", parts, index // (length // parts)


def _by_group(
    path: str, partition: str, sample: Matched, differences: dict[str, Values], groups: Values, count: int
) -> list[Evidence]:
    sizes = np.bincount(groups, minlength=count) * len(sample.reference)
    used = sizes[sizes > 0]
    if not len(used) or used.min() < LEAST_GROUP:
        reason = f"groups of {used.min() if len(used) else 0} values are below {LEAST_GROUP}: make more draws"
        return [inapplicable(path, f"{partition} {test}", reason) for test in differences]
    rows = []
    for test, difference in differences.items():
        totals = np.bincount(groups, difference.sum(axis=0), count)
        squares = np.bincount(groups, np.square(difference).sum(axis=0), count)
        p_values = np.where(sizes > 0, sum_p(totals, squares), np.inf)
        worst = int(np.argmin(p_values))
        chosen = groups == worst
        words = _shifted if test == "mean" else _scaled
        finding = f"{_group(partition, worst)}: {words(sample.reference[:, chosen], sample.port[:, chosen])}"
        p_value = min(1.0, float(p_values[worst]) * len(used))
        effect = partial(_effect, test, int(used.min()), len(used))
        n, total = int(sizes[worst]), float(totals[worst])
        rows.append(Evidence(path, f"{partition} {test}", n, total, p_value, finding, smallest=effect))
    return rows


def _group(partition: str, number: int) -> str:
    """`row 5`, `columns in 3 blocks, block 1`."""
    if partition in ("rows", "columns"):
        return f"{partition[:-1]} {number}"
    return f"{partition}, {'block' if 'blocks' in partition else 'index'} {number}"


def _orthogonal(path: str, reference: Values, port: Values, gains: tuple[float | None, float | None]) -> list[Evidence]:
    """Both sides must be orthogonal, with one gain; then one entry per draw, at an index that the path fixes."""
    ours, theirs = gains
    wrong = None
    if ours is None or theirs is None:
        side, other, gain = ("port", "reference", theirs) if ours is None else ("reference", "port", ours)
        odd = reference if ours is None else port
        wrong = f"the {side}'s draws are orthogonal with gain {gain:.4g}, the {other}'s are not: {in_words(odd)}"
    elif abs(ours - theirs) > max(1e-3, 4 * eps(reference.dtype)) * max(ours, theirs):
        wrong = f"the port's draws are orthogonal with gain {theirs:.4g}, the reference's with gain {ours:.4g}"
    rows = [constraint(path, "orthogonal", reference.size, wrong)]
    if wrong:
        return rows
    first, second = reference.reshape(len(reference), -1), port.reshape(len(port), -1)
    random = np.flatnonzero(~(still(reference) & still(port)))
    index = random[zlib.crc32(path.encode()) % len(random)]
    single = matched(first[:, [index]], second[:, [index]])
    return [*rows, corner_signs(path, first[:, random[0]], second[:, random[0]]), *_pooled(path, single)]
