"""Windows over an input that both have: which positions each side takes, and how it joins them; how it convolves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from ..comparing import apart
from ..gap import Cause, Gap

_MOST_SIZE = 200_000
_PADDINGS = ((0, 0), (1, 1), (0, 1), (1, 0), (2, 2), (1, 2), (2, 1), (3, 3), (0, 2), (2, 0))
_AROUND = {"zeros": "constant", "the other end": "wrap", "its edge": "edge", "its reflection": "reflect"}


class Convolved(NamedTuple):
    """A way to go over an image. padding: before and after, along both axes alike. kernel: what is done to it."""

    padding: tuple[int, int]
    around: str
    kernel: str
    stride: int
    dilation: int


def convolution(gap: Gap) -> Cause | None:
    """Both are a convolution in two dimensions of one input by one kernel, and differ in how they go over it."""
    kernels = [array for _, array in gap.held() if array.ndim == 4]
    if len(kernels) != 1 or not gap.known or gap.reference.ndim != 4 or gap.reference.size > _MOST_SIZE:
        return None
    x, (kernel,) = gap.known[0].array, kernels
    if x.ndim != 4 or x.shape[1] != kernel.shape[1] or gap.reference.shape[1] != kernel.shape[0]:
        return None
    biases = [array for _, array in gap.held() if array.shape == kernel.shape[:1]]
    bias = biases[0][:, None, None] if biases else 0.0
    ours = theirs = None
    for way in _ways():
        made = _convolved(way, x, kernel)
        if made is None or made.shape != gap.reference.shape:
            continue
        ours = way if ours is None and gap.is_reference(made + bias) else ours
        # Which of two equal axes is which is not to be seen where nothing agrees.
        is_port = any(gap.is_port(each) for each in (made + bias, (made + bias).swapaxes(2, 3)))
        theirs = way if theirs is None and is_port else theirs
        if ours and theirs:
            return _cause(ours, theirs)
    return None


def _ways() -> Iterator[Convolved]:
    kernels = ("as it is", "backwards along both axes", "with height and width swapped")
    for around, kernel, stride, dilation in product(_AROUND, kernels, (1, 2, 4), (1, 2)):
        for padding in _PADDINGS:
            yield Convolved(padding, around, kernel, stride, dilation)


def _convolved(way: Convolved, x: np.ndarray, kernel: np.ndarray) -> np.ndarray | None:
    kernel = {"backwards along both axes": kernel[:, :, ::-1, ::-1], "as it is": kernel}.get(
        way.kernel, kernel.swapaxes(2, 3)
    )
    if way.around == "its reflection" and max(way.padding) >= min(x.shape[2:]):
        return None
    mode = _AROUND[way.around]
    padded = np.pad(x, ((0, 0), (0, 0), way.padding, way.padding), mode=mode)  # type: ignore[call-overload]
    reach = [way.dilation * (length - 1) + 1 for length in kernel.shape[2:]]
    if any(length < size for length, size in zip(padded.shape[2:], reach, strict=True)):
        return None
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, (2, 3))  # type: ignore[call-overload]
    seen = windows[:, :, :: way.stride, :: way.stride, :: way.dilation, :: way.dilation]
    return np.einsum("bihwkl,oikl->bohw", seen, kernel)


def _cause(ours: Convolved, theirs: Convolved) -> Cause:
    differ = [name for name in Convolved._fields if getattr(ours, name) != getattr(theirs, name)]
    words = {"around": "the input is continued by", "kernel": "the kernel is taken"}
    parts = [
        f"{words.get(name, name)} {getattr(ours, name)} in the reference and {getattr(theirs, name)} in the port"
        for name in differ
    ]
    name = "padding" if {"padding", "around"}.issuperset(differ) else differ[-1]
    return Cause("padding" if name == "around" else name, ", and ".join(parts))


def pooling(gap: Gap) -> Cause | None:
    """Both make one of many positions, or features, and not by the same ones or in the same way."""
    for known in gap.known:
        if known.array.ndim != gap.reference.ndim + 1 or known.array.ndim < 3:
            continue
        ours, theirs = (_joining(gap, known.array, made) for made in (gap.reference, gap.port))
        if ours and theirs and ours != theirs:
            return Cause("pooling", f"of {known.label} the reference takes {ours} and the port {theirs}")
    return None


def _joining(gap: Gap, array: np.ndarray, made: np.ndarray) -> str:
    for text, joined in _joined_ways(gap, array):
        if joined.shape == made.shape and apart(joined, made) <= 4 * gap.limit:
            return text
        # One number for each that is repeated along the features.
        is_repeated = joined.ndim == made.ndim == 2 and joined.shape[0] == made.shape[0]
        if is_repeated and apart(np.broadcast_to(joined[:, :1], made.shape), made) <= 4 * gap.limit:
            return f"{text}, the first of them,"
    return _taken(gap, array, made)


def _joined_ways(gap: Gap, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for axis in range(1, array.ndim):
        where = f"along axis {axis}"
        yield f"the mean {where}", array.mean(axis)
        yield f"the sum {where}", array.sum(axis)
        yield f"the largest {where}", array.max(axis)
        yield f"the smallest {where}", array.min(axis)
        for given in gap.masks:
            if given.shape != array.shape[: given.ndim] or given.ndim != axis + 1:
                continue
            weights = given.reshape(*given.shape, *[1] * (array.ndim - given.ndim))
            for text, each in (("where the mask is 1", weights), ("where the mask is 0", 1 - weights)):
                total, count = (array * each).sum(axis), each.sum(axis)
                yield f"the sum {where} {text}", total
                yield f"the mean {where} {text}", total / np.maximum(count, 1)
                yield f"the sum {where} {text} by the number of all", total / array.shape[axis]


def _taken(gap: Gap, array: np.ndarray, made: np.ndarray) -> str:
    """One position of each sequence."""
    if array.shape[:1] + array.shape[2:] != made.shape:
        return ""
    found = [
        next((place for place, each in enumerate(row) if apart(each, one) <= 4 * gap.limit), -1)
        for row, one in zip(array, made, strict=True)
    ]
    return f"positions {found}" if found and min(found) >= 0 else ""
