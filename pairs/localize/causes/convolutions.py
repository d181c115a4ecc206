"""Convolutions: with which padding, around what, and with which kernel each side goes over an input that both have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

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
