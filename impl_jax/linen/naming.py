"""Names: every parameter of a live Linen model with its path and its native path.

A Linen model is a module and its variables. The variables know names and nothing of the layers they belong to;
the module knows its layers, but shows only those that stand in its fields until it is called. So a model made of
containers this wing knows (`linen.Sequential`, and what `build` makes) is read from its module; any other one is
read from a call, if inputs are given; and without them each name and layout is kept as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from typing import Any, NamedTuple

import jax
from flax import linen, traverse_util
from flax.core import meta

from ...common import layers as spec_layers
from ...common import paths
from ...common.errors import NotExpressibleError, PathError, nearest
from ...common.layouts import STORED, Layout
from ...common.tables import Kind, once
from ..parts import native_shape, native_text
from .layers import KINDS, Block, Decoder, PReLU, Sequence, Transposed, native_name

Model = tuple[linen.Module, dict[str, Any]]


class Place(NamedTuple):
    """A layer of a module: its path, the native path of its variables, its kind, and where it stands first."""

    path: str
    native: tuple[str, ...]
    kind: str
    owner: str
    module: Any


class Leaf(NamedTuple):
    """One path of a live model. `owner` is the path itself, or for an alias the path it repeats.

    arrays: the one that holds it, or those that hold it together, each with its native path below the collection.
    """

    path: str
    native_paths: tuple[tuple[str | int, ...], ...]
    arrays: tuple[jax.Array, ...]
    kind: Kind
    layer: str
    layout: Layout
    owner: str
    persistent: bool
    collection: str

    @property
    def native_path(self) -> tuple[str | int, ...]:
        """The native paths as one."""
        return native_text(self.native_paths)

    @property
    def stored_at(self) -> tuple[tuple[str, ...], ...]:
        """Where in the variables its arrays are: the collection, then the native path."""
        return tuple((self.collection, *map(str, native)) for native in self.native_paths)


def places(module: linen.Module) -> list[Place]:
    """The layers that the module's own structure shows, under every path, in order of registration."""
    native = _native_names(module)
    found: list[Place] = []
    first: dict[int, str] = {}
    pending: list[tuple[str, Any]] = [("", module)]
    while pending:
        path, current = pending.pop()
        children = _children(current)
        if children is None:
            owner = first.setdefault(id(current), path)
            kind = spec_layers.kind_of(current, KINDS)
            found.append(Place(path, native[id(current)], kind, owner, current))
            continue
        pending.extend(
            (paths.join(path, _component(current, name)), child)
            for name, child in reversed(children)
            if isinstance(child, linen.Module)
        )
    return found


def _children(module: Any) -> tuple[tuple[str, Any], ...] | None:
    """A container's children by native name; None for what is a layer of its own."""
    if isinstance(module, Block):
        return module.members.pairs
    if type(module) is linen.Sequential:
        return tuple((f"layers_{index}", child) for index, child in enumerate(module.layers))
    return None


def _component(container: Any, name: str) -> str:
    """The path's component for a child's native name: `layers_2` of a sequence is `2`."""
    return name.removeprefix("layers_") if isinstance(container, (linen.Sequential, Sequence)) else name


def _native_names(module: linen.Module) -> dict[int, tuple[str, ...]]:
    """The native path of every module, as Linen gives it: from the first container to be set up that holds it.

    A container is set up when it is first called, and then names all children that have no name yet. One that is
    never called is never set up; its layers have their places after all others have theirs.
    """
    names: dict[int, tuple[str, ...]] = {id(module): ()}
    pending: list[Any] = [module]
    uncalled: list[Any] = []
    done: set[int] = set()
    while pending or uncalled:
        current = (pending or uncalled).pop()
        if id(current) in done:
            continue
        done.add(id(current))
        children = current.owners.pairs if isinstance(current, Decoder) else _children(current) or ()
        modules = {name: child for name, child in children if isinstance(child, linen.Module)}
        for name, child in modules.items():
            names.setdefault(id(child), (*names[id(current)], name))
        calls = {name: None for name in _called(current, modules) if name in modules}
        pending.extend(modules[name] for name in reversed(calls))
        uncalled.extend(modules[name] for name in reversed(modules) if name not in calls)
    return names


def _called(module: Any, children: Iterable[str]) -> Iterable[str]:
    """The native names of a container's children in the order in which they are first reached."""
    if not isinstance(module, Block) or module.program is None:
        return children
    return [native_name(module, name) for name in module.program.calls]


