"""Pooling over one, two and three spatial axes: the greatest or the mean of a window.

Inputs and outputs are (batch, channels, *spatial) in every wing. The geometry is here, so that a wing only reduces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from ..errors import SpecError
from ..spec import Features
from .windows import Numbers, Windowed


class Pool(Windowed):
    """A window over (batch, channels, *spatial) that moves by a stride, as in a convolution."""

    # No dataclass of its own, so that these are no fields yet: the two kinds have different ones between them.
    kernel_size: Numbers
    stride: Numbers | None
    padding: Numbers
    ceil_mode: bool

    @property
    def dilations(self) -> tuple[int, ...]:
        """The distance of a window's entries on each axis."""
        return (1,) * self.rank

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride on each axis, by default the window's size."""
        return self.each(self.kernel_size if self.stride is None else self.stride)

    def _check(self) -> None:
        self.assign(1, kernel_size=self.kernel_size)
        if self.stride is not None:
            self.assign(1, stride=self.stride)
        if self.stride == self.kernel_size:
            object.__setattr__(self, "stride", None)
        self.assign(0, padding=self.padding)
        if any(2 * pad > size for pad, size in zip(self.each(self.padding), self.each(self.kernel_size), strict=True)):
            # PyTorch's rule, which keeps a window without gaps from lying all in the padding.
            raise SpecError("", f"{self.kind}.padding of at most half of {self.kernel_size}", repr(self.padding))
        _check_switch(self, "ceil_mode")

    def counts(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """The number of windows on each spatial axis of these sizes.

        With `ceil_mode` a last window may reach past the padding, if it begins before the padding at the end does.
        """
        found = []
        axes = zip(sizes, self._reaches(), self.strides, self.each(self.padding), strict=True)
        for size, reach, stride, pad in axes:
            room = size + 2 * pad - reach
            count = (room + (stride - 1 if self.ceil_mode else 0)) // stride + 1
            found.append(count - (self.ceil_mode and (count - 1) * stride >= size + pad))
        return tuple(found)

    def pads(self, sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """What is added before and after each axis so that all windows lie inside."""
        axes = zip(sizes, self.counts(sizes), self._reaches(), self.strides, self.each(self.padding), strict=True)
        return tuple((pad, max(pad, (n - 1) * s + k - size - pad)) for size, n, k, s, pad in axes)

    def out(self, features: Features, path: str) -> Features:
        channels, *sizes = self.image(features, path)
        # An axis of unknown size is computed as one of any size, and then is unknown again.
        counts = self.counts(tuple(1 if size is None else size for size in sizes))
        known = (None if size is None else count for size, count in zip(sizes, counts, strict=True))
        return self.left(path, features, (channels, *known))

    def _reaches(self) -> tuple[int, ...]:
        """How far a window reaches on each axis, its gaps included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.each(self.kernel_size), self.dilations, strict=True))


@dataclass(frozen=True, repr=False)
class MaxPool(Pool):
    """The greatest entry of each window; the gradient goes to the first of several, in both frameworks.

    kernel_size, stride, padding, dilation: one number, or one for each spatial axis; the stride is by default the
        kernel's size (Flax's `max_pool` has 1). What is padded never is the greatest.
    ceil_mode: whether a last window may reach past the end of the input.
    """

    kernel_size: Numbers
    stride: Numbers | None = None
    padding: Numbers = 0
    dilation: Numbers = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        self._check()
        self.assign(1, dilation=self.dilation)

    @property
    def dilations(self) -> tuple[int, ...]:
        return self.each(self.dilation)

    def windows(self, sizes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """For each axis the indices (window, entry) of what lies in a window, counted from the start of the padding."""
        axes = zip(self.counts(sizes), self.strides, self.each(self.kernel_size), self.dilations, strict=True)
        return tuple(np.arange(n)[:, None] * stride + np.arange(k) * gap for n, stride, k, gap in axes)


@dataclass(frozen=True, repr=False)
class AvgPool(Pool):
    """The mean of each window.

    kernel_size, stride, padding: as in `MaxPool`.
    ceil_mode: whether a last window may reach past the end; what lies past the padding never counts.
    count_include_pad: whether the zeros of the padding count as entries.
    """

    kernel_size: Numbers
    stride: Numbers | None = None
    padding: Numbers = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        self._check()
        _check_switch(self, "count_include_pad")

    def divisors(self, sizes: tuple[int, ...]) -> np.ndarray:
        """The number of entries that count in each window, of shape `counts(sizes)`."""
        windows = self.strides, self.each(self.kernel_size), self.each(self.padding)
        return reduce(np.multiply.outer, map(self._along, sizes, self.counts(sizes), *windows))

    def _along(self, size: int, count: int, stride: int, kernel: int, pad: int) -> np.ndarray:
        start = np.arange(count) * stride - pad
        end = np.minimum(start + kernel, size + pad)
        return end - start if self.count_include_pad else np.minimum(end, size) - np.maximum(start, 0)


class AdaptivePool(Windowed):
    """A given number of windows, which divide each axis among them: window i of m over n is [i n / m, (i + 1) n / m).

    The start is rounded down and the end up, so that windows overlap where m does not divide n.
    """

    output_size: Any

    def _check(self) -> None:
        several = self.output_size if isinstance(self.output_size, (tuple, list)) else None
        if several is None or len(several) != self.rank or None not in several:
            return self.assign(1, output_size=self.output_size)
        for size in several:
            if size is not None:
                self.assign(1, output_size=size)
        object.__setattr__(self, "output_size", tuple(None if size is None else int(size) for size in several))

    def counts(self, sizes: tuple[Any, ...]) -> tuple[Any, ...]:
        """The number of windows on each axis of these sizes."""
        wanted = self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * self.rank
        return tuple(size if count is None else count for size, count in zip(sizes, wanted, strict=True))

    def bounds(self, sizes: tuple[int, ...]) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """For each axis the starts and the ends of its windows."""
        found = []
        for size, count in zip(sizes, self.counts(sizes), strict=True):
            number = np.arange(count)
            found.append((number * size // count, -(-(number + 1) * size // count)))
        return tuple(found)

    def out(self, features: Features, path: str) -> Features:
        channels, *sizes = self.image(features, path)
        return (channels, *self.counts(tuple(sizes)))


@dataclass(frozen=True, repr=False)
class AdaptiveAvgPool(AdaptivePool):
    """The mean of each of a given number of windows; Flax has no such layer.

    output_size: the number of windows, on all axes or on each; None for an axis that stays as it is.
    """

    output_size: int | tuple[int | None, ...]

    def __post_init__(self) -> None:
        self._check()


@dataclass(frozen=True, repr=False)
class AdaptiveMaxPool(AdaptivePool):
    """The greatest entry of each of a given number of windows; Flax has no such layer.

    output_size: as in `AdaptiveAvgPool`.
    """

    output_size: int | tuple[int | None, ...]

    def __post_init__(self) -> None:
        self._check()

    def windows(self, sizes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """For each axis the indices (window, entry) of what lies in a window, its last one repeated in a short one."""
        found = []
        for start, end in self.bounds(sizes):
            entry = np.arange(int((end - start).max()))
            found.append(np.minimum(start[:, None] + entry, end[:, None] - 1))
        return tuple(found)


def _check_switch(layer: Pool, name: str) -> None:
    if not isinstance(getattr(layer, name), bool):
        raise SpecError("", f"{layer.kind}.{name} as True or False", repr(getattr(layer, name)))


class MaxPool1d(MaxPool):
    """`MaxPool` over (batch, channels, width)."""

    rank: ClassVar[int] = 1


class MaxPool2d(MaxPool):
    """`MaxPool` over (batch, channels, height, width)."""

    rank: ClassVar[int] = 2


class MaxPool3d(MaxPool):
    """`MaxPool` over (batch, channels, depth, height, width)."""

    rank: ClassVar[int] = 3


class AvgPool1d(AvgPool):
    """`AvgPool` over (batch, channels, width)."""

    rank: ClassVar[int] = 1


class AvgPool2d(AvgPool):
    """`AvgPool` over (batch, channels, height, width)."""

    rank: ClassVar[int] = 2


class AvgPool3d(AvgPool):
    """`AvgPool` over (batch, channels, depth, height, width)."""

    rank: ClassVar[int] = 3


class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """`AdaptiveAvgPool` over (batch, channels, width)."""

    rank: ClassVar[int] = 1


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """`AdaptiveAvgPool` over (batch, channels, height, width)."""

    rank: ClassVar[int] = 2


class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """`AdaptiveAvgPool` over (batch, channels, depth, height, width)."""

    rank: ClassVar[int] = 3


class AdaptiveMaxPool1d(AdaptiveMaxPool):
    """`AdaptiveMaxPool` over (batch, channels, width)."""

    rank: ClassVar[int] = 1


class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """`AdaptiveMaxPool` over (batch, channels, height, width)."""

    rank: ClassVar[int] = 2


class AdaptiveMaxPool3d(AdaptiveMaxPool):
    """`AdaptiveMaxPool` over (batch, channels, depth, height, width)."""

    rank: ClassVar[int] = 3
