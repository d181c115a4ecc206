"""The spec's words for layers, and how Flax spells and stores what a layer of each kind holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import NotExpressibleError
from ..spec import Layer, Native

# By name, the layers that hold parameters; filled where all of them are known, in `layers/__init__`.
KINDS: dict[str, type[Layer]] = {}
Word = str | Callable[[Any], str]


def kind_of(module: Any, words: Mapping[type, Word]) -> str:
    """The spec's word for a framework's module: that of its nearest ancestor in `words`, else its class's own name.

    words: a word, or a function of the module that gives it, for each class.
    A class that only bears the name of one of ours goes by its module's too: nothing is known of its layout.
    """
    own = type(module)
    word = next((words[base] for base in own.__mro__ if base in words), None)
    if word is not None:
        return word if isinstance(word, str) else word(module)
    return f"{own.__module__}.{own.__name__}" if own.__name__ in KINDS else own.__name__


def native(kind: str, name: str) -> Native | None:
    """How Flax spells and stores the parameter `name` of a layer of that kind; None for a kind not in the spec."""
    layer = KINDS.get(kind)
    return layer.native_of(name) if layer else None


def names_in(kind: str, present: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The parameters of a layer of that kind in PyTorch's order; see Layer.names_in."""
    layer = KINDS.get(kind)
    return layer.names_in(present) if layer else []


Maker = TypeVar("Maker")


def maker_in(makers: Mapping[type[Layer], Maker], layer: Layer, path: str, wing: str) -> Maker:
    """What makes a wing's module of a layer: the maker of its class, or of the nearest ancestor that has one.

    Raises:
        NotExpressibleError: a layer that the wing does not know.
    """
    for ancestor in type(layer).__mro__:
        if ancestor in makers:
            return makers[ancestor]
    raise NotExpressibleError(path, f"a layer that the {wing} wing knows", layer.kind, "Use a layer of paritree.")
