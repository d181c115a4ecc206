"""A Linen model over the mesh under test: sharded as its pair says, and where its arrays lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Sharding

from ...common.wing import StoredTensor
from ..meshes import abstract, as_planned, given_shardings, loosened, lying
from .loading import targets
from .naming import Model, like
from .stored import stored_tensors, with_stored_tensors


def sharded(model: Model) -> Model:
    """The model as the plan that `running` was entered with shards it, a copy; itself where it says nothing."""
    return as_planned(model, lambda own: like(own, own[0], jax.tree.map(loosened, own[1])))


def sharded_tensors(model: Model, arrays: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """See `SideWing`."""
    return stored_tensors(sharded(with_stored_tensors(model, arrays)))


def places(model: Model) -> dict[str, Sharding]:
    """Where each array lies: as is given, as it lies on the mesh, as its box says, or whole on each device."""
    return lying(targets(like(model, model[0], abstract(model[1])), given_shardings()))
