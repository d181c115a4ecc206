"""The spec: a framework-free description of a model, as frozen dataclasses.

A spec is a tree. Its leaves are layers (common/layers.py), its inner nodes the two containers
`Sequential` (children named `0`, `1`, ...) and `Block` (children with names). `Shared` stands for
a second use of a layer that is already there. A spec's repr is the code that builds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral
from typing import Any, ClassVar, Literal

from . import paths
from .errors import InitializerError, PathError, SpecError, nearest
from .initializers import Initializer
from .layouts import SAME, Layout

# The shape of what flows between two layers, without the batch axis. An Ellipsis in front stands
# for axes that nothing is known about: (..., 8) is "any number of axes, the last of width 8".
Features = tuple[Any, ...]
UNKNOWN: Features = (Ellipsis,)


@dataclass(frozen=True)
class Native:
    """How the two Flax wings spell and store a parameter of a layer; None where they have none.

    name: the last component of the native path (`kernel` for PyTorch's `weight`).
    layout: from the canonical layout to Flax's.
    """

    name: str
    layout: Layout = SAME


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter or buffer of a layer.

    shape: canonical, with None for an unknown axis.
    initializer: None while it depends on an unknown axis.
    """

    name: str
    shape: tuple[int | None, ...]
    initializer: Initializer | None
    kind: Literal["parameter", "buffer"] = "parameter"


@dataclass(frozen=True, repr=False)
class Layer:
    """A node of a spec. A subclass says what it holds and what it does to the shape that flows by."""

    natives: ClassVar[Mapping[str, Native]] = {}

    @property
    def kind(self) -> str:
        """The layer's word in tables and rules: the class's name."""
        return type(self).__name__

    def parameters(self) -> tuple[ParameterSpec, ...]:
        """What the layer itself holds, in PyTorch's order of registration."""
        return ()

    def out(self, features: Features, path: str) -> Features:
        """The shape of the output, for an input of shape `features` (no batch axis).

        Raises:
            SpecError: the layer at `path` cannot take such an input.
        """
        return features

    def given(self, features: Features) -> Layer:
        """This layer with an unknown width filled in from its input; itself if nothing is unknown."""
        return self

    def children(self) -> tuple[tuple[str, Layer], ...]:
        return ()

    def __repr__(self) -> str:
        """The code that builds this layer, what is at its default left out."""
        shown = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.default is MISSING:
                shown.append(repr(value))
            elif value != each.default:
                shown.append(f"{each.name}={value!r}")
        return f"{self.kind}({', '.join(shown)})"


def width(features: Features, layer: Layer, path: str) -> int | None:
    """The length of the last axis, None if unknown.

    Raises:
        SpecError: there is no axis at all.
    """
    if not features:
        raise SpecError(path, f"an input with at least one axis for {layer.kind}", "a scalar", "Drop the layer before.")
    return None if features[-1] is Ellipsis else features[-1]


def with_width(features: Features, size: int) -> Features:
    """`features` with its last axis replaced."""
    return (*features, size) if features == UNKNOWN else (*features[:-1], size)


def positive(layer: Layer, **sizes: int) -> None:
    """Refuse a size that is not a positive whole number; store it as an int, since NumPy's would show in the repr."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise SpecError("", f"{layer.kind}.{name} as a positive whole number", repr(size))
        object.__setattr__(layer, name, int(size))


def check_reference(layer: Shared | Tied) -> None:
    """Refuse what cannot be the path of another layer."""
    if not isinstance(layer.of, str) or not layer.of:
        remedy = "A path is text: '2' for the child of index 2."
        raise SpecError("", f"{layer.kind}.of as the path of a layer", repr(layer.of), remedy)


@dataclass(frozen=True, repr=False)
class Shared(Layer):
    """A second use of the layer at path `of`: the same parameters under one more path.

    `of` is looked up as a name is in nested functions: among the children of the container that
    holds this Shared, then in the container around it, up to the root.
    """

    of: str

    def __post_init__(self) -> None:
        check_reference(self)


@dataclass(frozen=True, repr=False)
class Tied(Layer):
    """A layer whose weight is another layer's, at path `of` (looked up as in `Shared`)."""

    of: str

    def __post_init__(self) -> None:
        check_reference(self)

    def tied_to(self, target: Layer, path: str) -> Layer:
        """The layer that this is, given its owner; raises SpecError for an owner of the wrong kind."""
        raise NotImplementedError


@dataclass(frozen=True, init=False, repr=False)
class Sequential(Layer):
    """Layers in a row, named by their index as in `torch.nn.Sequential`.

    Raises:
        SpecError: two neighbours whose widths do not chain.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", tuple(layers))
        _check_layers(self.children())
        flow(self, check_references=False)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def children(self) -> tuple[tuple[str, Layer], ...]:
        return tuple((str(index), layer) for index, layer in enumerate(self.layers))


@dataclass(frozen=True, init=False, repr=False)
class Block(Layer):
    """Named children, applied in order, or in the order of `calls` (a name may occur repeatedly).

    children: a mapping, or pairs, from a name to a layer.
    calls: the names in the order in which the forward pass calls them; each child once if None.

    Raises:
        ChildNameError: a name that is empty, dotted or taken.
        SpecError: neighbours in the order of calls whose widths do not chain, or children that are none.
        PathError: `calls` names no child.
    """

    named: tuple[tuple[str, Layer], ...]
    calls: tuple[str, ...] | None = field(default=None)

    def __init__(
        self,
        children: Mapping[str, Layer] | Sequence[tuple[str, Layer]],
        calls: Sequence[str] | None = None,
    ) -> None:
        pairs = _pairs(children)
        paths.check_child_names((name for name, _ in pairs), "")
        _check_layers(pairs)
        names = dict(pairs)
        if isinstance(calls, str):
            raise SpecError("", "calls as a sequence of names", repr(calls), f"Write calls=({calls!r},).")
        calls = None if calls is None else tuple(calls)
        for name in calls or ():
            if name not in names:
                name = str(name)
                raise PathError(name, "the name of a child in calls", "none of that name", nearest(name, names))
        object.__setattr__(self, "named", pairs)
        object.__setattr__(self, "calls", calls)
        flow(self, check_references=False)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name!r}: {layer!r}" for name, layer in self.named)
        return f"Block({{{inside}}})" if self.calls is None else f"Block({{{inside}}}, calls={self.calls!r})"

    def children(self) -> tuple[tuple[str, Layer], ...]:
        return self.named

    @property
    def order(self) -> tuple[str, ...]:
        """The children's names in the order in which the forward pass calls them."""
        return tuple(name for name, _ in self.named) if self.calls is None else self.calls


def _pairs(children: Any) -> tuple[tuple[str, Layer], ...]:
    try:
        return tuple((name, layer) for name, layer in (children.items() if isinstance(children, Mapping) else children))
    except (TypeError, ValueError):
        raise SpecError("", "children as a mapping, or as pairs of a name and a layer", repr(children)) from None


def _check_layers(pairs: Sequence[tuple[str, Any]]) -> None:
    for name, layer in pairs:
        if not isinstance(layer, Layer):
            raise SpecError(name, "a layer", f"{layer!r}", "Children are specs: Linear(4, 8), ReLU(), ...")


def index(spec: Layer) -> dict[str, Layer]:
    """Every node by its path, in order of registration; a Shared is a node of its own."""
    found: dict[str, Layer] = {}
    pending = [("", spec)]
    while pending:
        path, layer = pending.pop()
        found[path] = layer
        pending.extend((paths.join(path, name), child) for name, child in reversed(layer.children()))
    return found


class References:
    """Where the references of a spec (Shared and the like) lead."""

    def __init__(self, spec: Layer) -> None:
        self.nodes = index(spec)
        self._place = {path: place for place, path in enumerate(self.nodes)}

    def find(self, path: str, of: str) -> str | None:
        """The path that `of` means at `path`: the innermost container that has it wins."""
        for scope in paths.scopes(path):
            candidate = paths.join(scope, of)
            if candidate in self.nodes and candidate != path:
                return candidate
        return None

    def resolve(self, path: str, of: str) -> str:
        """As `find`, followed to the layer that really holds the parameters.

        Raises:
            PathError: nothing has that name.
            SpecError: it leads to what comes later or contains `path` itself.
        """
        path, of, target = self.follow(path, of)
        if target is None:
            there = [node for node in self.nodes if self._complete(node, path)]
            raise PathError(path, f"the path of a layer to share, {of!r}", "none of that name", nearest(of, there))
        return target

    def follow(self, path: str, of: str) -> tuple[str, str, str | None]:
        """The last reference on the way from `path`, by its place and name, and where it leads: None if nowhere."""
        while True:
            target = self.find(path, of)
            if target is None:
                return path, of, None
            if not self._complete(target, path):
                raise SpecError(
                    path,
                    f"{of!r} to be a layer that is complete before this use of it",
                    f"{target!r}, which is not",
                    "Put the owner first: it is the first path in the order of registration.",
                )
            layer = self.nodes[target]
            if not isinstance(layer, Shared):
                return path, of, target
            path, of = target, layer.of

    def _complete(self, target: str, path: str) -> bool:
        """Whether the layer at `target` is registered, with all that it holds, before the one at `path`."""
        return self._place[target] < self._place[path] and not paths.is_under(path, target)


def flow(spec: Layer, features: Features = UNKNOWN, check_references: bool = True) -> tuple[Layer, Features]:
    """Send a shape through the model: the spec with every unknown width filled in, and the output's shape.

    features: the input's shape without the batch axis, UNKNOWN if not known.
    check_references: False while a part of a model is looked at, whose references may lead out of it.

    Raises:
        SpecError: widths that do not chain; its path is the layer that cannot take its input.
        PathError: a reference that leads nowhere.
    """
    walk = _Flow(References(spec), check_references)
    out = walk.through("", spec, features)
    return (walk.rebuilt("", spec) if walk.filled else spec), out


class _Flow:
    def __init__(self, references: References, strict: bool) -> None:
        self.references = references
        self.strict = strict
        self.filled: dict[str, Layer] = {}

    def through(self, path: str, layer: Layer, features: Features) -> Features:
        if isinstance(layer, Sequential):
            for name, child in layer.children():
                features = self.through(paths.join(path, name), child, features)
            return features
        if isinstance(layer, Block):
            named = dict(layer.named)
            for name in layer.order:
                features = self.through(paths.join(path, name), named[name], features)
            return features
        if isinstance(layer, Shared):
            return self._shared(path, layer, features)
        if isinstance(layer, Tied):
            return self._tied(path, layer, features)
        with _under(path):
            given = self.filled.get(path, layer).given(features)
        if given != layer:
            self.filled[path] = given
        return given.out(features, path)

    def _shared(self, path: str, layer: Shared, features: Features) -> Features:
        target = self._owner(path, layer.of)
        if target is None:
            return UNKNOWN
        try:
            return self.through(target, self.references.nodes[target], features)
        except SpecError as error:
            where = path + error.path[len(target) :] if paths.is_under(error.path, target) else error.path
            raise SpecError(where, error.expected, error.found, error.remedy) from None

    def _tied(self, path: str, layer: Tied, features: Features) -> Features:
        target = self._owner(path, layer.of)
        if target is None:
            return UNKNOWN
        with _under(path):
            own = layer.tied_to(self.references.nodes[target], path)
        try:
            return own.out(features, path)
        except SpecError as error:
            remedy = f"A {layer.kind} takes the width of {target!r}, its owner."
            raise SpecError(path, error.expected, error.found, remedy) from None

    def _owner(self, path: str, of: str) -> str | None:
        """The path that holds the parameters; None if it lies outside of the part that is looked at."""
        return self.references.resolve(path, of) if self.strict else self.references.follow(path, of)[2]

    def rebuilt(self, path: str, layer: Layer) -> Layer:
        pairs = [(name, self.rebuilt(paths.join(path, name), child)) for name, child in layer.children()]
        if isinstance(layer, Sequential):
            return Sequential(*(child for _, child in pairs))
        if isinstance(layer, Block):
            return Block(pairs, layer.calls)
        return self.filled.get(path, layer)


@contextmanager
def _under(path: str) -> Iterator[None]:
    """Name the layer at `path` in the error of an initializer that does not fit it."""
    try:
        yield
    except InitializerError as error:
        where = paths.join(path, error.path)
        raise InitializerError(where, error.expected, error.found, error.remedy) from None


def flat(features: Features) -> Features:
    """All axes merged into one; unknown if one of them is."""
    return UNKNOWN if Ellipsis in features else (math.prod(features),)
