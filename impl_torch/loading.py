"""Filling a module: tensors on the meta device are made, those of DTensor shard by shard, and all others written to.

Nothing of a tensor is sent between processes: each fills what it holds itself. In the same parts a module is saved.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise, product
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch
from torch import nn

from ..common import paths
from ..common.arrays import as_numpy
from ..common.errors import DtypeError, NotExpressibleError, UsageError
from ..common.wing import Box, Fill, Processes, Spread, Target, homes, whole
from .stored import Owned, listed

# Along each axis of a tensor, a run of entries in it and the run of the local tensor that they are.
Runs = list[tuple[tuple[int, int], slice]]


class Held(NamedTuple):
    """A tensor with its names, and which part of the process' own tensor each box is."""

    tensor: torch.Tensor
    names: tuple[str, ...]
    parts: tuple[tuple[slice, ...], ...]


def targets(model: nn.Module, shardings: Any = None) -> dict[str, Target]:
    """See `Loader`: every parameter and buffer by its path, live or on the meta device."""
    _check_none(shardings)
    _reshard(model)
    return {path: _target(path, each, *_boxes(each.array, path)) for path, each in listed(model).items()}


def spread(
    model: nn.Module, processes: int | None = None, shardings: Any = None, mesh: Any = None
) -> dict[str, Spread]:
    """See `Loader`: of a DTensor by the ranks of its mesh, and any other tensor in every process."""
    _check_none(shardings if mesh is None else mesh)
    found = listed(model)
    meshes = [sharded.device_mesh for each in found.values() if (sharded := _as_dtensor(each.array)) is not None]
    ranks = max((int(mesh.mesh.max()) + 1 for mesh in meshes), default=processes or 1)
    of_rank = homes(ranks, processes or ranks)
    known: dict[Any, tuple[tuple[Box, ...], ...]] = {}
    made = {}
    for path, each in found.items():
        sharded = _as_dtensor(each.array)
        lying = None if sharded is None else (sharded.device_mesh, tuple(sharded.placements))
        key = tuple(each.array.shape), lying
        if key not in known:
            known[key] = _over_ranks(each.array, of_rank)
        made[path] = Spread(_target(path, each, (), ()), known[key])
    return made


def _over_ranks(tensor: torch.Tensor, of_rank: Sequence[int]) -> tuple[tuple[Box, ...], ...]:
    """The boxes of each process, those of all of its ranks. of_rank: the process of each rank."""
    sharded = _as_dtensor(tensor)
    found: list[dict[Box, None]] = [{} for _ in range(max(of_rank) + 1)]
    if sharded is None:
        return ((whole(tuple(tensor.shape)),),) * len(found)
    for box, ranks in _holders(sharded.device_mesh, tuple(sharded.placements), tuple(tensor.shape)).items():
        for rank in ranks:
            found[of_rank[rank]][box] = None
    return tuple(map(tuple, found))


def _check_none(shardings: Any) -> None:
    if shardings is not None:
        remedy = "Shard the module itself: `fully_shard`, or `distribute_tensor` for its parameters."
        raise UsageError("shardings", "none for a PyTorch module, whose tensors say how they lie", "some", remedy)


def _target(path: str, of: Owned, boxes: tuple[Box, ...], parts: tuple[tuple[slice, ...], ...]) -> Target:
    tensor, has_values = of.array, not _local(of.array).is_meta
    held = Held(tensor, of.names, parts)
    return Target(path, tuple(tensor.shape), _dtype(tensor, path), of.names[1:], of.persistent, has_values, boxes, held)


def placed(target: Target, fill: Fill) -> torch.Tensor:
    """See `Loader`: the tensor itself, or in the place of one on the meta device a new one."""
    held: Held = target.held
    local = _local(held.tensor).detach()
    if local.is_meta:
        local = torch.empty(local.shape, dtype=local.dtype, device=_device(held.tensor))
    for box, part in zip(target.boxes, held.parts, strict=True):
        _fill(local[part], box, fill)
    return _wrapped(local, held.tensor) if _local(held.tensor).is_meta else held.tensor


