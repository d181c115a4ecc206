"""Natives: a live model's tensors as its framework stores them, before any layer of ours is known.

A map is about these. A path is the framework's own, dotted: `h.0.attn.c_attn.weight` in PyTorch,
`params.h_0.attn.c_attn.kernel` in Linen (the collection first), `h.0.attn.c_attn.kernel` in NNX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import WeightsError


@dataclass(frozen=True)
class Native:
    """One tensor of a live model, under the first of its paths.

    array: what it holds, as a NumPy array that is not to be written to.
    trainable: whether it is a parameter; buffers and statistics are none.
    saved: whether the framework saves it with the model.
    aliases: the other paths of the same tensor.
    keys: the components of the path as the framework has them; a list's are whole numbers.
    frozen: a parameter that the framework was told to leave alone in training.
    """

    path: str
    array: np.ndarray
    trainable: bool
    saved: bool = True
    aliases: tuple[str, ...] = ()
    keys: tuple[str | int, ...] = ()
    frozen: bool = False

    @property
    def is_floating(self) -> bool:
        """Whether it holds floating-point numbers, bfloat16 and its like included, which NumPy has from elsewhere."""
        return "float" in self.array.dtype.name


def check_fit(shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Any]) -> None:
    """Refuse arrays that are for none of a model's owners, whose shapes are given, or not of its owner's shape.

    Raises:
        WeightsError: one message for all of them.
    """
    if not isinstance(arrays, Mapping):
        raise WeightsError("", "a mapping from paths to arrays", type(arrays).__name__)
    faults = [f"{path} {misfit}" for path, array in arrays.items() if (misfit := _misfit(shapes.get(path), array))]
    if faults:
        raise WeightsError(
            "",
            "arrays for owners of the model, in their native shapes",
            f"{len(faults)} that {'does' if len(faults) == 1 else 'do'} not fit: " + "; ".join(faults),
            "Nothing was changed.",
        )


def _misfit(shape: tuple[int, ...] | None, array: Any) -> str:
    """What is wrong with an array for an owner of that shape; empty if nothing is."""
    if shape is None:
        return "is no owner's path"
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        return f"is no array but {type(array).__name__}"
    if tuple(array.shape) != tuple(shape):
        return f"has shape {tuple(array.shape)} and needs {tuple(shape)}"
    return ""
