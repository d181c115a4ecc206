"""Filling an NNX module, or its state, sharded as the annotations of its Variables say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from flax import nnx
from jax.sharding import PartitionSpec

from ...common.errors import UsageError
from ...common.wing import Spread, Target
from ..loading import REPLICATED, Place, as_spread, as_targets, is_abstract_or_array
from ..loading import holders as holders
from ..loading import part as part
from ..loading import placed as placed
from ..loading import processes as processes
from ..trees import Keys, arrays_of, by_path, filled
from .stored import aliases, entries, places, replaced, value_of


def targets(model: nnx.Module | nnx.State, shardings: Any = None) -> dict[str, Target]:
    """See `Loader`: every array of the state by its path, live or abstract."""
    return as_targets(_places(model), shardings)


def spread(
    model: nnx.Module | nnx.State, processes: int | None = None, shardings: Any = None, mesh: Any = None
) -> dict[str, Spread]:
    """See `Loader`."""
    return as_spread(_places(model), processes, shardings, mesh)


def _places(model: nnx.Module | nnx.State) -> dict[str, Place]:
    found: list[tuple[Keys, Any]] = []
    for keys, entry in entries(model):
        for place, array in arrays_of(value_of(entry), keys, is_abstract_or_array):
            found.append((place, (keys, entry, array)))
    listed = by_path(found)
    if not listed:
        raise UsageError("like", "a model with arrays, live or abstract", "none", "Give one with its Variables.")
    shared = {} if isinstance(model, nnx.State) else places(model)
    made = {}
    for path, (place, (keys, entry, array)) in listed.items():
        spec = _spec(entry) if place == keys else REPLICATED
        mesh = entry.get_metadata().get("mesh") if isinstance(entry, nnx.Variable) else None
        made[path] = Place(place, array, spec, mesh, aliases(shared, entry, keys, place))
    return made


def with_placed(
    model: nnx.Module | nnx.State, targets: Mapping[str, Target], arrays: Mapping[str, Any]
) -> nnx.Module | nnx.State:
    """See `Loader`: the module itself, its Variables with new arrays, or a new state."""
    new = {targets[path].held.keys: array for path, array in arrays.items()}
    if isinstance(model, nnx.State):
        flat = [(keys, _entry(entry, new, cast(Keys, keys))) for keys, entry in nnx.to_flat_state(model)]
        return nnx.from_flat_state(flat)
    return replaced(model, new)


def _spec(entry: Any) -> PartitionSpec:
    if not isinstance(entry, nnx.Variable):
        return REPLICATED
    return nnx.get_partition_spec(entry).get_raw_value() or REPLICATED


def _entry(entry: Any, new: Mapping[Keys, Any], keys: Keys) -> Any:
    if isinstance(entry, nnx.Variable):
        return entry.replace(filled(value_of(entry), new, keys))
    return new.get(keys, entry)
