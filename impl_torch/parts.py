"""A module in parts over several processes: what each holds of it, and all of it put together again.

Every process does the same: it shards a copy of its own, is given its part of the batch, and tells the others what it
has. So each has all of the outputs, gradients and tensors, whole, and what copies of one thing differ by.

Which entries of a tensor a process holds is not asked of placements, which a module of one's own need not have: a copy
whose entries are their own numbers is sharded, and read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from inspect import signature
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from ..common.arrays import as_numpy
from ..common.errors import NotExpressibleError, ShapeError, UsageError
from ..common.wing import Accident, Call, Cotangents, Inputs, PairError, Plan, StoredTensor, reported
from .access import neutral, tensor
from .core import called, cast_copy, floating, generators_kept, given, squared_error
from .devices import dtype_of, plan_under_test
from .stored import Owned, listed, owned, with_stored_tensors, write

# What PyTorch's wrappers put into the names of what they wrap.
_WRAPPERS = frozenset({"_checkpoint_wrapped_module", "_orig_mod", "_fsdp_wrapped_module"})
# Beyond any index, and with as many tensors still a whole number in float64.
_STRIDE = 2**32
# For so many seconds a process that has raised waits to hear whether the others have.
_PATIENCE = 20
_RUNS = count()
_REMEDY = "Start the check by torchrun, and let it call torch.distributed.init_process_group before."


class Held(NamedTuple):
    """What a process holds of a tensor: where its entries are among all of it, in the shape that they have here."""

    path: str
    shape: tuple[int, ...]
    places: np.ndarray


class Batch(NamedTuple):
    """Which part of the batch a process is given."""

    number: int
    count: int

    def of(self, array: Any) -> Any:
        """Its part of an array along the first axis."""
        length = len(array) // self.count
        return array[self.number * length : (self.number + 1) * length]


def random_state() -> torch.Tensor:
    """Of this process' generator."""
    return torch.get_rng_state()


def processes() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def together() -> Iterator[None]:
    """For what all processes do at once. What one raises is told to the others, which may wait for it.

    Raises:
        PairError: all have raised something. Accident: this one has, and some have not; their group is of no use now.
    """
    number = next(_RUNS)
    try:
        yield
    except (Accident, NotExpressibleError, ShapeError, UsageError):
        # Of what all processes have alike.
        raise
    except Exception as error:
        store: Any = dist.distributed_c10d._get_default_store()  # type: ignore[attr-defined]
        keys = [f"paritree, run {number}, process {rank}" for rank in range(dist.get_world_size())]
        store.set(keys[dist.get_rank()], f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip("."))
        try:
            store.wait(keys, timedelta(seconds=_PATIENCE))
        except dist.DistStoreError:
            found = f"process {dist.get_rank()} raises alone: {type(error).__name__}: {error}"
            raise Accident("port", "processes that all go through", found, "") from error
        told = [store.get(key).decode() for key in keys]
        said = dict.fromkeys(f"process {rank}: {text}" for rank, text in enumerate(told))
        words = told[0] if len({*told}) == 1 else "; ".join(said)
        raise PairError("port", "a sharded module that takes the inputs", words, "") from error


def spread_plan() -> Plan | None:
    """The plan, where the module is to be run over all processes; None in one alone."""
    plan = plan_under_test()
    return None if plan is None or plan.is_alone else plan


def own_dtype(model: nn.Module) -> torch.dtype:
    """Of its first parameter of floating-point numbers."""
    return next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.get_default_dtype())


