"""Filling trees: arrays come to lie as their shardings say, of which each process makes the shards of its own devices.

In the same shards a tree is saved.

This is also the loader of a bare pytree; those of the wings take their shardings from what they annotate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.core import meta
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from ..common.errors import DeviceError, DtypeError, ShapeError, UsageError, nearest
from ..common.tables import shape_text
from ..common.trees import members, walk
from ..common.wing import Box, Fill, Processes, Spread, Target, boxes_over, homes, lengths, whole
from .trees import Keys, arrays_of, by_path, dotted, filled, is_array

# JAX takes NumPy's memory as an array of the CPU's as it is, if it begins at a multiple of this.
ALIGNED = 64
REPLICATED = PartitionSpec()


class Held(NamedTuple):
    """An array to be filled: its keys, the array, live or abstract, and where it is to lie; None for NumPy's."""

    keys: Keys
    array: Any
    sharding: Sharding | None


class Place(NamedTuple):
    """An array of a model, live or abstract, as its wing tells of it.

    spec, mesh: how its place is annotated, and the place's own mesh.
    aliases: its other paths.
    """

    keys: Keys
    array: Any
    spec: PartitionSpec = REPLICATED
    mesh: Any = None
    aliases: tuple[str, ...] = ()


def places_of(model: Any) -> dict[str, Place]:
    """Every array of a tree by its path, live or abstract.

    Raises:
        UsageError: a tree without.
    """
    found = by_path(arrays_of(model, counts=is_abstract_or_array))
    if not found:
        raise UsageError("like", "a pytree with arrays of JAX's or NumPy's, or abstract ones", type(model).__name__, "")
    return {path: Place(keys, array) for path, (keys, array) in found.items()}


def targets(model: Any, shardings: Any = None) -> dict[str, Target]:
    """See `Loader`."""
    return as_targets(places_of(model), shardings)


def spread(model: Any, processes: int | None = None, shardings: Any = None, mesh: Any = None) -> dict[str, Spread]:
    """See `Loader`."""
    return as_spread(places_of(model), processes, shardings, mesh)


def as_targets(found: Mapping[str, Place], shardings: Any) -> dict[str, Target]:
    """The targets of a model's places."""
    given = by_paths(shardings, found)
    made = {}
    for path, (keys, array, spec, mesh, aliases) in found.items():
        made[path] = target(path, Held(keys, array, sharding_of(path, array, given, spec, mesh)), aliases)
    return made


def as_spread(found: Mapping[str, Place], processes: int | None, shardings: Any, mesh: Any) -> dict[str, Spread]:
    """A model's places over several processes."""
    given = by_paths(shardings, found)
    known: dict[Any, tuple[tuple[Box, ...], ...]] = {}
    made = {}
    for path, place in found.items():
        shape = tuple(place.array.shape)
        cuts, axes, over = _cuts(path, place, given, mesh) if processes != 1 else (((),) * len(shape), {}, None)
        # Where there is no mesh, every process holds all.
        axes = axes or {"processes": processes or 1}
        key = shape, cuts, tuple(axes.items()), over
        if key not in known:
            known[key] = boxes_over(path, shape, cuts, axes, _homes(over, axes, processes))
        is_live, dtype = is_array(place.array), np.dtype(place.array.dtype)
        made[path] = Spread(Target(path, shape, dtype, place.aliases, True, is_live, (), place), known[key])
    return made


def _cuts(
    path: str, place: Place, given: Mapping[str, Sharding] | Sharding, mesh: Any
) -> tuple[tuple[tuple[str, ...], ...], Mapping[str, int], Any]:
    """By which axes an array is cut, of a given mesh, its sharding's, its place's or the one that is set."""
    own = given if isinstance(given, Sharding) else given.get(path, getattr(place.array, "sharding", None))
    spec, over = place.spec, place.mesh
    if isinstance(own, NamedSharding):
        spec, over = own.spec, own.mesh
    elif own is not None:
        spec = REPLICATED
    if mesh is None:
        mesh = over if over is not None and not over.empty else jax.sharding.get_mesh()
        if mesh.empty:
            mesh = jax.sharding.get_abstract_mesh()
    axes = dict(mesh.shape if isinstance(mesh, Mesh | AbstractMesh) else mesh)
    parts = (*spec, *(None,) * (len(place.array.shape) - len(spec)))
    cuts = tuple(each if isinstance(each, tuple) else () if each is None else (each,) for each in parts)
    unknown = [name for names in cuts for name in names if name not in axes]
    if unknown:
        raise _no_mesh(path, unknown, axes)
    return cuts, axes, mesh if isinstance(mesh, Mesh) else None


