"""Names: every parameter of a live `nnx.Module` with its path and its native path.

A path drops what PyTorch does not spell: `layers` of an nnx.Sequential. Layers that the spec knows have their
parameters under PyTorch's names; any other Variable keeps its name and its layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from flax import nnx

from ...common import layers as spec_layers
from ...common import paths
from ...common.errors import PathError, nearest
from ...common.layouts import STORED, Layout
from ...common.tables import Kind, once
from .layers import Block, Decoder, FixedLinear

# The spec's words for NNX's classes and what derives from them; any other class goes by its own name.
KINDS: dict[type, str] = {
    nnx.Linear: "Linear",
    nnx.Embed: "Embedding",
    Decoder: "Decoder",
    FixedLinear: "FixedLinear",
}

# What can hold a Variable: a plain container does where it is marked as data.
NODES = (nnx.Pytree, list, tuple, dict)

# What an nnx.Module keeps in its __dict__ for itself.
BOOKKEEPING = frozenset({"_pytree__state", "_pytree__nodes", "_length"})


class Leaf(NamedTuple):
    """One path of a live model. `owner` is the path itself, or for an alias the path it repeats."""

    path: str
    native_path: tuple[str | int, ...]
    array: Any
    kind: Kind
    layer: str
    layout: Layout
    owner: str
    persistent: bool


def leaves(model: nnx.Module, inputs: Any = None) -> Iterator[Leaf]:
    """Every Param and other Variable under every path it has, in order of registration.

    Random state is left out: it is no part of what the model has learnt.
    inputs: not needed in this wing; a Linen module shows its layers only when called.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return once(_leaves(model))


def shown(model: nnx.Module, inputs: Any) -> nnx.Module:
    """The model itself: only a Linen module needs the inputs of a call to show its layers."""
    return model


def _leaves(model: nnx.Module) -> Iterator[Leaf]:
    owners: dict[int, str] = {}
    for path, native, node in nodes(model):
        kind = spec_layers.kind_of(type(node), KINDS)
        for name, value in _members(node):
            if isinstance(value, nnx.Variable) and not isinstance(value, nnx.RngState):
                yield _leaf(path, native, name, value, kind, owners)


def nodes(model: nnx.Module) -> Iterator[tuple[str, tuple[str | int, ...], Any]]:
    """Everything that holds a Variable or may, under every path and native path it has: modules and containers.

    A module may hold one that holds it: such a second visit would never end, and adds no name.
    """
    pending: list[tuple[str, tuple[str | int, ...], Any, frozenset[int]]] = [("", (), model, frozenset())]
    while pending:
        path, native, node, above = pending.pop()
        yield path, native, node
        above |= {id(node)}
        children = []
        for name, value in _members(node):
            if isinstance(value, NODES) and not isinstance(value, nnx.Variable) and id(value) not in above:
                component = "" if isinstance(node, nnx.Sequential) and name == "layers" else str(name)
                children.append((paths.join(path, component), (*native, name), value, above))
        pending.extend(reversed(children))


def _members(node: Any) -> list[tuple[str | int, Any]]:
    """What a module or container holds, in order of registration where it is known.

    NNX sorts attributes by name whenever it puts a graph together again, so that a bias comes before its kernel and
    a tie's alias before its owner. For the layers of the spec and for Block the order is known; a List counts.
    """
    if isinstance(node, (list, tuple)):
        return list(enumerate(node))
    if isinstance(node, dict):
        return list(node.items())
    held = {name: value for name, value in vars(node).items() if name not in BOOKKEEPING}
    if isinstance(node, nnx.List):
        return [(number, held[str(number)]) for number in range(len(node))]
    kind = spec_layers.kind_of(type(node), KINDS)
    order = node.registered if isinstance(node, Block) else spec_layers.native_order(kind)
    first: list[tuple[str | int, Any]] = [(name, held.pop(name)) for name in order if name in held]
    return [*first, *held.items()]


def _leaf(path: str, native: tuple[Any, ...], name: Any, value: Any, layer: str, owners: dict[int, str]) -> Leaf:
    canonical = spec_layers.canonical_name(layer, str(name))
    known = spec_layers.native(layer, canonical) if canonical else None
    if known and not known.layout.is_identity and len(value.shape) != 2:
        # Layers in a stack, as vmap and scan make them, have an axis that no layout of the spec names.
        canonical = known = None
    leaf_path = paths.join(path, canonical or str(name))
    return Leaf(
        path=leaf_path,
        native_path=(*native, name),
        array=value,
        kind="parameter" if isinstance(value, nnx.Param) else "buffer",
        layer=layer,
        layout=known.layout if known else STORED,
        owner=owners.setdefault(id(value), leaf_path),
        persistent=True,
    )


def find(model: nnx.Module, path: str) -> Leaf:
    """The leaf at `path`; raises PathError naming the nearest path."""
    for leaf in leaves(model):
        if leaf.path == path:
            return leaf
    raise PathError(
        path, "a path of the model", "none of that name", nearest(path, (leaf.path for leaf in leaves(model)))
    )


def native_path(model: nnx.Module, path: str) -> tuple[str | int, ...]:
    """How NNX spells `path`: `('layers', 0, 'kernel')`. Raises PathError."""
    return find(model, path).native_path


def path_of(model: nnx.Module, native: tuple[str | int, ...]) -> str:
    """The path of a native path. Raises PathError."""
    known = {leaf.native_path: leaf.path for leaf in leaves(model)}
    if native in known:
        return known[native]
    names = ["/".join(map(str, item)) for item in known]
    wanted = "/".join(map(str, native))
    raise PathError(wanted, "a native path of the model", "none of that name", nearest(wanted, names))