class Parts:
    """How a module is in parts: what each process holds of each tensor.

    dtype: of copies that are made; empty for the module's own.

    Raises:
        UsageError: no function that shards, or no process group. NotExpressibleError: it changes the entries otherwise
            than by taking some of them.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, plan: Plan, dtype: str) -> None:
        if not callable(plan.sharding):
            found = "none" if plan.sharding is None else type(plan.sharding).__name__
            raise UsageError("port_sharding", "a function that shards the PyTorch module it is given", found, "")
        if not dist.is_initialized():
            raise NotExpressibleError("", "a launched process group", "none", _REMEDY)
        self.model, self.inputs, self.plan = model, inputs, plan
        self.dtype = dtype_of(dtype) if dtype else own_dtype(model)
        with together():
            self.held = gathered(_held(model, self.sharded))

    def tell(self, batch: Batch) -> None:
        """Tell the plan what lies in parts."""
        held = {path: each for of in self.held for path, each in of.items()}
        sizes = {path: [of[path].places.size if path in of else 0 for of in self.held] for path in held}
        parts = [path for path, each in held.items() if min(sizes[path]) < np.prod(each.shape, dtype=np.int64)]
        words = f"{len(parts)} of {len(held)} tensors lie in parts, and the batch in {batch.count}"
        self.plan.told[words] = bool(parts) or batch.count > 1

    def sharded(self, model: nn.Module) -> nn.Module:
        """What the pair's function makes of a module."""
        function = self.plan.sharding
        with reported("port_sharding", "a function that shards the module it is given", ""):
            try:
                takes = len(signature(function).parameters) > 1
            except (TypeError, ValueError):
                takes = False
            made = function(model, self.plan.mesh) if takes else function(model)
        if made is not None and not isinstance(made, nn.Module):
            raise UsageError("port_sharding", "a function that gives a module, or nothing", type(made).__name__, "")
        return model if made is None else made

    def made(self, weights: Mapping[str, Any], is_free: bool = False) -> Sharded:
        """A copy with these weights, sharded. is_free: with a gradient for what training leaves alone, too."""
        own = with_stored_tensors(cast_copy(self.model, self.dtype), weights)
        for each in own.parameters():
            if is_free and each.is_floating_point():
                each.requires_grad_()
        with generators_kept(own):
            torch.set_rng_state(self.plan.random_state)
            sharded = self.sharded(own)
            return Sharded(self, sharded, torch.get_rng_state())