def with_placed(model: nn.Module, targets: Mapping[str, Target], arrays: Mapping[str, Any]) -> nn.Module:
    """See `Loader`: the module itself. Ties stay: a new tensor is put under all names of the old one."""
    for path, array in arrays.items():
        held: Held = targets[path].held
        for name in held.names if array is not held.tensor else ():
            *above, last = paths.split(name)
            module = model.get_submodule(".".join(map(str, above)))
            (module._parameters if last in module._parameters else module._buffers)[str(last)] = array
    return model


def part(target: Target, box: Box) -> np.ndarray:
    """See `Loader`: the same memory where NumPy can see it."""
    held: Held = target.held
    return as_numpy(_local(held.tensor).detach()[held.parts[target.boxes.index(box)]])


def holders(target: Target) -> Mapping[Box, tuple[int, ...]]:
    """See `Loader`: numbers are global ranks."""
    sharded = _as_dtensor(target.held.tensor)
    if sharded is None:
        return {whole(target.shape): ()}
    return _holders(sharded.device_mesh, tuple(sharded.placements), target.shape)


def processes(targets: Mapping[str, Target]) -> Processes | None:
    """See `Loader`: those of all meshes together, and the store that the process group was started with."""
    sharded = [each for each in (_as_dtensor(target.held.tensor) for target in targets.values()) if each is not None]
    numbers = sorted({rank for each in sharded for rank in each.device_mesh.mesh.flatten().tolist()})
    if len(numbers) < 2:
        return None
    distributed = torch.distributed
    return Processes(distributed.get_rank(), tuple(numbers), _Store(distributed.distributed_c10d._get_default_store()))


class _Store:
    """See `Store`: that of a process group."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def set(self, key: str, text: str) -> None:
        self._store.set(key, text)

    def get(self, key: str) -> str | None:
        # To get what is not there would wait for it.
        return self._store.get(key).decode() if self._store.check([key]) else None


def _fill(into: torch.Tensor, box: Box, fill: Fill) -> None:
    if into.device.type == "cpu" and into.is_contiguous():
        # NumPy's view of the same memory.
        fill(box, as_numpy(into))
        return
    room = torch.empty(into.shape, dtype=into.dtype, device="cpu")
    fill(box, as_numpy(room))
    with torch.no_grad():
        into.copy_(room)


def _dtype(tensor: torch.Tensor, path: str) -> np.dtype:
    """Raises DtypeError for a type that NumPy does not have."""
    name = str(tensor.dtype).removeprefix("torch.")
    try:
        return np.dtype(getattr(ml_dtypes, name, name))
    except TypeError:
        raise DtypeError(path, "a dtype that NumPy has", name, "Load it in another, and quantize it then.") from None


def _device(of: torch.Tensor) -> torch.device:
    """Where a tensor's values are to be: on the devices of its mesh, or where PyTorch makes them."""
    sharded = _as_dtensor(of)
    if sharded is not None:
        return torch.device(sharded.device_mesh.device_type)
    found = torch.get_default_device()
    return torch.device("cpu") if found.type == "meta" else found


