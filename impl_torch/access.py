"""Access: a live module's table, its parameters one by one, its weights as neutral arrays.

Neutral arrays are NumPy's, in the canonical layout, by path; a tied parameter appears under its owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..common.errors import ShapeError
from ..common.tables import Row, Table
from ..common.ties import Tie
from .naming import find, leaves


def table(model: nn.Module, inputs: Sequence[np.ndarray] | None = None) -> Table:
    """The table of a live module, as `named_parameters`, `named_buffers` and `state_dict` list it.

    inputs: not needed in this wing; a Linen module shows its layers only when called.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return Table(
        tuple(
            Row(
                path=leaf.path,
                shape=_shape(leaf.array),
                dtype=str(leaf.array.dtype).removeprefix("torch."),
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


def _shape(array: torch.Tensor) -> tuple[int | None, ...]:
    # A lazy parameter has no shape to ask for; what is known of it is that it has a width.
    return (None,) if isinstance(array, (UninitializedParameter, UninitializedBuffer)) else tuple(array.shape)


def get_parameter(model: nn.Module, path: str) -> torch.Tensor:
    """The live Parameter (or buffer) at `path`, not a copy.

    Raises:
        PathError: no such path, and the nearest one.
    """
    return find(model, path).array


def set_parameter(model: nn.Module, path: str, value: Any) -> nn.Module:
    """Write `value` (canonical layout) into the parameter at `path`; every alias sees it. Returns `model`.

    Raises:
        PathError, ShapeError, DtypeError: and the model is as it was.
    """
    table(model).check(path, value)
    with torch.no_grad():
        get_parameter(model, path).copy_(tensor(value))
    return model


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The framework's own state: `state_dict()`, every alias listed."""
    return model.state_dict()


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    """Every owner's values by path, as neutral arrays that share no memory with the model.

    Raises:
        ShapeError: a lazy parameter that has no values yet.
    """
    owners = {leaf.path: leaf.array for leaf in leaves(model) if leaf.owner == leaf.path}
    for path, array in owners.items():
        if isinstance(array, (UninitializedParameter, UninitializedBuffer)):
            raise ShapeError(path, "a shape that is known", "(?,)", "Send an input through the model first.")
    return {path: neutral(array) for path, array in owners.items()}


def neutral(array: torch.Tensor) -> np.ndarray:
    """A NumPy copy of a tensor, of any shape, in its dtype; bfloat16 is ml_dtypes' own."""
    held = array.detach().cpu()
    if held.dtype == torch.bfloat16:
        # A type that NumPy has from this package alone, of which PyTorch does not know.
        import ml_dtypes

        return held.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return held.numpy().copy()


def tensor(array: Any) -> torch.Tensor:
    """A tensor with the values of an array of any framework, in its shape and dtype; a tensor is given back."""
    if isinstance(array, torch.Tensor):
        return array
    # By a copy of NumPy's, since PyTorch takes no array that runs backwards and warns of one that is read-only.
    copied = np.array(array, order="C")
    if copied.dtype.name == "bfloat16":
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copied)


def load(model: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """Copy neutral weights into the module, all or nothing. Returns `model`.

    Raises:
        WeightsError: one message for every missing, extra and misshapen entry; nothing was changed.
    """
    table(model).check_weights(weights)
    with torch.no_grad():
        for leaf in leaves(model):
            if leaf.owner == leaf.path:
                leaf.array.copy_(tensor(weights[leaf.path]))
    return model