def _homes(mesh: Mesh | None, axes: Mapping[str, int], processes: int | None) -> list[int]:
    """The process of each device of a mesh; of one that is none, as many as there are to be."""
    if processes is None and mesh is not None:
        return [device.process_index for device in mesh.devices.flat]
    return homes(prod(axes.values()), processes or 1)


def placed(target: Target, fill: Fill) -> Any:
    """See `Loader`: JAX's array as its sharding says, or NumPy's where that is to be filled."""
    sharding = target.held.sharding
    if sharding is None:
        array = np.empty(target.shape, target.dtype)
        fill(whole(target.shape), array)
        return array
    devices: dict[Box, list[Any]] = {}
    for device, index in sharding.addressable_devices_indices_map(target.shape).items():
        devices.setdefault(_box(index, target.shape), []).append(device)
    shards = {}
    for box, own in devices.items():
        values = _aligned(lengths(box), target.dtype)
        fill(box, values)
        for device in own:
            there = SingleDeviceSharding(device, memory_kind=sharding.memory_kind)
            shards[device] = jax.device_put(values, there)
    # In the order in which JAX listed the devices.
    ordered = [shards[device] for device in sharding.addressable_devices_indices_map(target.shape)]
    return jax.make_array_from_single_device_arrays(target.shape, sharding, ordered, dtype=target.dtype)


def with_placed(model: Any, targets: Mapping[str, Target], arrays: Mapping[str, Any]) -> Any:
    """See `Loader`: a new tree. `model` is as it was."""
    return filled(model, {targets[path].held.keys: array for path, array in arrays.items()})


def part(target: Target, box: Box) -> np.ndarray:
    """See `Loader`: one of the shards that have these values."""
    array = target.held.array
    if not isinstance(array, jax.Array):
        return np.asarray(array)
    found = (each.data for each in array.addressable_shards if _box(each.index, target.shape) == box)
    return np.asarray(next(found))


def holders(target: Target) -> Mapping[Box, tuple[int, ...]]:
    """See `Loader`: numbers are JAX's of processes."""
    array, found = target.held.array, {}
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return dict.fromkeys(target.boxes, ())
    for device, index in array.sharding.devices_indices_map(target.shape).items():
        found.setdefault(_box(index, target.shape), set()).add(device.process_index)
    return {box: tuple(sorted(each)) for box, each in found.items()}


def processes(targets: Mapping[str, Target]) -> Processes | None:
    """See `Loader`: those of all devices together, and the store of `jax.distributed`."""
    devices = (each.held.sharding.device_set for each in targets.values() if each.held.sharding is not None)
    numbers = sorted({device.process_index for each in devices for device in each})
    if len(numbers) < 2:
        return None
    return Processes(jax.process_index(), tuple(numbers), _Store())


class _Store:
    """See `Store`: that of `jax.distributed`."""

    def __init__(self) -> None:
        # There is no public way to it; Orbax goes this one, too.
        from jax._src.distributed import global_state

        self._client: Any = global_state.client

    def set(self, key: str, text: str) -> None:
        self._client.key_value_set(key, text, allow_overwrite=True)

    def get(self, key: str) -> str | None:
        try:
            return self._client.key_value_try_get(key)
        except jax.errors.JaxRuntimeError as error:
            if str(error).startswith("NOT_FOUND"):
                return None
            raise


def target(path: str, held: Held, aliases: tuple[str, ...] = ()) -> Target:
    """What is to be filled of an array.

    Raises:
        ShapeError: a sharding that does not divide it. DtypeError: a dtype that JAX has only with 64-bit types enabled.
    """
    array, sharding = held.array, held.sharding
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    boxes: Iterable[Box] = [whole(shape)]
    if sharding is not None:
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            raise DtypeError(path, "a dtype that JAX has", dtype.name, "Enable 64-bit types: `jax.enable_x64(True)`.")
        boxes = [_box(index, shape) for index in _indices(path, shape, sharding).values()]
    return Target(path, shape, dtype, aliases, True, is_array(array), tuple(dict.fromkeys(boxes)), held)


