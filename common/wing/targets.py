"""Loading: what a wing tells of a model that is to be filled, abstract or live, and what it does to fill it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

# For each axis of a tensor where a box of it begins and ends.
Box = tuple[tuple[int, int], ...]
# Fills a C-contiguous array of a box's shape and the tensor's dtype with the values that belong there.
Fill = Callable[[Box, np.ndarray], None]


class Target(NamedTuple):
    """A tensor of a model that is to be filled.

    shape, dtype: of all of it, however it is sharded.
    aliases: its other paths.
    saved: whether the framework saves it with the model.
    has_values: whether it holds any now; an abstract one does not.
    boxes: those of it that this process holds, each once.
    held: what the wing knows it by.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    aliases: tuple[str, ...]
    saved: bool
    has_values: bool
    boxes: tuple[Box, ...]
    held: Any


class Loader(Protocol):
    """What a wing does to fill a model.

    targets: every tensor of the model by its path, random state aside. `shardings`: where they are to lie, a tree or a
        mapping by path, or one for all; without it the model tells.
    placed: the framework's array for a target, its boxes filled. A live PyTorch tensor is written to in place.
    with_placed: the model to go on with, in which the arrays are the targets'.

    Raises:
        ShapeError: from `targets`, a sharding that does not divide a tensor.
        DeviceError: from `targets`, a sharding over a mesh that is not there.
    """

    def targets(self, model: Any, shardings: Any = None) -> dict[str, Target]: ...
    def placed(self, target: Target, fill: Fill) -> Any: ...
    def with_placed(self, model: Any, targets: Mapping[str, Target], arrays: Mapping[str, Any]) -> Any: ...


def whole(shape: tuple[int, ...]) -> Box:
    """The box that is all of a tensor."""
    return tuple((0, length) for length in shape)


def lengths(box: Box) -> tuple[int, ...]:
    """The shape of a box."""
    return tuple(stop - start for start, stop in box)
