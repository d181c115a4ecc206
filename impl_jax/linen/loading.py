"""Filling a Linen model's variables, sharded as the boxes around them say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import linen
from flax.core import meta
from flax.linen.spmd import logical_to_mesh_axes
from jax.sharding import PartitionSpec

from ...common.errors import UsageError
from ...common.wing import Spread, Target
from ..loading import REPLICATED, Place, as_spread, as_targets, is_abstract_or_array
from ..loading import holders as holders
from ..loading import part as part
from ..loading import placed as placed
from ..loading import processes as processes
from ..trees import by_path, filled, leaves_of, unboxed
from .naming import Model, like


def targets(model: Model, shardings: Any = None) -> dict[str, Target]:
    """See `Loader`: every array of the variables by its path, live or abstract."""
    return as_targets(_places(model), shardings)


def spread(model: Model, processes: int | None = None, shardings: Any = None, mesh: Any = None) -> dict[str, Spread]:
    """See `Loader`."""
    return as_spread(_places(model), processes, shardings, mesh)


def _places(model: Model) -> dict[str, Place]:
    found = by_path((keys, leaf) for keys, leaf in leaves_of(model[1]) if is_abstract_or_array(unboxed(leaf)))
    if not found:
        raise UsageError("like", "variables with arrays, live or abstract", "none", "Give those of `module.init`.")
    return {
        path: Place(keys, unboxed(leaf), _spec(leaf), getattr(leaf, "mesh", None))
        for path, (keys, leaf) in found.items()
    }


def with_placed(model: Model, targets: Mapping[str, Target], arrays: Mapping[str, Any]) -> Model:
    """See `Loader`: a new model. `model` is as it was."""
    module, variables = model
    return like(model, module, filled(variables, {targets[path].held.keys: array for path, array in arrays.items()}))


def _spec(leaf: Any) -> PartitionSpec:
    """What a box says, its logical axes by the rules that are set."""
    if isinstance(leaf, linen.LogicallyPartitioned):
        return logical_to_mesh_axes(leaf.names, leaf.rules) or REPLICATED
    return leaf.get_partition_spec() if isinstance(leaf, meta.Partitioned) else REPLICATED
