"""Wiring: of which arrays that both have each side makes a sum, and with which factors."""

from __future__ import annotations

import numpy as np

from ..comparing import apart, wide
from ..gap import Cause, Gap, Known
from .patterns import scale_text

# How many of the latest arrays a sum is sought in.
_MOST = 8


def factors(gap: Gap) -> Cause | None:
    """Both make a sum of what both have: one of other parts, or with other factors."""
    basis = _basis(gap)
    for count in range(1, len(basis) + 1):
        ours = _sum(gap, basis[:count], gap.reference)
        theirs = _sum(gap, basis[:count], gap.port)
        if ours is not None and theirs is not None:
            return _cause(gap, basis[:count], ours, theirs)
    return None


def _basis(gap: Gap) -> list[Known]:
    found: list[Known] = []
    for known in gap.known:
        array = _spread(known.array, gap.reference.shape)
        if array is None or not np.isfinite(array).all():
            continue
        if all(apart(array, other.array) > gap.limit for other in found):
            found.append(Known(known.label, array))
    return found[:_MOST]


def _spread(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """In a shape of the same features, which it may have to be repeated for; None where it does not fit."""
    if array.ndim < 2 or array.shape[-1] != shape[-1] or array.ndim > len(shape):
        return None
    fits = all(one in (1, length) for one, length in zip(array.shape[::-1], shape[::-1], strict=False))
    return np.broadcast_to(array, shape) if fits else None


def _sum(gap: Gap, basis: list[Known], of: np.ndarray) -> np.ndarray | None:
    """The factors with which the arrays add up, or None where they do not or more than one sum does."""
    columns = np.stack([known.array.ravel() for known in basis], 1)
    if columns.shape[0] < 2 * columns.shape[1] or not np.isfinite(of).all():
        return None
    solved, _, rank, _ = np.linalg.lstsq(columns, of.ravel(), rcond=None)
    if rank < columns.shape[1] or apart(columns @ solved, of.ravel()) > 4 * gap.limit:
        return None
    return np.where(np.abs(solved) < 1e-4, 0.0, solved)


def _cause(gap: Gap, basis: list[Known], ours: np.ndarray, theirs: np.ndarray) -> Cause | None:
    tolerance = max(1e-6, 64 * gap.limit)
    differ = [place for place in range(len(basis)) if not np.isclose(ours[place], theirs[place], rtol=tolerance)]
    if not differ:
        return None
    if all(ours[place] and theirs[place] for place in differ):
        texts = [_times(gap, basis[place], ours[place], theirs[place], tolerance) for place in differ]
        return Cause("scale", ", and ".join(texts))
    sides = [_parts(basis, each, tolerance) for each in (ours, theirs)]
    place = gap.given_to.reference.trace if gap.given_to else None
    missing = np.sum([(ours[each] - theirs[each]) * basis[each].array for each in differ], axis=0)
    if place and _is_added_later(gap, missing):
        name = "norm placed elsewhere" if "norm" in place.name.lower() else "order"
        text = (
            f"{place} takes {sides[0]} in the reference, and in the port {sides[1]}, where the rest is added after it"
        )
        return Cause(name, text)
    return Cause("wiring", f"the reference goes on with {sides[0]}, the port with {sides[1]}")


def _is_added_later(gap: Gap, missing: np.ndarray) -> bool:
    """Whether the port adds to the output of what is given the sum what the sum lacks."""
    assert gap.given_to is not None
    made = wide(next(iter(gap.given_to.port.trace.outputs.values())))
    return made.shape == missing.shape and any(
        later.shape == made.shape and apart(wide(later), made + missing) <= 4 * gap.limit for later in gap.later
    )


def _times(gap: Gap, known: Known, ours: float, theirs: float, tolerance: float) -> str:
    lengths = [*known.array.shape[1:], *gap.reference.shape[1:]]
    one, other = (_count(float(value), lengths, tolerance) for value in (ours, theirs))
    return f"{known.label} counts {one} in the reference and {other} in the port"


def _count(value: float, lengths: list[int], tolerance: float) -> str:
    return "once" if np.isclose(value, 1, rtol=tolerance) else f"{scale_text(value, lengths, tolerance)} times"


def _parts(basis: list[Known], of: np.ndarray, tolerance: float) -> str:
    texts = []
    for known, factor in zip(basis, of, strict=True):
        if factor:
            is_one = np.isclose(factor, 1, rtol=tolerance)
            times = "" if is_one else f"{scale_text(float(factor), known.array.shape[1:], tolerance)} times "
            texts.append(times + known.label)
    return " + ".join(texts) or "zeros"
