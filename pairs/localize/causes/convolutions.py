"""Convolutions of one input by one kernel, and in what the ways differ in which the two sides go over it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from ..gap import Cause, Gap

# Multiplications that one way may take.
_MOST_WORK = 50_000_000
_STRIDES = (1, 2, 3, 4)
_AROUND = {"zeros": "constant", "the other end": "wrap", "its edge": "edge", "its reflection": "reflect"}
_LETTERS = "xyzuvw"


class Convolved(NamedTuple):
    """A way to go over an image.

    padding: before and after, for each axis, or for all where it is one. kernel: what is done to it.
    """

    padding: tuple[int, int] | tuple[tuple[int, int], ...]
    around: str
    kernel: str
    stride: int
    dilation: int
    is_same: bool = False


class _Layer(NamedTuple):
    """x: (batch, in, positions ...). kernel: (out, in of a group, ...). bias: (out).

    lengths: of the positions that come out. spread: by how much a transposed convolution spreads its input, or 1.
    is_last: whether channels are last in the reference's arrays.
    """

    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    lengths: tuple[int, ...]
    spread: int
    is_last: bool


def convolution(gap: Gap) -> Cause | None:
    """Both are a convolution of one input by one kernel, and differ in how they go over it."""
    for layer in _layers(gap):
        ours = theirs = None
        for way, made in _ways(layer):
            seen = np.moveaxis(made, 1, -1) if layer.is_last else made
            ours = way if ours is None and gap.is_reference(seen) else ours
            theirs = way if theirs is None and any(map(gap.is_port, exchanged(seen))) else theirs
            if ours and theirs:
                return _cause(ours, theirs, layer)
    return None


def exchanged(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array with its axes of equal length exchanged: which is which is not to be seen where nothing agrees."""
    for order in permutations(range(1, array.ndim)):
        seen = array.transpose(0, *order)
        if seen.shape == array.shape:
            yield seen


def _layers(gap: Gap) -> Iterator[_Layer]:
    """What a convolution may be, as PyTorch has it and as Flax does, transposed too."""
    kernels = [array for _, array in gap.held() if array.ndim == gap.reference.ndim > 2]
    if len(kernels) != 1 or not gap.known or gap.known[0].array.ndim != gap.reference.ndim:
        return
    held, rank = kernels[0], gap.reference.ndim
    for is_last in (False, True):
        x, made = (np.moveaxis(each, -1, 1) if is_last else each for each in (gap.known[0].array, gap.reference))
        plain = held.transpose(rank - 1, rank - 2, *range(rank - 2)) if is_last else held
        # PyTorch's transposed convolutions have the inputs first, and run backwards.
        turned = plain if is_last else np.flip(plain.swapaxes(0, 1), tuple(range(2, rank)))
        for kernel, spreads in ((plain, (1,)), (turned, _STRIDES[1:])):
            fits = made.shape[1] == kernel.shape[0] and not x.shape[1] % kernel.shape[1]
            if fits and made.size * kernel[0].size <= _MOST_WORK and x.shape[0] == made.shape[0]:
                biases = [array for _, array in gap.held() if array.shape == kernel.shape[:1]]
                bias = biases[0] if len(biases) == 1 else np.zeros(kernel.shape[0])
                yield from (_Layer(x, kernel, bias, made.shape[2:], spread, is_last) for spread in spreads)


def _ways(layer: _Layer) -> Iterator[tuple[Convolved, np.ndarray]]:
    """The plainest first, each with what it gives."""
    axes = tuple(range(2, layer.kernel.ndim))
    kernels = {"as it is": layer.kernel, "backwards along all axes": np.flip(layer.kernel, axes)}
    if len(axes) == 2 and layer.kernel.shape[2] == layer.kernel.shape[3]:
        kernels["with height and width swapped"] = layer.kernel.swapaxes(2, 3)
        kernels["backwards, with height and width swapped"] = np.flip(layer.kernel, axes).swapaxes(2, 3)
    x = _spread(layer.x, layer.spread)
    for around, (name, kernel), dilation in product(_AROUND, kernels.items(), (1, 2)):
        reach = [dilation * (length - 1) + 1 for length in kernel.shape[2:]]
        most = max(reach)
        if _AROUND[around] != "constant" and most >= min(x.shape[2:]):
            continue
        whole = _over(x, kernel, reach, dilation, most, _AROUND[around]) + layer.bias.reshape(-1, *[1] * len(axes))
        for stride in _STRIDES if layer.spread == 1 else (1,):
            for before, is_same in _befores(layer, reach, stride, most):
                place = tuple(
                    slice(most - first, most - first + (length - 1) * stride + 1, stride)
                    for first, length in zip(before, layer.lengths, strict=True)
                )
                made = whole[(..., *place)]
                if made.shape[2:] == layer.lengths:
                    yield (
                        Convolved(_padding(x, layer, before, reach, stride), around, name, stride, dilation, is_same),
                        made,
                    )


