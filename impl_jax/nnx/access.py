"""Access: a live module's table, its parameters one by one, its weights as neutral arrays.

Neutral arrays are NumPy's, in the canonical layout, by path; a tied parameter appears under its owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from ...common.tables import Row, Table
from ...common.ties import Tie
from ..parts import joined, native_shape, parted
from .naming import Leaf, find, leaves


def table(model: nnx.Module, inputs: Sequence[np.ndarray] | None = None) -> Table:
    """The table of a live module.

    inputs: not needed in this wing; a Linen module shows its layers only when called.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return Table(
        tuple(
            Row(
                path=leaf.path,
                shape=leaf.layout.canonical_shape(native_shape(leaf.layout, leaf.variables)),
                dtype=str(leaf.variables[0].dtype),
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


def get_parameter(model: nnx.Module, path: str) -> Any:
    """The live Variable at `path`, not a copy, in its native layout; a tuple where several hold it.

    Raises:
        PathError: no such path, and the nearest one.
    """
    variables = find(model, path).variables
    return variables[0] if len(variables) == 1 else variables


def set_parameter(model: nnx.Module, path: str, value: Any) -> nnx.Module:
    """Write `value` (canonical layout) into the Variable at `path`; every alias sees it. Returns `model`.

    Raises:
        PathError, ShapeError, DtypeError: and the model is as it was.
    """
    table(model).check(path, value)
    write(find(model, path), value)
    return model


def write(leaf: Leaf, value: Any) -> None:
    """Put a canonical array where `leaf` is: in its layout, dtype and device."""
    for variable, part in zip(leaf.variables, parted(leaf.layout, value, len(leaf.variables)), strict=True):
        # By a copy of NumPy's, whose memory JAX would otherwise share: a later write to `value` would reach the model.
        array = np.array(part, variable.dtype, order="C")
        variable[...] = jax.device_put(array, variable[...].sharding)


def state(model: nnx.Module) -> nnx.State:
    """The framework's own state: `nnx.state`, every Variable once."""
    return nnx.state(model)


def weights(model: nnx.Module) -> dict[str, np.ndarray]:
    """Every owner's values by path, as neutral arrays that share no memory with the model."""
    return {leaf.path: neutral(leaf, values(leaf)) for leaf in leaves(model) if leaf.owner == leaf.path}


def values(leaf: Leaf) -> tuple[jax.Array, ...]:
    """What the Variables of a leaf hold."""
    return tuple(variable[...] for variable in leaf.variables)


def neutral(leaf: Leaf, arrays: Sequence[jax.Array]) -> np.ndarray:
    """A NumPy copy, in the canonical layout, of arrays that lie as those of `leaf` do, in their dtype."""
    return joined(leaf.layout, arrays)


def load(model: nnx.Module, weights: Mapping[str, np.ndarray]) -> nnx.Module:
    """Copy neutral weights into the module, all or nothing. Returns `model`.

    Raises:
        WeightsError: one message for every missing, extra and misshapen entry; nothing was changed.
    """
    table(model).check_weights(weights)
    for leaf in leaves(model):
        if leaf.owner == leaf.path:
            write(leaf, weights[leaf.path])
    return model
