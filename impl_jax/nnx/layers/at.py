"""What the maker of a module is told besides the layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flax import nnx

from ....common.spec import Layer


@dataclass(frozen=True)
class At:
    """Where and as what a module is made. Its values are drawn afterwards.

    owner: gives the module, already made, that a reference of the layer means by its path.
    seed: of what a module draws in training.
    """

    path: str
    dtype: Any
    owner: Callable[[str], Any]
    seed: int

    @property
    def rngs(self) -> nnx.Rngs:
        """What constructors ask for; Dropout draws from it."""
        return nnx.Rngs(0, dropout=self.seed)


Maker = Callable[[Any, At], Any]
Makers = dict[type[Layer], Maker]


def functions(makers: Mapping[type[Layer], Callable[[Any], Any]]) -> Makers:
    """The makers of what is a plain function here."""
    return {layer: lambda layer, at, make=make: make(layer) for layer, make in makers.items()}
