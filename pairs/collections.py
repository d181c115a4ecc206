"""Collections: the parts of a bare pytree that hold tensors of the same modules, as those of Linen's variables do."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from ..common import paths

Shape = tuple[int, ...]
# By module the tensors that stand in it, by name.
Modules = Mapping[str, Mapping[str, Shape]]


def collections(shapes: Mapping[str, Shape]) -> frozenset[str]:
    """The keys at the top of a tree, given the shapes by path, that stand before the paths of modules.

    Below one of them are further tensors of modules of another one, as running averages are: of other names, and of
    shapes that the module has there too. An encoder and a decoder have modules of the same paths and of the same names.
    """
    found: dict[str, dict[str, dict[str, Shape]]] = {}
    for path, shape in shapes.items():
        key, _, inside = path.partition(".")
        found.setdefault(key, {}).setdefault(paths.parent(inside), {})[paths.leaf(inside)] = shape
    pairs = permutations(found, 2)
    return frozenset(key for one, other in pairs if _adds(found[one], found[other]) for key in (one, other))


def _adds(some: Modules, to: Modules) -> bool:
    """Whether one has nothing but further tensors of the other's modules; a tree's root is none."""
    return "" not in some and all(
        module in to and own.keys().isdisjoint(to[module]) and {*own.values()} <= {*to[module].values()}
        for module, own in some.items()
    )
