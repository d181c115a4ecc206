"""An NNX module over the mesh under test: sharded as its pair says, and where its arrays lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Sharding

from ...common.wing import StoredTensor
from ..meshes import abstract, as_planned, given_shardings, loosened, lying
from .loading import targets
from .stored import stored_tensors, with_stored_tensors


def sharded(model: nnx.Module) -> nnx.Module:
    """The module as the plan that `running` was entered with shards it, a copy; itself where it says nothing."""
    return as_planned(model, _loosened)


def sharded_tensors(model: nnx.Module, arrays: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """See `SideWing`."""
    return stored_tensors(sharded(with_stored_tensors(nnx.clone(model), arrays)))


def places(model: nnx.Module) -> dict[str, Sharding]:
    """Where each array lies: as is given, as it lies on the mesh, as its Variable says, or whole on each device."""
    graph, state = nnx.split(model)
    return lying(targets(nnx.merge(graph, abstract(state)), given_shardings()))


def _loosened(model: nnx.Module) -> nnx.Module:
    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(loosened, state))
