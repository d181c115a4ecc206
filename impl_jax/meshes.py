"""The mesh under test: where a port's arrays lie on it, and what comes back from it.

A port with a mesh runs on that mesh in the contract that is about it, and in all others on one of a single device with
the same axes: its program finds the axes that it names either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.core.meta import AxisMetadata, Partitioned
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from ..common.errors import NotExpressibleError, ShapeError, UsageError
from ..common.tables import shape_text
from ..common.wing import PairError, Plan, Target, reported

# The plan with the mesh that is set, where a port has one.
_PLAN: ContextVar[Plan | None] = ContextVar("plan of the port", default=None)
_BOTH = "a port that runs on the mesh that is set, which is one of a single device in all contracts but one"
_NAMED = (
    "Let its call name axes alone, as PartitionSpec('data') does under jax.set_mesh, or take the mesh as an argument: "
    "call(model, inputs, mesh)."
)
_SPECS = "a PartitionSpec for all inputs, or one for each by position or name"


@contextmanager
def laid_out(plan: Plan | None) -> Iterator[None]:
    """Whatever is made ready or run meanwhile lies on the plan's mesh, or on one of the device under test.

    Raises:
        UsageError: no mesh of JAX's. NotExpressibleError: it lies on other devices than the one under test, or over
            several processes.
    """
    if plan is None:
        yield
        return
    mesh = _alone(_checked(plan.mesh)) if plan.is_alone else _checked(plan.mesh)
    _check_devices(mesh)
    entered = _PLAN.set(dataclasses.replace(plan, mesh=mesh, apart=plan.apart))
    try:
        with jax.set_mesh(mesh):
            yield
    except ValueError as error:
        if plan.is_alone and "incompatible devices" in str(error):
            found = error.found if isinstance(error, PairError) else f"{type(error).__name__}: {error}"
            raise PairError("port", _BOTH, found, _NAMED) from error
        raise
    finally:
        _PLAN.reset(entered)


def _checked(mesh: Any) -> Mesh:
    if not isinstance(mesh, Mesh):
        remedy = "Make one: jax.make_mesh((4, 2), ('data', 'model'))."
        raise UsageError("mesh", "a jax.sharding.Mesh for a port that JAX runs", type(mesh).__name__, remedy)
    return mesh


def _alone(mesh: Mesh) -> Mesh:
    """A mesh of the device under test alone, with the axes of another one."""
    return Mesh(
        np.array([device_under_test()]).reshape((1,) * mesh.devices.ndim), mesh.axis_names, axis_types=mesh.axis_types
    )


def _check_devices(mesh: Mesh) -> None:
    device = device_under_test()
    platform = mesh.devices.flat[0].platform
    if platform != device.platform:
        found, remedy = f"one of {platform}", f"It is checked with the device {platform!r}."
        raise NotExpressibleError("mesh", f"a mesh of devices of {device.platform}", found, remedy)
    if mesh.is_multi_process:
        remedy = "Check it in one process with XLA_FLAGS=--xla_force_host_platform_device_count=8, say."
        raise NotExpressibleError("mesh", "a mesh whose devices are this process' own", "one of several", remedy)


def device_under_test() -> Any:
    """The one that arrays go to by themselves, also where a mesh is set."""
    (device,) = jax.device_put(np.zeros(())).devices()
    return device


def meshed() -> bool:
    """Whether a mesh is under test."""
    return _PLAN.get() is not None


def plan_under_test() -> Plan:
    """The plan with the mesh that is set, which is that of one device where it is to be alone."""
    plan = _PLAN.get()
    assert plan is not None, "only where `meshed` is true"
    return plan


def mesh_under_test() -> Mesh:
    return plan_under_test().mesh


def laid(array: jax.Array, sharding: Sharding) -> jax.Array:
    """An array of one device, laid out over the mesh; by way of the host, since an explicit mesh cuts no other's."""
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.extended)
    return jax.device_put(array if is_key else np.asarray(array), sharding)


def replicated() -> NamedSharding:
    """Whole on each device of the mesh under test."""
    return NamedSharding(mesh_under_test(), PartitionSpec())


def inputs_lie(name: str | int, shape: tuple[int, ...]) -> NamedSharding:
    """Where an input lies, by its name or position.

    Raises:
        UsageError: what is no sharding of inputs. ShapeError: one that does not divide it.
    """
    given, mesh = plan_under_test().input_sharding, mesh_under_test()
    of = given
    if isinstance(given, Mapping):
        of = given.get(name)
    elif isinstance(given, list | tuple) and not isinstance(given, PartitionSpec):
        of = given[name] if isinstance(name, int) and name < len(given) else None
    spec = PartitionSpec() if of is None else of.spec if isinstance(of, NamedSharding) else of
    if not isinstance(spec, PartitionSpec):
        raise UsageError("input_sharding", _SPECS, type(of).__name__, "For example PartitionSpec('data').")
    sharding = NamedSharding(mesh, PartitionSpec(*spec[: len(shape)]))
    try:
        sharding.shard_shape(shape)
    except ValueError:
        expected = f"a shape that {spec} over {dict(mesh.shape)} divides"
        raise ShapeError(f"inputs.{name}", expected, shape_text(shape), "Give the pair a larger batch.") from None
    return sharding


