"""A mesh of eight devices, and what a model has on it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.core import meta
from jax.sharding import AxisType, Mesh


def mesh() -> Mesh:
    """Of eight devices, of however many processes."""
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def share(held: dict[str, Any]) -> int:
    """The bytes of what this process holds of arrays, what is replicated once."""
    shards = {(path, str(each.index)): each for path, array in held.items() for each in array.addressable_shards}
    return sum(each.data.nbytes for each in shards.values())


def state_of(model: nnx.Module) -> dict[str, jax.Array]:
    return {
        ".".join(map(str, keys)): each.get_raw_value() for keys, each in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }


def tree_of(variables: Any) -> dict[str, jax.Array]:
    flat = jax.tree_util.tree_flatten_with_path(meta.unbox(variables))[0]
    return {".".join(key.key for key in keys): array for keys, array in flat}


def check_equal(held: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    assert held.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(np.asarray(held[path]), array, err_msg=path, strict=True)
