"""Sharding: how a port is laid out over several devices or processes. No framework is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import numpy as np

# The axis that PyTorch's processes are, where no mesh names several.
PROCESSES = "processes"


@dataclass(frozen=True, eq=False)
class Plan:
    """How a port is sharded, as its pair says; see `Pair`.

    processes: how many there are, where PyTorch runs it. random_state: of its generator before any model was made.
    is_alone: to be run on one device all the same: on a mesh of one device with the same axes, or in one process.
    told: of a run on all devices how things lie, in words, and whether that is in parts.
    apart: of arrays that a run on many devices gave, how far copies differ that are to be one, by the array's identity.
    """

    mesh: Any = None
    sharding: Any = None
    input_sharding: Any = None
    is_alone: bool = True
    processes: int = 1
    random_state: Any = None
    told: dict[str, bool] = field(default_factory=dict, repr=False)
    apart: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict, repr=False)

    @property
    def spread(self) -> Plan:
        """The same, over all of its devices."""
        return replace(self, is_alone=False, told={}, apart={})

    @property
    def axes(self) -> dict[str, int]:
        """How long each axis of the mesh is, by its name; of processes without a mesh how many there are."""
        shape = getattr(self.mesh, "shape", ())
        if isinstance(shape, Mapping):
            return dict(shape)
        names = getattr(self.mesh, "mesh_dim_names", None) or [str(number) for number in range(len(shape))]
        return dict(zip(names, shape, strict=True)) if shape else {PROCESSES: self.processes}

    def difference(self, array: np.ndarray) -> float:
        """By how much of its norm the copies of an array differ that devices or processes hold; 0 where they agree."""
        return self.apart.get(id(array), (array, 0.0))[1]

    def keep(self, array: np.ndarray, difference: float) -> None:
        """Remember of an array that its copies differ."""
        if difference:
            self.apart[id(array)] = array, difference


def takes_mesh(call: Callable[..., Any]) -> bool:
    """Whether a function wants to be told the mesh that it runs on, by an argument of that name."""
    try:
        return "mesh" in signature(call).parameters
    except (TypeError, ValueError):
        return False
