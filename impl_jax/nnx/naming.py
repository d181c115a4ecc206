"""Names: every parameter of a live `nnx.Module` with its path and its native path.

A path drops what PyTorch does not spell: `layers` of an nnx.Sequential. Layers that the spec knows have their
parameters under PyTorch's names; any other Variable keeps its name and its layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from flax import nnx

from ...common import layers as spec_layers
from ...common import paths
from ...common.errors import PathError, nearest
from ...common.layouts import STORED, Layout
from ...common.tables import Kind, once
from ..parts import native_shape, native_text
from .layers import KINDS, Block, PReLU, Transposed

# What can hold a Variable: a plain container does where it is marked as data.
NODES = (nnx.Pytree, list, tuple, dict)

# What an nnx.Module keeps in its __dict__ for itself.
BOOKKEEPING = frozenset({"_pytree__state", "_pytree__nodes", "_length"})


class Leaf(NamedTuple):
    """One path of a live model. `owner` is the path itself, or for an alias the path it repeats.

    variables: the one that holds it, or those that hold it together, each with its native path.
    """

    path: str
    native_paths: tuple[tuple[str | int, ...], ...]
    variables: tuple[Any, ...]
    kind: Kind
    layer: str
    layout: Layout
    owner: str
    persistent: bool

    @property
    def native_path(self) -> tuple[str | int, ...]:
        """The native paths as one."""
        return native_text(self.native_paths)

    @property
    def identity(self) -> tuple[int, ...]:
        """What two leaves have in common that are one parameter."""
        return tuple(map(id, self.variables))


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
    owners: dict[tuple[int, ...], str] = {}
    for leaf in _untorn(model):
        yield leaf._replace(owner=owners.setdefault(leaf.identity, leaf.path))


def _untorn(model: nnx.Module) -> list[Leaf]:
    """The leaves, with no Variable in two of them unless they are one parameter.

    A model may share a part of what a path packs, the key of two attentions, say. One array cannot be a part of two
    parameters, so each layer that packs it is listed as it is stored, which can list the part as tied. That may tear
    the parameter of a further layer.
    """
    stored: set[tuple[str | int, ...]] = set()
    while True:
        listed = list(_listed(model, stored))
        identities: dict[int, set[tuple[int, ...]]] = {}
        for _, leaf in listed:
            for part in leaf.identity:
                identities.setdefault(part, set()).add(leaf.identity)
        torn = {
            native
            for native, leaf in listed
            if len(leaf.identity) > len(set(leaf.identity))
            or (len(leaf.identity) > 1 and any(len(identities[part]) > 1 for part in leaf.identity))
        }
        if not torn:
            return [leaf for _, leaf in listed]
        stored |= torn


def _listed(model: nnx.Module, stored: Set[tuple[str | int, ...]]) -> Iterator[tuple[tuple[str | int, ...], Leaf]]:
    """The leaves, each with the native path of the node that it is listed with.

    stored: the nodes that are to be listed as they are stored.
    """
    taken: set[tuple[str | int, ...]] = set()
    for path, native, node in nodes(model, borrowed=False):
        for leaf in _node_leaves(path, native, node, known=native not in stored):
            # What a layer holds in a layer of its own was listed with the outer one.
            if taken.isdisjoint(leaf.native_paths):
                taken.update(leaf.native_paths)
                yield native, leaf


def _node_leaves(path: str, native: tuple[str | int, ...], node: Any, known: bool) -> Iterator[Leaf]:
    """What a node holds itself: the parameters that its kind is known for in PyTorch's order, then the rest."""
    kind = spec_layers.kind_of(node, KINDS)
    held = _held(node, kind)
    for name, layout, parts in _known(node, kind, held) if known else ():
        tails, variables = zip(*(held[part] for part in parts), strict=True)
        natives = tuple((*native, *tail) for tail in tails)
        own = paths.join(path, name)
        yield Leaf(own, natives, variables, _kind(variables[0]), kind, layout, own, True)
    for name, (tail, variable) in held.items():
        if len(tail) == 1:
            own = paths.join(path, name)
            yield Leaf(own, ((*native, *tail),), (variable,), _kind(variable), kind, STORED, own, True)


def _known(node: Any, kind: str, held: Mapping[str, Any]) -> list[tuple[str, Layout, tuple[str, ...]]]:
    """The parameters that the kind is known for, each with its layout and the names of what holds it.

    None at all where one has axes that its layout does not name: it is a stack of layers, as vmap and scan make them,
    and then so are the others, whose layouts may fit any number of axes.
    """
    found = []
    for name in spec_layers.names_in(kind, {name: tuple(entry[1].shape) for name, entry in held.items()}):
        native = spec_layers.native(kind, name)
        assert native is not None
        shape = native_shape(native.layout, [held[part][1] for part in native.parts])
        layout = native.layout.sized(shape)
        # Only the wing's own PReLU has several slopes.
        if layout is None or (kind == "PReLU" and shape and not isinstance(node, PReLU)):
            return []
        found.append((name, layout, native.parts))
    return found