class Sharded:
    """A sharded copy in this process. random_state: of its generator, once it was sharded."""

    def __init__(self, parts: Parts, model: nn.Module, random_state: torch.Tensor) -> None:
        self.parts, self.plan, self.model, self.random_state = parts, parts.plan, model, random_state
        self.batch = _batch(model, parts.plan)
        self.arguments = given(model, _cut(parts.inputs, self.batch), parts.dtype)
        self._lengths = {len(each) for each in _values(self.arguments) if each.ndim}

    def outputs(self, call: Call | None) -> dict[str, torch.Tensor]:
        """The floating-point outputs for its part of the batch, by their place."""
        found = floating(called(self.model, self.arguments, call))
        return {name: _whole(each) for name, each in found.items()}

    def is_cut(self, output: torch.Tensor) -> bool:
        """Whether an output has an entry for each row of this process' part of the batch."""
        return self.batch.count > 1 and output.ndim > 0 and len(output) in self._lengths

    def globally(self, made: Cotangents, outputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """What is made for whole outputs, this process' part of it."""
        shapes = [
            (len(each) * self.batch.count, *each.shape[1:]) if self.is_cut(each) else tuple(each.shape)
            for each in outputs.values()
        ]
        pairs = zip(made(shapes), outputs.values(), strict=True)
        return [tensor(self.batch.of(array) if self.is_cut(each) else array).to(each) for array, each in pairs]

    def squared_error(self, outputs: Mapping[str, torch.Tensor], goals: Sequence[torch.Tensor]) -> torch.Tensor:
        """A loss whose mean over the processes has the gradient of the mean squared error of whole outputs.

        The square of a mean is no mean of squares: of what has no rows, the others' part is taken as it is.
        """
        pairs = list(zip(outputs.values(), goals, strict=True))
        cut = [(output, goal) for output, goal in pairs if self.is_cut(output) or self.batch.count == 1]
        terms = [squared_error(*zip(*cut, strict=True))] if cut else []
        for output, goal in pairs:
            if not self.is_cut(output) and self.batch.count > 1:
                mean = torch.as_tensor(np.mean(gathered(neutral(output)), axis=0)).to(output)
                terms.append((2 * (mean - goal) * output).mean())
        return sum(terms[1:], terms[0]) if terms else torch.zeros(())

    def whole_outputs(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """All rows of each output, from all processes; of what has no rows the mean over the parts of the batch."""
        told = {name: (neutral(each), self.is_cut(each)) for name, each in outputs.items()}
        everywhere: list[tuple[Batch, Any]] = gathered((self.batch, told))
        found = {}
        for name, (_, is_cut) in told.items():
            by_part: dict[int, list[np.ndarray]] = {}
            for batch, each in everywhere:
                by_part.setdefault(batch.number, []).append(each[name][0])
            first = [arrays[0] for _, arrays in sorted(by_part.items())]
            whole = np.concatenate(first) if is_cut else np.mean(first, axis=0)
            self.plan.keep(whole, max(_apart(arrays) for arrays in by_part.values()))
            found[name] = whole
        return found

    def gradients(self, told: Mapping[str, torch.Tensor] | None = None) -> dict[str, np.ndarray]:
        """Of all parameters, whole. told: in the place of what is in `.grad`."""
        local = {}
        for path, each in _owned(self.model).items():
            array = each.array
            if isinstance(array, nn.Parameter) and array.is_floating_point():
                gradient = array.grad if told is None else told.get(path)
                local[path] = neutral(_local(torch.zeros_like(array) if gradient is None else _laid(gradient, array)))
        return self._whole(local)

    def stored_tensors(self) -> dict[str, StoredTensor]:
        """All tensors, whole; those that only other processes have among them."""
        held = _owned(self.model)
        arrays = self._whole({path: neutral(_local(each.array)) for path, each in held.items()})
        own = {path: _told(path, each) for path, each in held.items()}
        everywhere = {path: each for of in gathered(own) for path, each in of.items()}
        return {path: replace(each, array=arrays[path]) for path, each in everywhere.items()}

    def _whole(self, local: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What all processes hold, put together by what each holds of it."""
        everywhere = gathered(dict(local))
        paths = dict.fromkeys(path for each in everywhere for path in each)
        return {path: self._joined(path, [each.get(path) for each in everywhere]) for path in paths}

    def _joined(self, path: str, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
        places = [held.get(path) for held in self.parts.held]
        first = next(each for each in arrays if each is not None)
        known = [(place, array) for place, array in zip(places, arrays, strict=True) if place and array is not None]
        if not known or any(place.places.shape != array.shape for place, array in known):
            # No number was to be seen in it: it is not in parts.
            found = [each for each in arrays if each is not None]
            return agreed(self.plan, found)
        shape = known[0][0].shape
        whole, seen = np.zeros(shape, first.dtype), np.zeros(shape, bool)
        apart = 0.0
        for place, array in known:
            flat, values = place.places.ravel(), array.ravel()
            again = seen.ravel()[flat]
            apart = max(apart, _apart([whole.ravel()[flat][again], values[again]]))
            whole.reshape(-1)[flat], seen.reshape(-1)[flat] = values, True
        self.plan.keep(whole, apart)
        return whole


def _told(path: str, each: Owned) -> StoredTensor:
    """What is to be said of a tensor besides its values."""
    is_parameter = isinstance(each.array, nn.Parameter)
    is_frozen = is_parameter and not each.array.requires_grad
    return StoredTensor(path, np.zeros(0), is_parameter, each.persistent, each.names[1:], frozen=is_frozen)


def _held(model: nn.Module, sharded: Callable[[nn.Module], nn.Module]) -> dict[str, Held]:
    """By its names after it, what this process holds of each tensor once the module is sharded."""
    own = cast_copy(model, torch.float64)
    before = owned(own)
    numbered: list[tuple[str, tuple[int, ...]]] = []
    with torch.no_grad():
        for path, each in before.items():
            if each.array.is_floating_point():
                shape, first = tuple(each.array.shape), len(numbered) * _STRIDE
                write(each.array, np.arange(first, first + each.array.numel(), dtype=np.float64).reshape(shape))
                numbered.append((path, shape))
    found = {}
    for path, each in _owned(sharded(own)).items():
        values = as_numpy(_local(each.array).detach().cpu())
        if values.dtype != np.float64 or not values.size:
            continue
        whole = values.astype(np.int64)
        number = int(whole.ravel()[0] // _STRIDE)
        places = whole - number * _STRIDE
        is_told = number < len(numbered) and (whole == values).all() and (places >= 0).all()
        if is_told and places.max() < np.prod(numbered[number][1]) and np.unique(places).size == places.size:
            found[path] = Held(*numbered[number], places)
    return found


def _owned(model: nn.Module) -> dict[str, Owned]:
    """The tensors of a sharded module by their own names, without what wrappers put into these."""
    is_wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
    reshard(model)
    found = {}
    for path, each in listed(model).items():
        names = tuple(_unwrapped(name, is_wrapped) for name in each.names)
        found[_unwrapped(path, is_wrapped)] = each._replace(names=names)
    return found


def _unwrapped(name: str, is_wrapped: bool) -> str:
    return bare(name.removeprefix("module.") if is_wrapped else name)


def bare(name: str) -> str:
    """A name without what checkpointing, compiling and sharding of modules put into it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def reshard(model: nn.Module) -> None:
    """Let `fully_shard` give back what it has gathered for a call."""
    classes = _sharding_class("FSDPModule")
    for each in model.modules():
        if isinstance(each, classes):
            each.reshard()  # type: ignore[operator]


def _sharding_class(name: str) -> tuple[type, ...]:
    """A class of `torch.distributed.fsdp`; none where nobody has imported that, which takes a while."""
    home = sys.modules.get("torch.distributed.fsdp")
    return () if home is None else (getattr(home, name),)


def _whole(array: torch.Tensor) -> torch.Tensor:
    """All of a tensor, of a DTensor from all processes."""
    whole: Any = getattr(array, "full_tensor", lambda: array)
    return whole()


def _local(array: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor."""
    return array.detach().to_local() if hasattr(array, "to_local") else array.detach()  # type: ignore[operator]


def _laid(gradient: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A gradient as its parameter lies; what is left to be summed is summed."""
    if hasattr(gradient, "redistribute") and hasattr(parameter, "placements"):
        return gradient.redistribute(parameter.device_mesh, parameter.placements)  # type: ignore[operator]
    return gradient


def _batch(model: nn.Module, plan: Plan) -> Batch:
    """Which part of the batch this process is given: as the pair says, or as the module's data parallelism has it."""
    if plan.input_sharding is not None:
        return _given_batch(plan)
    if isinstance(model, (nn.parallel.DistributedDataParallel, *_sharding_class("FullyShardedDataParallel"))):
        group: Any = model.process_group
        return Batch(dist.get_rank(group), dist.get_world_size(group))
    for each in model.modules():
        state = getattr(each, "_get_fsdp_state", lambda: None)()
        group = getattr(state, "_fsdp_param_group", None)
        if group is not None:
            mesh = group.mesh_info
            # Of a mesh of two axes the first holds copies, each of which has a part of the batch, too.
            copies, copy = getattr(mesh, "replicate_mesh_size", 1), getattr(mesh, "replicate_mesh_rank", 0)
            shards, shard = getattr(mesh, "shard_mesh_size", 1), getattr(mesh, "shard_mesh_rank", 0)
            return Batch(copy * shards + shard, copies * shards)
    return Batch(0, 1)


def _given_batch(plan: Plan) -> Batch:
    """By a placement for each axis of the mesh, or of all processes if there is none."""
    mesh, placements = plan.mesh, plan.input_sharding
    placements = placements if isinstance(placements, list | tuple) else (placements,)
    sizes = tuple(mesh.shape) if mesh is not None else (dist.get_world_size(),)
    coordinate = mesh.get_coordinate() if mesh is not None else (dist.get_rank(),)
    number, count = 0, 1
    for placement, size, place in zip(placements, sizes, coordinate, strict=False):
        dim = getattr(placement, "dim", None)
        if dim not in (None, 0):
            expected = "a placement that leaves all axes but the first whole"
            raise NotExpressibleError("input_sharding", expected, str(placement), "")
        if dim == 0:
            number, count = number * size + place, count * size
    return Batch(number, count)


def _cut(inputs: Inputs, batch: Batch) -> Any:
    """This process' part of the inputs.

    Raises:
        ShapeError: a batch that cannot be cut into equal parts.
    """
    named = dict(inputs) if isinstance(inputs, Mapping) else dict(enumerate(inputs))
    rows = next((len(array) for array in named.values() if array.ndim), 0)
    if rows % batch.count:
        expected = f"a batch that {batch.count} processes divide"
        raise ShapeError("inputs", expected, f"one of {rows} rows", "Give the pair a larger batch.")
    cut = {name: batch.of(array) if array.shape[:1] == (rows,) else array for name, array in named.items()}
    return cut if isinstance(inputs, Mapping) else tuple(cut.values())


def _values(arguments: Any) -> Sequence[torch.Tensor]:
    return [*arguments.values()] if isinstance(arguments, Mapping) else arguments


def gathered(each: Any) -> list[Any]:
    """What every process has, in their order."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, each)
    return found


def agreed(plan: Plan, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The first of what is to be one."""
    plan.keep(arrays[0], _apart(arrays))
    return arrays[0]


def _apart(arrays: Sequence[np.ndarray]) -> float:
    """How far arrays that are to be one differ, of the largest norm of one."""
    first = arrays[0].astype(np.float64)
    size = max((float(np.linalg.norm(each.astype(np.float64))) for each in arrays), default=0.0)
    if first.dtype.kind != "f" or not size:
        return 0.0
    return max(float(np.linalg.norm(each.astype(np.float64) - first)) for each in arrays) / size
