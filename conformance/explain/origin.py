"""Where stored numbers come from: relations that are known by the numbers themselves, which no arithmetic has rounded.

None of them comes about by chance: draws that have nothing to do with each other do not agree in their last bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import NamedTuple

import ml_dtypes
import numpy as np

from ...pairs.closeness import relative_error
from .diagnosis import COARSE, MOST_AXES, Diagnosis, agree, diagnosis_of

# What has fewer numbers says nothing of a distribution or a correlation.
_LEAST_VALUES = 16
# Of arrays that are the same but for a factor and what is added, and for rounding.
_SAME = 1e-6
# How far the marks of the same numbers may be apart: a part of a sum's rounding, and far more than it.
_MARKS_APART = 1e-5
# So many standard deviations of a correlation show that numbers are not drawn, and that chance did not make it.
_REGULAR, _RELATED = 3.0, 5.0
_SAMPLE = 256


class _Marks(NamedTuple):
    """What no other order of the numbers changes; the least and the largest are in standard deviations from the mean,
    which no factor and nothing added changes either."""

    size: int
    mean: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True)
class Origins:
    """What arrays should be, by name: what another array holds of one of them.

    expected: of floating-point numbers.
    limit: the largest error relative to the norm at which two arrays are the same.
    """

    expected: Mapping[str, np.ndarray]
    limit: float

    def diagnosis(self, found: np.ndarray, name: str) -> Diagnosis:
        """What `found`, which should be the array of that name, is in terms of all of them.

        Beside what `diagnosis_of` knows: the same numbers in any order, with a factor or something added, or rounded;
        `not carried` of what is constant or has nothing of what it should be, `some entries` and `close` of what has
        much of it.
        """
        exact = self.expected[name]
        others = {other: array for other, array in self.expected.items() if other != name}
        if found.size > 1 and (found == found.flat[0]).all() and not (exact == exact.flat[0]).all():
            return Diagnosis("not carried", f"is {float(found.flat[0]):g} everywhere, as it was initialized")
        diagnosis, wide = diagnosis_of(found, exact, self.limit, others), exact.astype(np.float64)
        if diagnosis.cause or found.size < _LEAST_VALUES or not 0 < np.ptp(wide) < np.inf:
            return diagnosis
        mine = found.astype(np.float64)
        return next(self._guesses(mine, wide, others), None) or _alike(mine, wide, diagnosis)

    def _guesses(self, found: np.ndarray, exact: np.ndarray, others: Mapping[str, np.ndarray]) -> Iterator[Diagnosis]:
        yield from _coarse(found, exact, others)
        yield from _but_for_a_factor(found, exact, self.limit)
        mine = _marks(found)
        for other, array in others.items():
            if _is_close(mine, self._marked[other]) and _same_numbers(found, array, self.limit):
                yield Diagnosis("swapped", f"holds the numbers of {other} in another order")

    @cached_property
    def _marked(self) -> dict[str, _Marks]:
        return {name: _marks(array.astype(np.float64)) for name, array in self.expected.items()}


def _coarse(found: np.ndarray, exact: np.ndarray, others: Mapping[str, np.ndarray]) -> Iterator[Diagnosis]:
    """What was rounded to a lower precision, and is wrong in another way too."""
    for name, dtype in COARSE.items():
        with np.errstate(over="ignore"):
            one, other = (array.astype(dtype).astype(np.float64) for array in (found, exact))
        if not np.array_equal(one, found):
            continue
        eps = float(ml_dtypes.finfo(dtype).eps)
        if agree(found, exact, eps):
            yield Diagnosis("dropped dtype", f"is what it should be, cut off to {name}")
        diagnosis = diagnosis_of(found, exact, eps, others)
        if diagnosis.cause:
            yield Diagnosis(diagnosis.cause, f"{diagnosis.words}, rounded to {name}")
        if _same_numbers(found, other, 0.0):
            yield Diagnosis("permuted", f"holds the numbers that it should in another order, rounded to {name}")


def _but_for_a_factor(found: np.ndarray, exact: np.ndarray, limit: float) -> Iterator[Diagnosis]:
    """The same numbers, in any order, times a factor and with something added."""
    mine, its = _marks(found), _marks(exact)
    for sign, (low, high) in ((1, (its.low, its.high)), (-1, (-its.high, -its.low))):
        if max(abs(mine.low - low), abs(mine.high - high)) > _MARKS_APART * max(abs(low), abs(high)):
            continue
        factor = sign * mine.spread / its.spread
        added = mine.mean - factor * its.mean
        is_same = abs(factor - 1) <= _SAME and abs(added) <= _SAME * mine.spread
        made = exact if is_same else factor * exact + added
        words = "" if is_same else f", times {factor:.4g} and with {added:+.4g}"
        if words and agree(found, made, _SAME):
            yield Diagnosis("transform", f"is {factor:.4g} times what it should be, and {added:+.4g} off everywhere")
        for order in list(permutations(range(exact.ndim)))[1:] if exact.ndim <= MOST_AXES else ():
            turned = made.transpose(order)
            if agree(found, turned.reshape(found.shape), _SAME):
                shaped = "" if turned.shape == found.shape else ", reshaped"
                named = (
                    "the transpose of what it should be"
                    if exact.ndim == 2
                    else f"what it should be with the axes {order}"
                )
                yield Diagnosis("transposed", f"is {named}{shaped}{words}")
        if _same_numbers(found, made, max(limit, _SAME if words else 0.0)):
            yield Diagnosis("permuted", f"holds the numbers that it should in another order{words}")


def _marks(array: np.ndarray) -> _Marks:
    mean, spread = float(array.mean()) if array.size else 0.0, float(array.std()) if array.size else 0.0
    if not 0 < spread < np.inf:
        return _Marks(array.size, mean, 0.0, 0.0, 0.0)
    return _Marks(array.size, mean, spread, float(array.min() - mean) / spread, float(array.max() - mean) / spread)


def _is_close(one: _Marks, other: _Marks) -> bool:
    return one.size == other.size and bool(np.allclose(one, other, rtol=_MARKS_APART, atol=_MARKS_APART * one.spread))


def _same_numbers(found: np.ndarray, exact: np.ndarray, limit: float) -> bool:
    one, other = (np.sort(array.astype(np.float64), axis=None) for array in (found, exact))
    return relative_error(one, other) <= limit


def _alike(found: np.ndarray, exact: np.ndarray, diagnosis: Diagnosis) -> Diagnosis:
    """Whether an array that is nothing known has anything of what it should be."""
    # Zeros are in many arrays.
    nonzero = exact != 0
    wrong = int(np.count_nonzero(found != exact))
    if 4 * int(np.count_nonzero((found != exact) & nonzero)) < int(np.count_nonzero(nonzero)):
        return Diagnosis("some entries", f"{diagnosis.words}, in {wrong:,} of its {found.size:,} entries")
    one, other = (array.ravel() - array.mean() for array in (found, exact))
    correlation = float(np.vdot(one, other)) / float(np.linalg.norm(one) * np.linalg.norm(other))
    if abs(correlation) * found.size**0.5 <= _RELATED:
        words = f"holds values of its own (their correlation with what they should be is {correlation:.2g}): it was not"
        return Diagnosis("not carried", f"{words} loaded")
    if correlation > 0.5:
        return Diagnosis("close", f"{diagnosis.words}, with a correlation of {correlation:.4g}")
    return diagnosis


def looks_drawn(array: np.ndarray) -> bool:
    """Whether numbers look drawn at random: many, hardly one twice, none that tells of the next along an axis.

    What a formula makes (positions, frequencies, an identity) is the same in every model without being loaded.
    """
    if array.size < _LEAST_VALUES:
        return False
    wide = array.astype(np.float64)
    sample = wide.flat[np.linspace(0, wide.size - 1, min(wide.size, _SAMPLE)).astype(np.intp)]
    if 2 * len(np.unique(sample)) < len(sample):
        return False
    wide -= wide.mean()
    return not any(_is_regular(np.moveaxis(wide, axis, 0)) for axis in range(wide.ndim) if wide.shape[axis] > 1)


def _is_regular(centred: np.ndarray) -> bool:
    """Whether along the first axis numbers tell of the next: they are correlated with it, or only rise or fall."""
    before, after = centred[:-1], centred[1:]
    correlation = float(np.vdot(after, before)) / before.size / float(np.mean(centred**2))
    if abs(correlation) * before.size**0.5 > _REGULAR:
        return True
    rises = after > before
    return bool(rises.all() or not rises.any())
