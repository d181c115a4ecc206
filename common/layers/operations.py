"""Layers that hold nothing and rearrange or combine arrays; those that read sequences are in sequences.py.

Axes are counted from the batch axis, which is 0, is the first of every input and output, and is never moved, split or
cut. A value that is the same for every element of a batch has a batch axis of length 1, which stretches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

from ..errors import SpecError
from ..layouts import Layout, Side, sides
from ..spec import UNKNOWN, Features, Layer, flat, positive, width, with_width
from .checks import check_number, shown

# The most inputs that a layer takes which takes any number of them.
MANY = 99


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """All axes but the batch merged into one, the last axis running fastest."""

    def out(self, features: Features, path: str) -> Features:
        return flat(features)


@dataclass(frozen=True, repr=False)
class Halve(Layer):
    """Halves its whole input until the sum of magnitudes is at most `limit`: a loop on values.

    The number of halvings is a constant for the gradient, as in a `while` run eagerly.
    """

    limit: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "limit", lambda limit: 0 < limit < math.inf, "as a positive number")


@dataclass(frozen=True, repr=False)
class Sum(Layer):
    """The sum of everything, the batch included: a scalar."""

    def out(self, features: Any, path: str) -> Features:
        return ()


@dataclass(frozen=True, repr=False)
class Split(Layer):
    """`parts` values, each an equal part of the last axis, in order."""

    parts: int

    def __post_init__(self) -> None:
        positive(self, parts=self.parts)

    def outs(self, inputs: tuple[Features, ...], path: str) -> tuple[Features, ...]:
        found = width(inputs[0], self, path)
        if found is not None and found % self.parts:
            raise SpecError(path, f"an input of a width that {self.parts} parts divide", f"width {found}")
        part = inputs[0] if found is None else with_width(inputs[0], found // self.parts)
        return (part,) * self.parts


@dataclass(frozen=True, repr=False)
class Concatenate(Layer):
    """Its inputs one behind the other along `axis`; a batch axis of length 1 is stretched to that of the others."""

    inputs: ClassVar[tuple[int, int]] = (2, MANY)

    axis: int

    def __post_init__(self) -> None:
        positive(self, axis=self.axis)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        if any(Ellipsis in features for features in inputs):
            return UNKNOWN
        ranks = {len(features) for features in inputs}
        if len(ranks) > 1 or self.axis > min(ranks):
            shapes = " and ".join(map(shown, inputs))
            raise SpecError(path, f"inputs of one number of axes, more than {self.axis}", shapes)
        axes = [_one_length(lengths, inputs, path) for lengths in zip(*map(self._rest, inputs), strict=True)]
        along = [features[self.axis - 1] for features in inputs]
        axes.insert(self.axis - 1, None if None in along else sum(along))
        return tuple(axes)

    def _rest(self, features: Features) -> Features:
        return features[: self.axis - 1] + features[self.axis :]


@dataclass(frozen=True, repr=False)
class Take(Layer):
    """What is at `index` of `axis`, which is gone; an index below 0 counts from the end."""

    index: int
    axis: int = 1

    def __post_init__(self) -> None:
        positive(self, axis=self.axis)
        if not isinstance(self.index, Integral) or isinstance(self.index, bool):
            raise SpecError("", "Take.index as a whole number", repr(self.index))
        object.__setattr__(self, "index", int(self.index))

    def out(self, features: Features, path: str) -> Features:
        if Ellipsis in features:
            return UNKNOWN
        if self.axis > len(features):
            raise SpecError(path, f"an input with an axis {self.axis}", shown(features))
        length = features[self.axis - 1]
        if length is not None and not -length <= self.index < length:
            raise SpecError(path, f"axis {self.axis} to have an index {self.index}", f"length {length}")
        return features[: self.axis - 1] + features[self.axis :]


@dataclass(frozen=True, repr=False)
class Rearrange(Layer):
    """einops' `rearrange`: axes moved, merged and split as `pattern` says. The batch is the first on both sides.

    sizes: the lengths of axes that the input does not tell, by name: {"heads": 8}.

    >>> Rearrange("b t (heads d) -> b heads t d", {"heads": 8}).out((16, 512), "")
    (8, 16, 64)
    """

    pattern: str
    sizes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        pairs = self.sizes.items() if isinstance(self.sizes, Mapping) else self.sizes
        object.__setattr__(self, "sizes", tuple((name, size) for name, size in pairs))
        self._check_pattern()
        self._check_sizes()

    @property
    def layout(self) -> Layout:
        """The same as a layout, which einops carries out on the arrays of any framework."""
        return Layout(self.pattern, self.sizes)

    def out(self, features: Features, path: str) -> Features:
        (_, *left), (_, *right) = self._sides()
        if Ellipsis in features:
            return (None,) * len(right)
        if len(features) != len(left):
            raise SpecError(path, f"the axes of {self.pattern!r}", shown(features))
        lengths: dict[str, int | None] = dict(self.sizes)
        for axis, length in zip(left, features, strict=True):
            known = math.prod(lengths.get(name, 1) or 1 for name in axis)
            unknown = [name for name in axis if name not in lengths]
            if length is not None and (length % known if unknown else length != known):
                wanted = f"a multiple of {known}" if unknown else str(known)
                raise SpecError(path, f"({' '.join(axis)}) of {self.pattern!r} of length {wanted}", str(length))
            lengths.update(dict.fromkeys(unknown, None if length is None else length // known))
        return tuple(_product([lengths[name] for name in axis]) for axis in right)

    def _sides(self) -> tuple[Side, Side]:
        """Both sides of the pattern, each axis as the names in it; two empty ones if it is not in our notation."""
        found = sides(str(self.pattern)) or ((), ())
        named = all(axis and all(map(str.isidentifier, axis)) for side in found for axis in side)
        return found if named and all(found) else ((), ())

    def _check_pattern(self) -> None:
        left, right = self._sides()
        if not left:
            remedy = "Write names, and names in parentheses: 'b c h w -> b (h w) c'."
            raise SpecError("", "Rearrange.pattern in einops' notation", repr(self.pattern), remedy)
        names, others = (sorted(name for axis in side for name in axis) for side in (left, right))
        if names != others or len(set(names)) < len(names):
            raise SpecError("", "each name once on both sides of Rearrange.pattern", repr(self.pattern))
        if left[0] != right[0] or len(left[0]) != 1:
            raise SpecError("", "one batch axis in front on both sides of Rearrange.pattern", repr(self.pattern))

    def _check_sizes(self) -> None:
        sizes = dict(self.sizes)
        for name in sizes:
            if not any(name in axis for axis in self._sides()[0][1:]):
                raise SpecError("", f"axes of {self.pattern!r} in Rearrange.sizes", repr(name))
            if not isinstance(sizes[name], int) or sizes[name] < 1:
                raise SpecError("", "Rearrange.sizes as positive whole numbers", repr(sizes))
        for axis in self._sides()[0]:
            unknown = [name for name in axis if name not in sizes]
            if len(unknown) > 1:
                remedy = "Name the others in Rearrange.sizes."
                raise SpecError("", f"one unknown length in ({' '.join(axis)})", ", ".join(unknown), remedy)


def _one_length(lengths: tuple[Any, ...], inputs: tuple[Features, ...], path: str) -> int | None:
    known = {length for length in lengths if length is not None}
    if len(known) > 1:
        shapes = " and ".join(map(shown, inputs))
        raise SpecError(path, "inputs alike but for the axis along which they are put together", shapes)
    return next(iter(known), None)


def _product(lengths: Sequence[int | None]) -> int | None:
    known = [length for length in lengths if length is not None]
    return math.prod(known) if len(known) == len(lengths) else None
