"""Windows over an input that both have: which positions each side takes, and how it joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from ..comparing import apart, axis_text
from ..gap import Cause, Gap
from .convolutions import exchanged

# The largest input that is pooled anew, and the longest window.
_MOST_POOLED, _MOST_WINDOW = 200_000, 4


def pooling(gap: Gap) -> Cause | None:
    """Both make one of many positions, or features, and not by the same ones or in the same way."""
    for known in gap.known:
        if known.array.ndim == gap.reference.ndim > 2 and known.array.shape != gap.reference.shape:
            ours, theirs = _pooled(gap, known.array)
        elif known.array.ndim == gap.reference.ndim + 1 > 2:
            one, other = (_joining(gap, known.array, made) for made in (gap.reference, gap.port))
            ours, theirs = (one.told(), other.told(known.axes)) if one != other else ("", "")
        else:
            continue
        if ours and theirs and ours != theirs:
            return Cause("pooling", f"of {known.label} the reference takes {ours} and the port {theirs}")
    return None


def _pooled(gap: Gap, array: np.ndarray) -> tuple[str, str]:
    """How each side joins the numbers in a window that goes over all axes but that of the batch and of channels."""
    ours = theirs = ""
    # What is joined may be moved, too, before the next layer is given it.
    for first, channel in product(dict.fromkeys((1, array.ndim - 1)), repeat=2):
        x, made = np.moveaxis(array, first, 1), np.moveaxis(gap.reference, channel, 1)
        if x.shape[:2] != made.shape[:2] or max(x.size, made.size) > _MOST_POOLED:
            continue
        for text, pooled in _windows(x, made.shape[2:]):
            seen = np.moveaxis(pooled, 1, channel)
            ours = ours or text * gap.is_reference(seen)
            theirs = theirs or text * any(map(gap.is_port, exchanged(seen)))
            if ours and theirs:
                return ours, theirs
    return "", ""


def _windows(x: np.ndarray, lengths: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """x: (batch, channels, positions ...). lengths: of the positions that come out."""
    axes = tuple(range(2, x.ndim))
    for size, stride in product(range(2, _MOST_WINDOW + 1), range(1, _MOST_WINDOW + 1)):
        around = [(0, 0), (0, 0), *[(size, size)] * len(axes)]
        parts = [np.pad(each, around, constant_values=value) for each, value in ((x, -np.inf), (x, 0), (x * 0 + 1, 0))]
        if any(
            (length - 1) * stride + size > padded for length, padded in zip(lengths, parts[0].shape[2:], strict=True)
        ):
            continue
        views = [np.lib.stride_tricks.sliding_window_view(each, (size,) * len(axes), axes) for each in parts]  # type: ignore[call-overload]
        inner = tuple(range(-len(axes), 0))
        for before in range(size):
            place = (..., *(slice(size - before, None, stride) for _ in axes), *[slice(None)] * len(axes))
            cut = (..., *(slice(length) for length in lengths), *[slice(None)] * len(axes))
            largest, total, count = (view[place][cut] for view in views)
            where = f"in windows of {size} with a stride of {stride} and {before} of padding before"
            yield f"the largest {where}", largest.max(inner)
            yield f"the mean {where}", total.mean(inner)
            yield f"the mean {where}, which does not count", total.sum(inner) / np.maximum(count.sum(inner), 1)


class _Joined(NamedTuple):
    """How a side makes one of many, in words that have `{}` for the axis of the reference's array."""

    text: str
    axis: int = 0

    def told(self, axes: Callable[[], Sequence[int]] | None = None) -> str:
        """axes: of the side's own array, where it is not the reference's."""
        if "{}" not in self.text:
            return self.text
        return self.text.format(f"axis {self.axis}" if axes is None else f"its {axis_text(axes(), self.axis)}")


def _joining(gap: Gap, array: np.ndarray, made: np.ndarray) -> _Joined:
    for way, joined in _joined_ways(gap, array):
        if joined.shape == made.shape and apart(joined, made) <= 4 * gap.limit:
            return way
        # One number for each that is repeated along the features.
        is_repeated = joined.ndim == made.ndim == 2 and joined.shape[0] == made.shape[0]
        if is_repeated and apart(np.broadcast_to(joined[:, :1], made.shape), made) <= 4 * gap.limit:
            return way._replace(text=f"{way.text}, the first of them,")
    return _Joined(_taken(gap, array, made))


def _joined_ways(gap: Gap, array: np.ndarray) -> Iterator[tuple[_Joined, np.ndarray]]:
    for axis in range(1, array.ndim):
        for text, joined in _joined_along(gap, array, axis):
            yield _Joined(text, axis), joined


def _joined_along(gap: Gap, array: np.ndarray, axis: int) -> Iterator[tuple[str, np.ndarray]]:
    where = "along {}"
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
