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
from .diagnosis import COARSE, MOST_AXES, Diagnosis, agree, diagnosis_of, sample

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
        mine, its = _marks(found), self._marked[name]
        if found.shape != exact.shape or found.size < _LEAST_VALUES or not (mine.spread and its.spread):
            return diagnosis_of(found, exact, self.limit, others)
        correlation = _correlation(found, exact, mine, its)
        is_unrelated = abs(correlation) * found.size**0.5 <= _RELATED
        if is_unrelated and not _may_be_rounded(found) and not self._holds_the_numbers(mine, name):
            return _not_carried(correlation)
        diagnosis = diagnosis_of(found, exact, self.limit, others)
        if diagnosis.cause:
            return diagnosis
        guesses = self._guesses(found.astype(np.float64), exact.astype(np.float64), others)
        return next(guesses, None) or _alike(found, exact, diagnosis, correlation)

    def _holds_the_numbers(self, mine: _Marks, name: str) -> bool:
        """Whether the marks leave it possible: much sooner told than what the numbers are."""
        is_own = bool(_signs(mine, self._marked[name]))
        return is_own or any(_is_close(mine, its) for other, its in self._marked.items() if other != name)

    def _guesses(self, found: np.ndarray, exact: np.ndarray, others: Mapping[str, np.ndarray]) -> Iterator[Diagnosis]:
        yield from _coarse(found, exact, others)
        yield from _but_for_a_factor(found, exact, self.limit)
        mine = _marks(found)
        for other, array in others.items():
            if _is_close(mine, self._marked[other]) and _same_numbers(found, array, self.limit):
                yield Diagnosis("swapped", f"has the numbers of {other} in another order")

    @cached_property
    def _marked(self) -> dict[str, _Marks]:
        return {name: _marks(array) for name, array in self.expected.items()}


def _coarse(found: np.ndarray, exact: np.ndarray, others: Mapping[str, np.ndarray]) -> Iterator[Diagnosis]:
    """What was rounded to a lower precision, and is wrong in another way too."""
    for name, dtype in COARSE.items():
        with np.errstate(over="ignore"):
            mine, rounded = (array.astype(dtype).astype(np.float64) for array in (found, exact))
        if not np.array_equal(mine, found):
            continue
        eps = float(ml_dtypes.finfo(dtype).eps)
        if agree(found, exact, eps):
            yield Diagnosis("dropped dtype", f"is what it should be, cut off to {name}")
        diagnosis = diagnosis_of(found, exact, eps, others)
        if diagnosis.cause:
            yield Diagnosis(diagnosis.cause, f"{diagnosis.words}, rounded to {name}")
        for each in _but_for_a_factor(found, rounded, 0.0):
            yield Diagnosis(each.cause, f"{each.words}, rounded to {name}")


def _but_for_a_factor(found: np.ndarray, exact: np.ndarray, limit: float) -> Iterator[Diagnosis]:
    """The same numbers, in any order, times a factor and with something added."""
    mine, its = _marks(found), _marks(exact)
    for sign in _signs(mine, its):
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
            yield Diagnosis("permuted", f"has the numbers that it should in another order{words}")


def _marks(array: np.ndarray) -> _Marks:
    wide = array.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        mean, spread = (float(wide.mean()), float(wide.std())) if wide.size else (0.0, 0.0)
    if not 0 < spread < np.inf:
        return _Marks(wide.size, 0.0, 0.0, 0.0, 0.0)
    return _Marks(wide.size, mean, spread, float(wide.min() - mean) / spread, float(wide.max() - mean) / spread)


def _is_close(one: _Marks, other: _Marks) -> bool:
    """Whether they may be those of the same numbers."""
    return (
        one.size == other.size
        and abs(one.mean - other.mean) <= _MARKS_APART * one.spread
        and abs(one.spread - other.spread) <= _MARKS_APART * one.spread
        and 1 in _signs(one, other)
    )


def _signs(one: _Marks, other: _Marks) -> list[int]:
    """The signs of the factors by which they may be those of the same numbers, with something added."""
    ends = {1: (other.low, other.high), -1: (-other.high, -other.low)}
    return [
        sign
        for sign, (low, high) in ends.items()
        if max(abs(one.low - low), abs(one.high - high)) <= _MARKS_APART * max(abs(low), abs(high))
    ]


def _may_be_rounded(array: np.ndarray) -> bool:
    """Whether a few entries leave it possible that all are of a lower precision."""
    few = sample(array)
    with np.errstate(over="ignore"):
        return any(np.array_equal(few.astype(dtype).astype(few.dtype), few) for dtype in COARSE.values())


def _correlation(one: np.ndarray, other: np.ndarray, marks: _Marks, others: _Marks) -> float:
    product = float(np.einsum("i,i->", one.ravel(), other.ravel(), dtype=np.float64)) / one.size
    return (product - marks.mean * others.mean) / (marks.spread * others.spread)


def _same_numbers(found: np.ndarray, exact: np.ndarray, limit: float) -> bool:
    one, other = (np.sort(array.astype(np.float64), axis=None) for array in (found, exact))
    return relative_error(one, other) <= limit


def _alike(found: np.ndarray, exact: np.ndarray, diagnosis: Diagnosis, correlation: float) -> Diagnosis:
    """Whether an array that is nothing known has anything of what it should be."""
    # Zeros are in many arrays.
    wrong, nonzero = found != exact, exact != 0
    if 4 * int(np.count_nonzero(wrong & nonzero)) < int(np.count_nonzero(nonzero)):
        words = f"{diagnosis.words}, in {int(np.count_nonzero(wrong)):,} of its {found.size:,} entries"
        return Diagnosis("some entries", words)
    if abs(correlation) * found.size**0.5 <= _RELATED:
        return _not_carried(correlation)
    if correlation > 0.5:
        return Diagnosis("close", f"{diagnosis.words}, with a correlation of {correlation:.4g}")
    return diagnosis


def _not_carried(correlation: float) -> Diagnosis:
    words = f"has values of its own (their correlation with what they should be is {correlation:.2g})"
    return Diagnosis("not carried", f"{words}: it was not loaded")


def looks_drawn(array: np.ndarray) -> bool:
    """Whether numbers look drawn at random: many, hardly one twice, none that tells of the next along an axis.

    What a formula makes (positions, frequencies, an identity) is the same in every model without being loaded.
    """
    if array.size < _LEAST_VALUES:
        return False
    wide = array.astype(np.float64)
    few = sample(wide, _SAMPLE)
    if 2 * len(np.unique(few)) < len(few):
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