def _held(node: Any, kind: str) -> dict[str, tuple[tuple[str | int, ...], Any]]:
    """The Variables of a node by name, each with its native path below the node; of a layer known to hold layers, also
    those of its layers, by dotted names."""
    found: dict[str, tuple[tuple[str | int, ...], Any]] = {}
    for name, value in members(node):
        if _is_borrowed(node, name):
            continue
        if _is_state(value):
            found[str(name)] = ((name,), value)
        elif kind in spec_layers.KINDS and isinstance(value, nnx.Module):
            inner = ((below, each) for below, each in members(value) if _is_state(each))
            found.update({f"{name}.{below}": ((name, below), each) for below, each in inner})
    return found


def _is_borrowed(node: Any, name: str | int) -> bool:
    """Whether a member is the Linear that a Transposed reads, whose weight has no second name."""
    return isinstance(node, Transposed) and name == "owner"


def _is_state(value: Any) -> bool:
    return isinstance(value, nnx.Variable) and not isinstance(value, nnx.RngState)


def _kind(variable: Any) -> Kind:
    return "parameter" if isinstance(variable, nnx.Param) else "buffer"


def nodes(model: nnx.Module, borrowed: bool = True) -> Iterator[tuple[str, tuple[str | int, ...], Any]]:
    """Everything that holds a Variable or may, under every path and native path it has: modules and containers.

    borrowed: also below a layer that only reads another one; `nnx.split` may list a Variable there.

    A module may hold one that holds it: such a second visit would never end, and adds no name.
    """
    pending: list[tuple[str, tuple[str | int, ...], Any, frozenset[int]]] = [("", (), model, frozenset())]
    while pending:
        path, native, node, above = pending.pop()
        yield path, native, node
        above |= {id(node)}
        children = []
        for name, value in members(node):
            if not borrowed and _is_borrowed(node, name):
                continue
            if isinstance(value, NODES) and not isinstance(value, nnx.Variable) and id(value) not in above:
                component = "" if isinstance(node, nnx.Sequential) and name == "layers" else str(name)
                children.append((paths.join(path, component), (*native, name), value, above))
        pending.extend(reversed(children))


def members(node: Any) -> list[tuple[str | int, Any]]:
    """What a module or container holds, in order of registration where it is known.

    NNX sorts attributes by name whenever it puts a graph together again, so that a bias comes before its kernel and
    a tie's alias before its owner. For Block the order is known; a List counts.
    """
    if isinstance(node, (list, tuple)):
        return list(enumerate(node))
    if isinstance(node, dict):
        return list(node.items())
    held = {name: value for name, value in vars(node).items() if name not in BOOKKEEPING}
    if isinstance(node, nnx.List):
        return [(number, held[str(number)]) for number in range(len(node))]
    order = node.registered if isinstance(node, Block) else ()
    first: list[tuple[str | int, Any]] = [(name, held.pop(name)) for name in order if name in held]
    return [*first, *held.items()]


def owner_leaves(model: nnx.Module) -> dict[str, Leaf]:
    """The parameters by path, each once, in the table's order."""
    return {leaf.path: leaf for leaf in leaves(model) if leaf.owner == leaf.path and leaf.kind == "parameter"}


def find(model: nnx.Module, path: str) -> Leaf:
    """The leaf at `path`.

    Raises:
        PathError: no such path, and the nearest one.
    """
    for leaf in leaves(model):
        if leaf.path == path:
            return leaf
    raise PathError(
        path, "a path of the model", "none of that name", nearest(path, (leaf.path for leaf in leaves(model)))
    )


def native_path(model: nnx.Module, path: str) -> tuple[str | int, ...]:
    """How NNX spells `path`: `('layers', 0, 'kernel')`; of several Variables `('query|key|value', 'kernel')`.

    Raises:
        PathError: no such path, and the nearest one.
    """
    return find(model, path).native_path


def path_of(model: nnx.Module, native: tuple[str | int, ...]) -> str:
    """The path of a native path.

    Raises:
        PathError: no such native path, and the nearest one.
    """
    known = {each: leaf.path for leaf in leaves(model) for each in leaf.native_paths}
    if native in known:
        return known[native]
    names = ["/".join(map(str, item)) for item in known]
    wanted = "/".join(map(str, native))
    raise PathError(wanted, "a native path of the model", "none of that name", nearest(wanted, names))