def _places_called(module: linen.Module, variables: Any, inputs: SequenceOf[Any]) -> list[Place]:
    """The layers that a call shows. A shared layer has one native path, so there are no aliases here."""
    found: dict[tuple[str, ...], linen.Module] = {}

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        found.setdefault(context.module.path, context.module)
        return call(*args, **kwargs)

    with linen.intercept_methods(record):
        jax.eval_shape(lambda *arrays: module.apply(variables, *arrays), *inputs)
    sequences = {native for native, called in found.items() if isinstance(called, (linen.Sequential, Sequence))}
    result = []
    for native, called in found.items():
        components = [
            name.removeprefix("layers_") if native[:depth] in sequences else name for depth, name in enumerate(native)
        ]
        path = paths.join(*components)
        result.append(Place(path, native, spec_layers.kind_of(called, KINDS), path, called))
    return result


class Shown(tuple[linen.Module, dict[str, Any]]):
    """`(module, variables)` with the inputs of one call, which shows the module's layers; see `shown`."""

    inputs: SequenceOf[Any]

    def __new__(cls, module: linen.Module, variables: dict[str, Any], inputs: SequenceOf[Any]) -> Shown:
        made = super().__new__(cls, (module, variables))
        made.inputs = inputs
        return made


def shown(model: Model, inputs: SequenceOf[Any]) -> Model:
    """The model with the inputs of one call, so that every function knows its layers as `table(model, inputs)` does."""
    return Shown(*model, inputs)


def like(model: Model, module: linen.Module, variables: dict[str, Any]) -> Model:
    """A new model in the place of `model`: shown by the same inputs, if that was."""
    return Shown(module, variables, model.inputs) if isinstance(model, Shown) else (module, variables)


def leaves(model: Model, inputs: SequenceOf[Any] | None = None) -> Iterator[Leaf]:
    """Every parameter and buffer under every path it has: known layers in order, the rest as stored.

    inputs: arrays of one call, to learn the layers of a module that does not show them.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return once(_leaves(model, model.inputs if inputs is None and isinstance(model, Shown) else inputs))


def _leaves(model: Model, inputs: SequenceOf[Any] | None) -> Iterator[Leaf]:
    module, variables = model
    stored = _by_prefix(variables)
    known = places(module)
    if inputs is not None:
        shown = {place.native for place in known}
        known += [place for place in _places_called(module, variables, inputs) if place.native not in shown]
    seen: set[tuple[str, ...]] = set()
    whole: set[tuple[str, ...]] = set()
    first: dict[int, Place] = {}
    for place in known:
        first.setdefault(id(place.module), place)
        # What a layer holds in a layer of its own was listed with the outer one, under the names of that.
        inner = any(place.native[:depth] in whole for depth in range(len(place.native)))
        own = list(_place_leaves(place, stored))
        if inner:
            own = [leaf for leaf in own if seen.isdisjoint(leaf.stored_at)]
        if any(len(leaf.native_paths[0]) > len(place.native) + 1 for leaf in own):
            whole.add(place.native)
        if isinstance(place.module, Decoder):
            own = [*_borrowed(place, first, stored), *own]
        for leaf in own:
            seen.update(leaf.stored_at)
            yield leaf
    owners = {place.native: place.owner for place in reversed(known)}
    for prefix, entries in stored.items():
        for collection, name, array in entries:
            if (collection, *prefix, name) not in seen:
                native = (*prefix, name)
                path = _below(owners, native)
                yield Leaf(path, (native,), (array,), stored_kind(collection), "", STORED, path, True, collection)


def _below(owners: dict[tuple[str, ...], str], native: tuple[str, ...]) -> str:
    """The path of what no known layer holds itself: as stored, below the innermost known layer around it."""
    for depth in reversed(range(len(native))):
        if native[:depth] in owners:
            return paths.join(owners[native[:depth]], *native[depth:])
    return paths.join(*native)


def _borrowed(place: Place, first: dict[int, Place], stored: dict[tuple[str, ...], Any]) -> Iterator[Leaf]:
    """What a Decoder uses and does not hold: its Embed's weight, and a bias that is another's."""
    if isinstance(place.module, Transposed):
        # Its owner's weight has no second name.
        return
    for name, (_, module) in zip(("weight", "bias"), place.module.owners.pairs, strict=False):
        for leaf in _place_leaves(first[id(module)], stored):
            yield leaf._replace(path=paths.join(place.path, name), layer=place.kind)


def _place_leaves(place: Place, stored: dict[tuple[str, ...], Any]) -> Iterator[Leaf]:
    """What is stored for one layer: the parameters that its kind is known for in PyTorch's order, then the rest."""
    own = stored.get(place.native, [])
    entries: dict[str, tuple[str, tuple[str, ...], Any]] = {name: (held, (name,), array) for held, name, array in own}
    for inner in _inner_layers(place.kind):
        for collection, name, array in stored.get((*place.native, *inner), []):
            entries[paths.join(*inner, name)] = (collection, (*inner, name), array)
    taken: set[str] = set()
    for name, layout, parts in _known(place, entries):
        collections, tails, arrays = zip(*(entries[part] for part in parts), strict=True)
        taken.update(parts)
        yield _leaf(place, name, collections[0], tails, arrays, layout)
    for name, (collection, tail, array) in entries.items():
        if len(tail) == 1 and name not in taken:
            yield _leaf(place, name, collection, (tail,), (array,), STORED)


