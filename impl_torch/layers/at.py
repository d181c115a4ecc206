"""What the maker of a module is told besides the layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...common.spec import Layer


@dataclass(frozen=True)
class At:
    """Where and as what a module is made. Its values are drawn afterwards.

    owner: gives the module, already made, that a reference of the layer means by its path.
    """

    path: str
    device: torch.device
    dtype: torch.dtype
    owner: Callable[[str], Any]

    @property
    def placement(self) -> dict[str, Any]:
        """The device and dtype as keyword arguments of a module's constructor."""
        return {"device": self.device, "dtype": self.dtype}


Maker = Callable[[Any, At], nn.Module]
Makers = dict[type[Layer], Maker]
