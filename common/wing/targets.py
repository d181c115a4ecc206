"""Loading and saving by parts: what a wing tells of a model of which this process may have no more than its shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import ShapeError
from ..rows import shape_text
from .processes import Processes

# For each axis of a tensor where a box of it begins and ends.
Box = tuple[tuple[int, int], ...]
# Fills a C-contiguous array of a box's shape and the tensor's dtype with the values that belong there.
Fill = Callable[[Box, np.ndarray], None]


class Target(NamedTuple):
    """A tensor of a model that is to be filled, or to be saved by its parts.

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


class Spread(NamedTuple):
    """A tensor of a model over several processes: what it is, without boxes of its own, and the boxes of each."""

    target: Target
    boxes: tuple[tuple[Box, ...], ...]


class Loader(Protocol):
    """What a wing does to fill a model, and to save one shard by shard.

    targets: every tensor of the model by its path, random state aside. `shardings`: where they are to lie, a tree or a
        mapping by path, or one for all; without it the model tells.
    placed: the framework's array for a target, its boxes filled. A live PyTorch tensor is written to in place.
    with_placed: the model to go on with, in which the arrays are the targets'.
    part: the values in one of a live target's boxes, as a NumPy array that is not to be written to.
    holders: all boxes of a target, whichever processes hold them, each with the numbers of those. No number means that
        every process has a copy of its own.
    processes: those that hold the targets together; None if this one has all of each.
    spread: as `targets`, but for so many processes, each with as many consecutive devices of a mesh: that of the
        shardings, or `mesh`, of which the lengths of its axes suffice. No device is looked at. Without a number those
        that the mesh's devices are of.

    Raises:
        ShapeError: from `targets`, a sharding that does not divide a tensor.
        DeviceError: from `targets`, a sharding over a mesh that is not there.
    """

    def targets(self, model: Any, shardings: Any = None) -> dict[str, Target]: ...
    def placed(self, target: Target, fill: Fill) -> Any: ...
    def with_placed(self, model: Any, targets: Mapping[str, Target], arrays: Mapping[str, Any]) -> Any: ...
    def part(self, target: Target, box: Box) -> np.ndarray: ...
    def holders(self, target: Target) -> Mapping[Box, tuple[int, ...]]: ...
    def processes(self, targets: Mapping[str, Target]) -> Processes | None: ...
    def spread(
        self, model: Any, processes: int | None = None, shardings: Any = None, mesh: Any = None
    ) -> dict[str, Spread]: ...


def whole(shape: tuple[int, ...]) -> Box:
    """The box that is all of a tensor."""
    return tuple((0, length) for length in shape)


def lengths(box: Box) -> tuple[int, ...]:
    """The shape of a box."""
    return tuple(stop - start for start, stop in box)


def homes(devices: int, processes: int) -> list[int]:
    """The process of each device, where each has as many consecutive ones.

    Raises:
        ShapeError: they cannot be shared out evenly.
    """
    if processes < 1 or devices % processes:
        raise ShapeError("", f"a number of processes that divides {devices:,} devices", f"{processes:,}")
    return [device * processes // devices for device in range(devices)]


def boxes_over(
    path: str, shape: tuple[int, ...], cuts: Sequence[Sequence[str]], mesh: Mapping[str, int], homes: Sequence[int]
) -> tuple[tuple[Box, ...], ...]:
    """What each process holds of a tensor whose axes are cut by axes of a mesh.

    cuts: for each axis of the tensor those of the mesh, the first of them in the largest steps.
    mesh: the lengths of its axes by name. homes: the process of each of its devices, the last axis the fastest.

    Raises:
        ShapeError: the mesh does not divide an axis.
    """
    counts = [prod(mesh[name] for name in names) for names in cuts]
    if any(length % count for length, count in zip(shape, counts, strict=True)):
        over = " and ".join("x".join(names) or "none" for names in cuts)
        remedy = "Shard it along another axis, or over fewer devices. Nothing was loaded."
        raise ShapeError(path, f"a shape that {over} of {dict(mesh)} divides", shape_text(shape), remedy)
    found: list[dict[Box, None]] = [{} for _ in range(max(homes) + 1)]
    for home, place in zip(homes, np.ndindex(*mesh.values()), strict=True):
        at = dict(zip(mesh, place, strict=True))
        box = []
        for length, count, names in zip(shape, counts, cuts, strict=True):
            number = 0
            for name in names:
                number = number * mesh[name] + at[name]
            box.append((number * length // count, (number + 1) * length // count))
        found[home][tuple(box)] = None
    return tuple(map(tuple, found))
