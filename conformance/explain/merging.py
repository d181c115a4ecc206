"""Weight norms that were merged, or parted, in another way: what was made of a magnitude and a direction instead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...pairs.closeness import relative_error
from ...pairs.comparison import Bound
from ...pairs.maps import MapRow
from ...pairs.normed import Norm, length_over
from ...pairs.side import Side, Weights
from ...pairs.weight_norms import norms_of, stored_as_it_is
from .diagnosis import Diagnosis

_CAUSE = "weight norm"


def other_merging(bound: Bound, row: MapRow, found: np.ndarray, wanted: np.ndarray, limit: float) -> Diagnosis | None:
    """What was done with the weight norm of a row, of which one side stores the factors and the other the weight.

    found: what the port has of the row. wanted: what it should have. limit: the largest error, beside the norm, that
    rounding makes. None where there is no weight norm, and where none of the usual mistakes makes it.
    """
    ours, theirs = norms_of(bound.reference).get(row.reference), norms_of(bound.port).get(row.port)
    if (ours is None) == (theirs is None) or found.shape != wanted.shape or not row.is_whole:
        return None
    if ours is not None:
        return _merged_otherwise(ours, _factors(bound.reference, ours), row.to_reference(found), limit)
    assert theirs is not None
    return _parted_otherwise(theirs, _factors(bound.port, theirs), wanted, limit)


def _factors(side: Side, norm: Norm) -> Weights:
    held = stored_as_it_is(side).tensors
    return {path: held[path].array for path in norm.factors}


def _merged_otherwise(norm: Norm, factors: Weights, found: np.ndarray, limit: float) -> Diagnosis | None:
    """What a weight is that is not the product of these factors. found: with the direction's axes."""
    wide = found.astype(np.float64)
    for words, made in _mistakes(norm, factors):
        if made.any() and relative_error(wide, made) <= limit:
            return Diagnosis(_CAUSE, words)
    return _epsilon(norm, factors, wide, limit)


def _parted_otherwise(norm: Norm, factors: Weights, wanted: np.ndarray, limit: float) -> Diagnosis | None:
    """What is wrong with factors whose product is not the weight that is wanted, where the direction alone is right."""
    directions = [
        array / length_over(array, norm.axes)
        for array in (factors[norm.factors.direction].astype(np.float64), wanted.astype(np.float64))
    ]
    if not np.isfinite(directions).all() or relative_error(*directions) > limit:
        return None
    magnitude, direction = norm.factors
    words = (
        f"has the right direction in {direction}, and {magnitude} is not the length {_along(norm.axes)} of the weight"
    )
    return Diagnosis(_CAUSE, words)


def _mistakes(norm: Norm, factors: Weights) -> Iterator[tuple[str, np.ndarray]]:
    magnitude, direction = norm.factors
    g, v = (factors[path].astype(np.float64) for path in norm.factors)
    own = length_over(v, norm.axes)
    g = g.reshape(own.shape)
    with np.errstate(all="ignore"):
        yield f"is {direction} as it is, without its length and {magnitude}", v
        yield f"is {direction} by its length, without {magnitude}", v / own
        yield f"is {magnitude} times {direction}, which is not divided by its length", g * v
        every = tuple(range(v.ndim))
        for axes in ((*(each for each in every if each != kept),) for kept in (*every, -1)):
            if axes == norm.axes:
                continue
            other = length_over(v, axes)
            words = f"has the length of {direction} {_along(axes)}, where the weight norm has it {_along(norm.axes)}"
            yield words, g * v / other
            if other.size == g.size:
                yield f"{words}, and {magnitude} along other axes, too", g.reshape(other.shape) * v / other


def _epsilon(norm: Norm, factors: Weights, found: np.ndarray, limit: float) -> Diagnosis | None:
    """Something is added to the length or to its square, which the side does not add."""
    g, v = (factors[path].astype(np.float64) for path in norm.factors)
    own = length_over(v, norm.axes)
    g = g.reshape(own.shape)
    with np.errstate(all="ignore"):
        used = np.median(np.where(found == 0, np.nan, g * v / found), axis=norm.axes, keepdims=True)
        for what, added, lengths in (
            ("the square of the length", np.median(used**2 - own**2), lambda e: np.sqrt(own**2 + e)),
            ("the length", np.median(used - own), lambda e: own + e),
        ):
            if added > 0 and relative_error(found, g * v / lengths(added)) <= limit:
                words = (
                    f"has {added:.2g} added to {what} of {norm.factors.direction}, which the weight norm has as it is"
                )
                return Diagnosis("eps", words)
    return None


def _along(axes: tuple[int, ...]) -> str:
    return (
        f"over axis {axes[0]}"
        if len(axes) == 1
        else f"over the axes {', '.join(map(str, axes))}"
        if axes
        else "of each"
    )
