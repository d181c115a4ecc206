"""Patterns of a difference itself: where it is, and what is the same about it everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import isclose, isqrt, sqrt

import ml_dtypes
import numpy as np

from ..comparing import apart
from ..gap import Cause, Gap
from ..pairing import Paired, outputs

_COARSE = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def scale(gap: Gap) -> Cause | None:
    """One output is the other, times a number."""
    ours, theirs = gap.reference, gap.port
    if not np.isfinite(ours).all() or not np.isfinite(theirs).all() or ours.size < 4 or not ours.any():
        return None
    ratio = float((ours * theirs).sum() / np.square(ours).sum())
    if not ratio or not gap.is_port(ratio * ours):
        return None
    lengths = [length for array in (ours, *(known.array for known in gap.known)) for length in array.shape[1:]]
    text = scale_text(ratio, lengths, max(1e-6, 64 * gap.limit))
    return Cause("scale", f"the port's is {text} times the reference's")


def constant(gap: Gap) -> Cause | None:
    """The outputs differ by one number for each channel: a bias that one of them leaves out, or adds twice."""
    difference = gap.port - gap.reference
    if not np.isfinite(difference).all() or difference.ndim < 2:
        return None
    found = []
    for axis in dict.fromkeys((difference.ndim - 1, 1)):
        others = tuple(other for other in range(difference.ndim) if other != axis)
        offset = difference.mean(others, keepdims=True)
        if difference.size >= 4 * offset.size and gap.is_port(gap.reference + offset):
            found.append(offset.ravel())
    if not found:
        return None
    named = [text for offset in found if (text := _bias(gap, offset))]
    unnamed = "the outputs differ by a constant for each channel, as by a bias that one of them leaves out"
    return Cause("bias", named[0] if named else unnamed)


def _bias(gap: Gap, offset: np.ndarray) -> str:
    """The bias that the offset is; empty where it is none that is known."""
    tolerance = max(1e-4, 64 * gap.limit)
    for path, held in gap.held():
        if held.shape == offset.shape and held.any():
            if apart(-offset, held) <= tolerance:
                return f"the port leaves out {path!r}, a bias"
            if apart(offset, held) <= tolerance:
                return f"the port adds {path!r}, a bias, once more than the reference"
    return ""


def mask(gap: Gap) -> Cause | None:
    """The outputs differ at masked or at later positions only: one axis of them counts positions."""
    differs = gap.differs_at
    if differs.ndim < 3 or not differs.any():
        return None
    for axis in range(1, differs.ndim - 1):
        others = tuple(other for other in range(1, differs.ndim) if other != axis)
        at = np.asarray(differs.any(others))
        cause = _future(at) or _masked(gap, at)
        if cause:
            return cause
    return None


def _future(at: np.ndarray) -> Cause | None:
    """Only the last position has seen all in both."""
    if at.shape[1] > 2 and at[:, :-1].all() and not at[:, -1].any():
        text = "the outputs differ at every position but the last: one of the two sees later positions (a causal mask)"
        return Cause("mask", text)
    return None


def _masked(gap: Gap, at: np.ndarray) -> Cause | None:
    for given in gap.masks:
        seen = given.astype(bool)
        if seen.size != at.size:
            continue
        seen = seen.reshape(at.shape)
        # Of the two values of a mask either may be the one that hides.
        for hidden in (~seen, seen):
            if np.array_equal(at, hidden):
                return Cause("mask", "the outputs differ at masked positions and nowhere else")
            rows = hidden.any(1)
            if not rows.all() and np.array_equal(at.any(1), rows):
                text = "the outputs differ in sequences with masked positions and in no other: one ignores the mask"
                return Cause("mask", text)
    return None


def border(gap: Gap) -> Cause | None:
    """The outputs differ at the border only: of a layer with a window, what is around the input."""
    differs = gap.differs_at
    if differs.ndim < 3 or not differs.any():
        return None
    for count in range(differs.ndim - 2, 0, -1):
        for axes in combinations(range(1, differs.ndim), count):
            width = _border_width(differs, axes)
            if width:
                where = f"the outputs differ at the border only, up to {width} from it"
                return Cause("padding", f"{where}: the input is padded otherwise")
    return None


def _border_width(differs: np.ndarray, axes: tuple[int, ...]) -> int:
    """How far from the ends of these axes the entries are that differ; 0 where that leaves no inside."""
    distance = np.full(differs.shape, differs.size)
    for axis in axes:
        length = differs.shape[axis]
        from_end = np.minimum(np.arange(length), np.arange(length)[::-1])
        shape = [1] * differs.ndim
        shape[axis] = length
        distance = np.minimum(distance, from_end.reshape(shape))
    width = int(distance[differs].max()) + 1
    inside = distance >= width
    ends = distance < width
    # An inside as large as the border at least, and a border that differs in most places.
    if inside.sum() * 4 < ends.sum() or differs[ends].mean() < 0.5 or not inside.any():
        return 0
    return width


def scale_text(value: float, lengths: Iterable[int], tolerance: float) -> str:
    """A number, and what it is of one of the lengths or its divisors: `2.828 = sqrt(8)`."""
    sizes = sorted({length for length in lengths if length > 1})
    # A divisor whose root is a whole number would name any half.
    divisors = [size for whole in sizes for size in range(2, whole) if whole % size == 0 and isqrt(size) ** 2 != size]
    shown = f"{value:.4g}"
    for size in (*sizes, *divisors):
        for number, text in ((sqrt(size), f"sqrt({size})"), (1 / sqrt(size), f"1/sqrt({size})")):
            if isclose(value, number, rel_tol=tolerance):
                return f"{shown} = {text}" if text != shown else shown
    for size in sizes:
        if isclose(value, 1 / size, rel_tol=tolerance):
            return f"{shown} = 1/{size}"
    return shown


def rounded(gap: Gap) -> Cause | None:
    """All numbers of one side, and not all of the other, are ones of a coarse type: each is the other's, rounded."""
    for name, dtype in _COARSE.items():
        unit = float(ml_dtypes.finfo(dtype).eps)
        for role, coarse, fine in (("port", gap.port, gap.reference), ("reference", gap.reference, gap.port)):
            if gap.error <= unit and _is_of(coarse, dtype) and not _is_of(fine, dtype):
                return Cause("dropped dtype", f"the {role} rounds to {name}")
    return None


def coarser(pairs: Sequence[Paired], limit: float) -> tuple[Paired, Cause] | None:
    """The first two calls of which one alone gives numbers of a type coarser than float32, and others than the other.

    Among such numbers no difference is too large for rounding: so it is sought where all others are none.
    """
    for pair in pairs:
        types = [_coarsest(call.trace.outputs) for call in pair]
        found = outputs(pair.reference.trace, pair.port.trace, limit)
        if types[0] != types[1] and found is not None and found.error > limit:
            (role, name), *_ = [each for each in zip(("reference", "port"), types, strict=True) if each[1]]
            return pair, Cause("dropped dtype", f"the {role} computes in {name}, and the other side in a finer type")
    return None


def _coarsest(arrays: Mapping[str, np.ndarray]) -> str:
    """The coarsest type of some arrays that is coarser than float32; empty where none is."""
    names = {array.dtype.name for array in arrays.values()}
    return next((name for name in _COARSE if name in names), "")


def _is_of(array: np.ndarray, dtype: type) -> bool:
    with np.errstate(over="ignore"):
        return np.array_equal(array.astype(dtype).astype(np.float64), array)
