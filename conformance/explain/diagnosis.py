"""What a wrong array is, if it is something known: the transpose of the right one, another path's, a multiple."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import NamedTuple

import ml_dtypes
import numpy as np

from ...pairs.closeness import MOST_TIMES, norm, relative_error, root_mean_square

# Beyond this many axes the orders of them are not tried.
MOST_AXES = 4
# So many entries are looked at before whole arrays are.
_FEW = 64
COARSE = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


class Diagnosis(NamedTuple):
    """A cause in a word or two, empty where none is known, and a clause about the array: `is the transpose of ...`."""

    cause: str
    words: str


def diagnosis_of(
    found: np.ndarray, exact: np.ndarray, limit: float, others: Mapping[str, np.ndarray] | None = None
) -> Diagnosis:
    """What `found` is in terms of `exact`, or of one of the `others` by path, each tried within `limit`."""
    if found.shape != exact.shape:
        return Diagnosis("shape", f"has shape {found.shape}, expected {exact.shape}")
    if not np.isfinite(found.astype(np.float64)).all():
        return Diagnosis("not finite", "is not finite")
    wide, right = found.astype(np.float64), exact.astype(np.float64)
    if not np.isfinite(right).all():
        return Diagnosis("not finite", "is finite where it should not be")
    return next(
        _guesses(wide, right, limit, others or {}),
        Diagnosis("", _differs(wide, right)),
    )


def _differs(found: np.ndarray, exact: np.ndarray) -> str:
    if not exact.any():
        return f"is not zero, as it should be, but {root_mean_square(found):.2g} (root mean square)"
    size = relative_error(found, exact)
    if MOST_TIMES < size < np.inf:
        return f"is {root_mean_square(found):.2g} (root mean square), where it should be {root_mean_square(exact):.2g}"
    return f"differs by {size:.2g} of its norm"


def _guesses(
    found: np.ndarray, exact: np.ndarray, limit: float, others: Mapping[str, np.ndarray]
) -> Iterator[Diagnosis]:
    if not found.any():
        yield Diagnosis("zero", "is zero everywhere")
    for order in other_orders(exact.shape):
        if agree(found, exact.transpose(order), limit):
            named = "the transpose of" if exact.ndim == 2 else f"with the axes {order} of"
            yield Diagnosis("transposed", f"is {named} what it should be")
    for other, array in others.items():
        if array.shape == found.shape and agree(found, array, limit):
            yield Diagnosis("swapped", f"is that of {other}")
    for axis in range(found.ndim):
        if found.shape[axis] > 1 and agree(found, np.flip(exact, axis), limit):
            yield Diagnosis("reversed", f"is what it should be, backwards along axis {axis}")
    yield from _halves(found, exact, limit)
    size = float(np.vdot(exact, exact))
    scale = float(np.vdot(exact, found)) / size if size else 0.0
    # A factor of next to one is no cause, and what is left beside it need not be one either.
    if scale and abs(scale - 1) > 8 * limit and relative_error(found, scale * exact) <= max(limit, 1e-6):
        yield Diagnosis("scale", f"is {scale:.4g} times what it should be")
    shift = float(np.mean(found - exact)) if found.size > 1 else 0.0
    if shift and norm(found - exact - shift) <= max(limit, 1e-6) * max(norm(exact), abs(shift)):
        yield Diagnosis("shift", f"is {shift:+.4g} off everywhere")
    for name, dtype in COARSE.items():
        with np.errstate(over="ignore"):
            rounded = exact.astype(dtype).astype(np.float64)
        if np.array_equal(found, rounded):
            yield Diagnosis("dropped dtype", f"is what it should be, rounded to {name}")


def _halves(found: np.ndarray, exact: np.ndarray, limit: float) -> Iterator[Diagnosis]:
    """The equal blocks of an axis in another order, as the gates or projections of a fused tensor may be."""
    for axis in range(found.ndim):
        for parts in (2, 3, 4):
            if found.shape[axis] % parts or found.shape[axis] == parts == 1:
                continue
            blocks = np.split(exact, parts, axis)
            mine = np.split(found, parts, axis)
            order = [next((i for i, block in enumerate(blocks) if agree(each, block, limit)), -1) for each in mine]
            if sorted(order) == list(range(parts)) and order != sorted(order):
                yield Diagnosis("block order", f"has its {parts} blocks along axis {axis} in the order {order}")


def agree(found: np.ndarray, exact: np.ndarray, limit: float) -> bool:
    """Whether `found`, in float64, is `exact` within `limit`; most that is not is told by a few entries."""
    # Of arrays that agree the norms do, and a part of the difference is no larger than all of it.
    if limit < 0.5 and norm(sample(found) - sample(exact)) > 2.1 * limit * norm(found):
        return False
    return relative_error(found, exact.astype(np.float64)) <= limit


def sample(array: np.ndarray, most: int = _FEW) -> np.ndarray:
    """Some of the entries, evenly spaced; all if there are few."""
    return array.flat[np.linspace(0, array.size - 1, min(array.size, most)).astype(np.intp)]


def other_orders(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The orders of the axes, but their own, that leave a shape as it is and move an axis longer than 1."""
    if not 1 < len(shape) <= MOST_AXES:
        return []
    own = tuple(range(len(shape)))
    return [
        order
        for order in permutations(own)
        if tuple(shape[axis] for axis in order) == shape
        and any(order[axis] != axis and shape[axis] > 1 for axis in own)
    ]