def _wrapped(local: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """A local tensor as what the old one was: sharded as it is, a parameter or not."""
    sharded, made = _as_dtensor(old), local
    if sharded is not None:
        made = type(sharded.data).from_local(
            local,
            sharded.device_mesh,
            sharded.placements,
            run_check=False,
            shape=sharded.shape,
            stride=sharded.stride(),
        )
    return nn.Parameter(made, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else made


def _as_dtensor(tensor: torch.Tensor) -> Any:
    """The tensor if it is sharded, or None. Whoever has one has imported what makes it."""
    module: Any = sys.modules.get("torch.distributed.tensor")
    return tensor if module is not None and isinstance(tensor, module.DTensor) else None


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor, without a copy."""
    sharded = _as_dtensor(tensor)
    return tensor if sharded is None else sharded._local_tensor


def _boxes(tensor: torch.Tensor, path: str) -> tuple[tuple[Box, ...], tuple[tuple[slice, ...], ...]]:
    """The boxes of a tensor that this process holds, and where each is in what it holds.

    One box, but for what is sharded twice along one axis, the second time within the shards of a later one.

    Raises:
        NotExpressibleError: a sum whose terms several processes hold.
    """
    shape, sharded = tuple(tensor.shape), _as_dtensor(tensor)
    if sharded is None:
        return (whole(shape),), (tuple(slice(None) for _ in shape),)
    for placement in sharded.placements:
        if placement.is_partial():
            expected = "a tensor that is sharded or replicated"
            raise NotExpressibleError(path, expected, str(placement), "Redistribute it first.")
    place = sharded.device_mesh.get_coordinate()
    entries = _entries(shape, sharded.placements, tuple(sharded.device_mesh.shape), place)
    local = tuple(_local(tensor).shape)
    if place is None or local != tuple(map(len, entries)):
        # A process beside the mesh holds nothing.
        if 0 in local:
            return (), ()
        found = f"{local} of {shape} by {sharded.placements}"
        raise NotExpressibleError(path, f"a local tensor of shape {tuple(map(len, entries))}", found, "")
    return _runs_of(entries)


def _entries(
    shape: tuple[int, ...], placements: Sequence[Any], counts: Sequence[int], place: Sequence[int] | None
) -> list[np.ndarray]:
    """Along each axis of a tensor the entries that a place of a mesh holds."""
    entries = [np.arange(length) for length in shape]
    for axis, placement in enumerate(placements):
        dim = getattr(placement, "dim", None)
        if dim is not None and place is not None:
            within = _chunks(entries[dim], getattr(placement, "split_factor", 1))
            entries[dim] = np.concatenate([_chunks(each, counts[axis])[place[axis]] for each in within])
    return entries


def _runs_of(entries: Sequence[np.ndarray]) -> tuple[tuple[Box, ...], tuple[tuple[slice, ...], ...]]:
    """The boxes of entries along each axis, and where each is in all of them."""
    found = [tuple(zip(*each, strict=True)) for each in product(*map(_runs, entries))] if entries else [((), ())]
    return tuple(box for box, _ in found), tuple(part for _, part in found)


@lru_cache(maxsize=1024)
def _holders(mesh: Any, placements: tuple[Any, ...], shape: tuple[int, ...]) -> Mapping[Box, tuple[int, ...]]:
    """Many tensors of a model are of one shape and lie alike."""
    found: dict[Box, list[int]] = {}
    ranks = mesh.mesh.numpy()
    for place in np.ndindex(*ranks.shape):
        for box in _runs_of(_entries(shape, placements, ranks.shape, place))[0]:
            found.setdefault(box, []).append(int(ranks[place]))
    return {box: tuple(sorted(each)) for box, each in found.items()}


def _chunks(entries: np.ndarray, count: int) -> list[np.ndarray]:
    """As `torch.chunk`, with empty ones at the end."""
    size = -(-len(entries) // count)
    return [entries[number * size : (number + 1) * size] for number in range(count)]


def _runs(entries: np.ndarray) -> Runs:
    """Consecutive entries, each run with the part of all of them that it is."""
    ends = [0, *(np.flatnonzero(np.diff(entries) != 1) + 1).tolist(), len(entries)]
    return [
        ((int(entries[first]), int(entries[stop - 1]) + 1), slice(first, stop))
        for first, stop in pairwise(ends)
        if first < stop
    ]


def _reshard(model: nn.Module) -> None:
    """Let `fully_shard` give back what it has gathered for a call: what is written there would be lost."""
    module: Any = sys.modules.get("torch.distributed.fsdp")
    if module is None:
        return
    for each in model.modules():
        if isinstance(each, module.FSDPModule):
            each.reshard()  # type: ignore[operator]
