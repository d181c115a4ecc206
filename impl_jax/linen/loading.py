"""Filling a Linen model's variables, sharded as the boxes around them say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import linen
from flax.core import meta
from flax.linen.spmd import logical_to_mesh_axes
from jax.sharding import PartitionSpec

from ...common.errors import UsageError
from ...common.wing import Target
from ..loading import REPLICATED, Held, by_paths, is_abstract_or_array, sharding_of, target
from ..loading import holders as holders
from ..loading import part as part
from ..loading import placed as placed
from ..loading import processes as processes
from ..trees import by_path, filled, leaves_of, unboxed
from .naming import Model, like


def targets(model: Model, shardings: Any = None) -> dict[str, Target]:
    """See `Loader`: every array of the variables by its path, live or abstract."""
    found = by_path((keys, leaf) for keys, leaf in leaves_of(model[1]) if is_abstract_or_array(unboxed(leaf)))
    if not found:
        raise UsageError("like", "variables with arrays, live or abstract", "none", "Give those of `module.init`.")
    given = by_paths(shardings, found)
    made = {}
    for path, (keys, leaf) in found.items():
        array = unboxed(leaf)
        sharding = sharding_of(path, array, given, _spec(leaf), getattr(leaf, "mesh", None))
        made[path] = target(path, Held(keys, array, sharding))
    return made


def with_placed(model: Model, targets: Mapping[str, Target], arrays: Mapping[str, Any]) -> Model:
    """See `Loader`: a new model. `model` is as it was."""
    module, variables = model
    return like(model, module, filled(variables, {targets[path].held.keys: array for path, array in arrays.items()}))


def _spec(leaf: Any) -> PartitionSpec:
    """What a box says, its logical axes by the rules that are set."""
    if isinstance(leaf, linen.LogicallyPartitioned):
        return logical_to_mesh_axes(leaf.names, leaf.rules) or REPLICATED
    return leaf.get_partition_spec() if isinstance(leaf, meta.Partitioned) else REPLICATED