def _befores(layer: _Layer, reach: list[int], stride: int, most: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    """How much is put before the input along each axis: as much along all, and what SAME puts there."""
    if layer.spread == 1:
        lengths = zip(layer.x.shape[2:], reach, strict=True)
        same = tuple(max((-(-length // stride) - 1) * stride + size - length, 0) // 2 for length, size in lengths)
    else:
        # What `jax.lax.conv_transpose` makes of it.
        size = layer.spread
        same = tuple(each - 1 if size > each - 1 else -(-(each + size - 2) // 2) for each in reach)
    plain = ((before,) * len(reach) for before in range(most + 1))
    yield from ((before, before == same) for before in plain)
    if len(set(same)) > 1 and max(same) <= most:
        yield same, True


def _padding(x: np.ndarray, layer: _Layer, before: tuple[int, ...], reach: list[int], stride: int) -> tuple:
    after = (
        max((length - 1) * stride + size - have - first, 0)
        for length, size, have, first in zip(layer.lengths, reach, x.shape[2:], before, strict=True)
    )
    found = tuple(zip(before, after, strict=True))
    return found[0] if len(set(found)) == 1 else found


def _spread(x: np.ndarray, by: int) -> np.ndarray:
    """With zeros between the positions, as a transposed convolution sees its input."""
    if by == 1:
        return x
    found = np.zeros((*x.shape[:2], *((length - 1) * by + 1 for length in x.shape[2:])))
    found[(..., *(slice(None, None, by) for _ in x.shape[2:]))] = x
    return found


def _over(x: np.ndarray, kernel: np.ndarray, reach: list[int], dilation: int, most: int, mode: str) -> np.ndarray:
    """The kernel at every place of the input, padded by `most` on all sides."""
    axes, groups = tuple(range(2, x.ndim)), x.shape[1] // kernel.shape[1]
    padded = np.pad(x, ((0, 0), (0, 0), *[(most, most)] * len(axes)), mode=mode)  # type: ignore[call-overload]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axes)  # type: ignore[call-overload]
    seen = windows[(..., *(slice(None, None, dilation) for _ in axes))]
    grouped = seen.reshape(x.shape[0], groups, kernel.shape[1], *seen.shape[2:])
    kernels = kernel.reshape(groups, kernel.shape[0] // groups, *kernel.shape[1:])
    places, inner = _LETTERS[: len(axes)], _LETTERS[len(axes) : 2 * len(axes)]
    made = np.einsum(f"bgi{places}{inner},goi{inner}->bgo{places}", grouped, kernels, optimize=True)
    return made.reshape(x.shape[0], kernel.shape[0], *made.shape[3:])


def _cause(ours: Convolved, theirs: Convolved, layer: _Layer) -> Cause | None:
    fields = [name for name in Convolved._fields if name != "is_same"]
    differ = [name for name in fields if getattr(ours, name) != getattr(theirs, name)]
    if not differ:
        return None
    words = {"around": "the input is continued by", "kernel": "the kernel is taken"}
    parts = [
        f"{words.get(name, name)} {getattr(ours, name)} in the reference and {getattr(theirs, name)} in the port"
        for name in differ
    ]
    if "padding" in differ and ours.is_same != theirs.is_same:
        role, way = ("reference", ours) if ours.is_same else ("port", theirs)
        step = f"a stride of {way.stride}" if layer.spread == 1 else f"{layer.spread} times as many positions"
        parts[differ.index("padding")] += f", the {role}'s as SAME has it with {step}"
    name = "padding" if {"padding", "around"}.issuperset(differ) else differ[-1]
    return Cause("padding" if name == "around" else name, ", and ".join(parts))