def _indices(path: str, shape: tuple[int, ...], sharding: Sharding) -> Mapping[Any, Any]:
    try:
        sharding.shard_shape(shape)
        return sharding.addressable_devices_indices_map(shape)
    except ValueError:
        over = f"{sharding.spec} over {dict(sharding.mesh.shape)}" if isinstance(sharding, NamedSharding) else sharding
        remedy = "Shard it along another axis, or over fewer devices. Nothing was loaded."
        raise ShapeError(path, f"a shape that {over} divides", shape_text(shape), remedy) from None


def _box(index: tuple[slice, ...], shape: tuple[int, ...]) -> Box:
    bounds = (each.indices(length) for each, length in zip(index, shape, strict=True))
    return tuple((start, stop) for start, stop, _ in bounds)


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array that JAX need not copy to have it on the CPU."""
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = np.empty(count + ALIGNED, np.uint8)
    first = -room.ctypes.data % ALIGNED
    return room[first : first + count].view(dtype).reshape(shape)


def is_abstract_or_array(leaf: Any) -> bool:
    """Whether it is an array of numbers, or stands for one."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    return is_array(leaf)


def sharding_of(
    path: str,
    array: Any,
    given: Mapping[str, Sharding] | Sharding,
    spec: PartitionSpec = REPLICATED,
    mesh: Any = None,
) -> Sharding | None:
    """Where an array is to lie: as is given for it, as it lies or says itself, as its place is annotated, or anywhere.

    spec, mesh: the annotation of its place, and the place's own mesh.

    Raises:
        DeviceError: it names the axes of a mesh, and there is none, or none with these axes.
    """
    if isinstance(given, Sharding):
        return given
    if path in given:
        return given[path]
    if isinstance(array, np.ndarray | np.generic):
        return None
    own, over = getattr(array, "sharding", None), _mesh(mesh)
    if isinstance(own, NamedSharding) and isinstance(own.mesh, AbstractMesh):
        own, spec = None, own.spec
    if own is not None:
        return own
    axes = [name for each in spec for name in (each if isinstance(each, tuple) else (each,)) if name is not None]
    if over is None and not axes:
        default = jax.config.jax_default_device  # type: ignore[attr-defined]
        return SingleDeviceSharding(default or jax.local_devices()[0])
    if over is None or not {*axes} <= {*over.axis_names}:
        raise _no_mesh(path, axes, () if over is None else over.axis_names)
    return NamedSharding(over, spec)


def _no_mesh(path: str, axes: Iterable[Any], there: Collection[Any]) -> DeviceError:
    found = f"one with the axes {', '.join(map(str, there))}" if there else _set_instead()
    remedy = "Load within `with jax.set_mesh(mesh):`, or give shardings=... Nothing was loaded."
    return DeviceError(path, f"a mesh with the axes {', '.join(map(str, axes))}", found, remedy)


def _mesh(own: Any) -> Mesh | None:
    """The place's own mesh, or the one that was set; None for an abstract one."""
    if isinstance(own, Mesh):
        return own
    found = jax.sharding.get_mesh()
    return None if found.empty or isinstance(found, AbstractMesh) else found


def _set_instead() -> str:
    """What is set where no mesh is."""
    return "none that is set" if jax.sharding.get_abstract_mesh().empty else "an abstract one, without devices"


def by_paths(shardings: Any, known: Iterable[str]) -> Mapping[str, Sharding] | Sharding:
    """Shardings by path, of a tree of them or a mapping, or the one for all.

    Raises:
        UsageError: what is neither, or a path that the model does not have.
    """
    if shardings is None or isinstance(shardings, Sharding):
        return shardings or {}
    if isinstance(shardings, nnx.State):
        shardings = nnx.to_pure_dict(shardings)
    found = {}
    for keys, leaf in walk(shardings, _members):
        leaf = leaf.value if isinstance(leaf, meta.Partitioned) else leaf
        path = dotted(keys)
        if leaf is None:
            continue
        if not isinstance(leaf, Sharding):
            expected = "a jax.sharding.Sharding, or a tree of them"
            raise UsageError(f"shardings: {path}", expected, type(leaf).__name__, "Give NamedSharding(mesh, spec).")
        if path not in known:
            raise UsageError(f"shardings: {path}", "a path of the model", "none of that name", nearest(path, known))
        found[path] = leaf
    return found


def _members(node: Any) -> Iterable[tuple[Any, Any]] | None:
    return None if node is None or isinstance(node, Sharding | meta.AxisMetadata) else members(node)