def _known(place: Place, entries: Mapping[str, Any]) -> list[tuple[str, Layout, tuple[str, ...]]]:
    """The parameters that the layer's kind is known for, each with its layout and the names of what holds it.

    None at all where one has axes that its layout does not name: it is a stack of layers, as vmap and scan make them,
    and then so are the others, whose layouts may fit any number of axes.
    """
    found = []
    for name in spec_layers.names_in(place.kind, {name: tuple(entry[2].shape) for name, entry in entries.items()}):
        native = spec_layers.native(place.kind, name)
        assert native is not None
        shape = native_shape(native.layout, [entries[part][2] for part in native.parts])
        layout = native.layout.sized(shape)
        # Only the wing's own PReLU has several slopes.
        if layout is None or (place.kind == "PReLU" and shape and not isinstance(place.module, PReLU)):
            return []
        found.append((name, layout, native.parts))
    return found


def _inner_layers(kind: str) -> set[tuple[str, ...]]:
    """The native names of the layers that a layer of that kind holds parameters in."""
    layer = spec_layers.KINDS.get(kind)
    parts = [part for native in layer.natives.values() for part in native.parts] if layer else []
    return {paths.split(part)[:-1] for part in parts if "." in part}


def _leaf(place: Place, name: str, collection: str, tails: Any, arrays: Any, layout: Layout) -> Leaf:
    return Leaf(
        path=paths.join(place.path, name),
        native_paths=tuple((*place.native, *tail) for tail in tails),
        arrays=tuple(arrays),
        kind=stored_kind(collection),
        layer=place.kind,
        layout=layout,
        owner=paths.join(place.owner, name),
        persistent=True,
        collection=collection,
    )


def stored_kind(collection: str) -> Kind:
    """What a collection of variables holds."""
    return "parameter" if collection == "params" else "buffer"


def stored_name(kind: Kind) -> str:
    """The collection for what has none of its own."""
    return "params" if kind == "parameter" else "buffers"


def _by_prefix(variables: Any) -> dict[tuple[str, ...], list[tuple[str, str, Any]]]:
    """The stored arrays by the native path of what holds them: (collection, name, array).

    Raises:
        NotExpressibleError: one native path in two collections, of which a path could only mean one.
    """
    result: dict[tuple[str, ...], list[tuple[str, str, Any]]] = {}
    collections: dict[tuple[str, ...], str] = {}
    for (collection, *native), stored in traverse_util.flatten_dict(dict(variables)).items():
        array = stored.unbox() if isinstance(stored, meta.AxisMetadata) else stored
        if not hasattr(array, "shape"):
            # What a call has sown is a tuple: its results, and no state of the model.
            continue
        first = collections.setdefault(tuple(native), collection)
        if first != collection:
            both = " and ".join(map(repr, sorted((first, collection))))
            raise NotExpressibleError(paths.join(*native), "one array under a name", f"two, in {both}", "Rename one.")
        result.setdefault(tuple(native[:-1]), []).append((collection, native[-1], array))
    return result


def owner_leaves(model: Model) -> dict[str, Leaf]:
    """The parameters by path, each once, in the table's order."""
    return {leaf.path: leaf for leaf in leaves(model) if leaf.owner == leaf.path and leaf.kind == "parameter"}


def find(model: Model, path: str) -> Leaf:
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


def native_path(model: Model, path: str) -> tuple[str | int, ...]:
    """How Linen spells `path` below its collection: `('layers_0', 'kernel')`, several as
    `('query|key|value', 'kernel')`.

    Raises:
        PathError: no such path, and the nearest one.
    """
    return find(model, path).native_path


def path_of(model: Model, native: tuple[str | int, ...]) -> str:
    """The path of a native path; of a tied parameter, its owner's.

    Raises:
        PathError: no such native path, and the nearest one.
    """
    known = {each: leaf.owner for leaf in leaves(model) for each in leaf.native_paths}
    if native in known:
        return known[native]
    names = ["/".join(map(str, item)) for item in known]
    wanted = "/".join(map(str, native))
    raise PathError(wanted, "a native path of the model", "none of that name", nearest(wanted, names))
