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
from ...common.layouts import SAME, Layout
from ...common.tables import Kind
from .layers import Block, Decoder, FixedLinear

# The spec's word for what NNX calls otherwise; any other class goes by its own name.
KINDS: dict[type, str] = {
    nnx.Linear: "Linear",
    nnx.Embed: "Embedding",
    Decoder: "Decoder",
    FixedLinear: "FixedLinear",
}

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
    holder: nnx.Module


def leaves(model: nnx.Module, inputs: Any = None) -> Iterator[Leaf]:
    """Every Param and other Variable under every path it has, in order of registration.

    Random state is left out: it is no part of what the model has learnt.
    inputs: not needed in this wing; a Linen module shows its layers only when called.
    """
    owners: dict[int, str] = {}
    pending: list[tuple[str, tuple[str | int, ...], nnx.Module]] = [("", (), model)]
    while pending:
        path, native, module = pending.pop()
        kind = KINDS.get(type(module), type(module).__name__)
        children = []
        for name, value in _members(module, kind):
            if isinstance(value, nnx.Variable):
                if not isinstance(value, nnx.RngState):
                    yield _leaf(path, native, name, value, kind, module, owners)
            elif isinstance(value, nnx.Module):
                component = "" if isinstance(module, nnx.Sequential) and name == "layers" else str(name)
                children.append((paths.join(path, component), (*native, name), value))
        pending.extend(reversed(children))


def _members(module: nnx.Module, kind: str) -> list[tuple[str | int, Any]]:
    """A module's attributes, in order of registration where it is known.

    NNX sorts attributes by name whenever it puts a graph together again, so that a bias comes before its kernel and
    a tie's alias before its owner. For the layers of the spec and for Block the order is known; a List counts.
    """
    held = {name: value for name, value in vars(module).items() if name not in BOOKKEEPING}
    if isinstance(module, nnx.List):
        return [(number, held[str(number)]) for number in range(len(module))]
    order = module.registered if isinstance(module, Block) else spec_layers.native_order(kind)
    return [(name, held.pop(name)) for name in order if name in held] + list(held.items())


def _leaf(
    path: str, native: tuple[Any, ...], name: Any, value: Any, layer: str, module: nnx.Module, owners: dict[int, str]
) -> Leaf:
    canonical = spec_layers.canonical_name(layer, str(name))
    known = spec_layers.native(layer, canonical) if canonical else None
    leaf_path = paths.join(path, canonical or str(name))
    return Leaf(
        path=leaf_path,
        native_path=(*native, name),
        array=value,
        kind="parameter" if isinstance(value, nnx.Param) else "buffer",
        layer=layer,
        layout=known.layout if known else SAME,
        owner=owners.setdefault(id(value), leaf_path),
        persistent=True,
        holder=module,
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
