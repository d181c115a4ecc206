"""What the maker of a module is told besides the layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ....common.spec import Layer
from ...draws import NativeInit


@dataclass(frozen=True)
class At:
    """Where and as what a module is made. Its variables are drawn afterwards.

    init: the spec's initializer of a parameter as Flax calls one, which `module.init` uses.
    owner: gives the module, already made, that a reference of the layer means by its path.
    """

    path: str
    dtype: Any
    init: Callable[[str], NativeInit]
    owner: Callable[[str], Any]


Maker = Callable[[Any, At], Any]
Makers = dict[type[Layer], Maker]


def functions(makers: Mapping[type[Layer], Callable[[Any], Any]]) -> Makers:
    """The makers of what is a plain function here."""
    return {layer: lambda layer, at, make=make: make(layer) for layer, make in makers.items()}