def abstract(tree: Any) -> Any:
    """A tree with arrays that lie on the mesh as they are, and in the place of all others what says no place."""
    devices = {*mesh_under_test().devices.flat}

    def of(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        own, sharding = getattr(leaf, "sharding", None), None
        if isinstance(own, NamedSharding) and (len(own.device_set) > 1 or {*own.device_set} == devices):
            sharding = NamedSharding(mesh_under_test(), own.spec)
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
        dtype = leaf.dtype if is_key else jax.dtypes.canonicalize_dtype(leaf.dtype)
        return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding)

    return jax.tree.map(of, tree)


def beside(state: Any, array: jax.Array) -> Any:
    """An optimizer's state for a parameter: what has its shape lies as it does, and the rest on all of its devices."""
    own = array.sharding
    whole = NamedSharding(own.mesh, PartitionSpec()) if isinstance(own, NamedSharding) else own
    return jax.tree.map(lambda each: jax.device_put(each, own if each.shape == array.shape else whole), state)


def fetched(tree: Any) -> Any:
    """Arrays as NumPy's. Of what several devices are to hold alike it is remembered where they do not."""
    if not meshed() or plan_under_test().is_alone:
        return jax.device_get(tree)
    return jax.tree.map(_fetched, tree)


def _fetched(array: Any) -> np.ndarray:
    found = np.asarray(array)
    if isinstance(array, jax.Array):
        plan_under_test().keep(found, _apart(array))
    return found


def _apart(array: jax.Array) -> float:
    """How far the copies of a shard differ that devices hold, of the largest norm of one."""
    first: dict[Any, np.ndarray] = {}
    most = 0.0
    for shard in array.addressable_shards:
        place = tuple((each.start, each.stop) for each in shard.index)
        held = np.asarray(shard.data)
        one = first.setdefault(place, held)
        if one is not held and one.dtype.kind == "f":
            size = max(float(np.linalg.norm(one)), float(np.linalg.norm(held)))
            apart = float(np.linalg.norm(held.astype(np.float64) - one))
            most = max(most, apart / size if apart and np.isfinite(apart) else apart)
    return most


def tell_lying(arrays: Any, program: Callable[[], str]) -> None:
    """Tell the plan of a run on all devices what lies in parts: parameters, other arrays and inputs, by `arrays`."""
    if not meshed() or plan_under_test().is_alone:
        return
    plan = plan_under_test()
    parts = [[not each.sharding.is_fully_replicated for each in jax.tree.leaves(tree)] for tree in arrays]
    text = f"{sum(parts[0])} of {len(parts[0])} parameters and {sum(parts[2])} of {len(parts[2])} inputs lie in parts"
    is_mapped = "shard_map" in program()
    plan.told[text + ", and the program has parts by shard_map" * is_mapped] = any(map(any, parts)) or is_mapped


def given_shardings() -> Any:
    """What the pair says of where arrays lie, over the mesh that is set; None for nothing, or for a function."""
    given = plan_under_test().sharding
    if given is None or callable(given):
        return None
    tree = nnx.to_pure_dict(given) if isinstance(given, nnx.State) else given
    return jax.tree.map(_over, tree, is_leaf=lambda each: isinstance(each, PartitionSpec | Sharding | AxisMetadata))


def _over(each: Any) -> Any:
    own = each.value if isinstance(each, Partitioned) else each
    if isinstance(own, PartitionSpec | NamedSharding):
        return NamedSharding(mesh_under_test(), own.spec if isinstance(own, NamedSharding) else own)
    return own


def lying(targets: Mapping[str, Target]) -> dict[str, Sharding]:
    """Where arrays lie on the mesh that is set, by path; those whose place says another mesh on this one too."""
    return {path: _over(each.held.sharding) for path, each in targets.items()}


def loosened(leaf: Any) -> Any:
    """An array that lies on one device, as one that goes where it is needed: to any mesh that is set."""
    if not isinstance(leaf, jax.Array) or len(leaf.sharding.device_set) > 1:
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = jax.device_put(np.asarray(jax.random.key_data(leaf)))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.device_put(np.asarray(leaf))


def as_planned(model: Any, copied: Callable[[Any], Any]) -> Any:
    """The model as the pair's function shards it, a copy; the model itself where there is none, or it is to be alone.

    copied: makes the copy, its arrays loosened.

    Raises:
        UsageError: the function gives what is no such model. PairError: it raises.
    """
    plan = _PLAN.get()
    if plan is None or plan.is_alone or not callable(plan.sharding):
        return model
    with reported("port_sharding", "a function (model, mesh) that gives the sharded model", ""):
        own = copied(model)
        made = plan.sharding(own, plan.mesh)
    if made is not None and type(made) is not type(model):
        expected = f"a function (model, mesh) that gives a {type(model).__name__}"
        raise UsageError("port_sharding", expected, type(made).__name__, "Let it return the sharded model.")
    return own if made is None else made
