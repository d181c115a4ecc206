"""Access: a live model's table, its parameters one by one, its weights as neutral arrays.

A model is `(module, variables)`. Nothing is changed in place: what sets a value returns a new model.
Neutral arrays are NumPy's, in the canonical layout, by path; a tied parameter appears under its owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from flax.core import meta

from ...common.tables import Row, Table
from ...common.ties import Tie
from ..parts import joined, native_shape, parted
from .naming import Leaf, Model, find, leaves, like


def table(model: Model, inputs: Sequence[np.ndarray] | None = None) -> Table:
    """The table of a live model.

    inputs: arrays of one call, to learn the layers of a module that does not show them; without them its names and
        layouts are those that are stored.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
        NotExpressibleError: one native path in two collections.
    """
    return Table(
        tuple(
            Row(
                path=leaf.path,
                shape=leaf.layout.canonical_shape(native_shape(leaf.layout, leaf.arrays)),
                dtype=str(leaf.arrays[0].dtype),
                kind=leaf.kind,
                layer=leaf.layer,
                tie=None if leaf.owner == leaf.path else Tie(leaf.owner, leaf.path),
                native_path=leaf.native_path,
                layout=leaf.layout,
                persistent=leaf.persistent,
            )
            for leaf in leaves(model, inputs)
        )
    )


def get_parameter(model: Model, path: str) -> Any:
    """The array at `path` as it is stored, in its native layout; a tuple where several hold it.

    Raises:
        PathError: no such path, and the nearest one.
    """
    arrays = find(model, path).arrays
    return arrays[0] if len(arrays) == 1 else arrays


def set_parameter(model: Model, path: str, value: Any) -> Model:
    """A new model with `value` (canonical layout) at `path`; every alias sees it. `model` is as it was.

    Raises:
        PathError, ShapeError, DtypeError: no such path, or a value that does not fit it.
    """
    table(model).check(path, value)
    return replaced(model, placed(find(model, path), value))


def placed(leaf: Leaf, value: Any) -> dict[tuple[str, ...], jax.Array]:
    """A canonical array as `leaf` has it, by place in the variables: in its layout, its dtype and on its device."""
    found = {}
    parts = parted(leaf.layout, value, len(leaf.arrays))
    for place, old, part in zip(leaf.stored_at, leaf.arrays, parts, strict=True):
        # By a copy of NumPy's, whose memory JAX would otherwise share: a later write to `value` would reach the model.
        found[place] = jax.device_put(np.array(part, old.dtype, order="C"), old.sharding)
    return found


def replaced(model: Model, arrays: Mapping[tuple[str, ...], jax.Array]) -> Model:
    """The model with some of its arrays replaced, by their place in the variables."""
    module, variables = model
    flat: dict[Any, Any] = traverse_util.flatten_dict(dict(variables))
    for place, array in arrays.items():
        # A box notes how an array is to be partitioned; it stays.
        boxed = isinstance(flat[place], meta.AxisMetadata)
        flat[place] = flat[place].replace_boxed(array) if boxed else array
    return like(model, module, traverse_util.unflatten_dict(flat))


def state(model: Model) -> Mapping[str, Any]:
    """The framework's own state: the variables."""
    return model[1]


def weights(model: Model) -> dict[str, np.ndarray]:
    """Every owner's values by path, as neutral arrays that share no memory with the model."""
    return {leaf.path: neutral(leaf, leaf.arrays) for leaf in leaves(model) if leaf.owner == leaf.path}


def neutral(leaf: Leaf, arrays: Sequence[jax.Array]) -> np.ndarray:
    """A NumPy copy, in the canonical layout, of arrays that lie as those of `leaf` do, in their dtype."""
    return joined(leaf.layout, arrays)


def load(model: Model, weights: Mapping[str, np.ndarray]) -> Model:
    """A new model with the neutral weights, all or nothing. `model` is as it was.

    Raises:
        WeightsError: one message for every missing, extra and misshapen entry.
    """
    table(model).check_weights(weights)
    arrays: dict[tuple[str, ...], jax.Array] = {}
    for leaf in leaves(model):
        if leaf.owner == leaf.path:
            arrays.update(placed(leaf, weights[leaf.path]))
    return replaced(model, arrays)
