"""References: the layers that stand for another one by its path, and where such a path leads.

`Shared` is a second use of a layer that is already there, `Tied` a layer whose weight is another one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .. import paths
from ..errors import PathError, SpecError, nearest
from .layer import Layer


@dataclass(frozen=True, repr=False)
class Shared(Layer):
    """A second use of the layer at path `of`: the same parameters under one more path.

    `of` is looked up as a name is in nested functions: among the children of the container that
    holds this Shared, then in the container around it, up to the root.

    Raises:
        SpecError: `of` is no text, or empty.
    """

    # Those of what it stands for, which only the whole spec knows.
    inputs: ClassVar[tuple[int, int]] = (0, 99)

    of: str

    def __post_init__(self) -> None:
        check_reference(self)


@dataclass(frozen=True, repr=False)
class Tied(Layer):
    """A layer whose weight is another layer's, at path `of` (looked up as in `Shared`).

    lists_weight: whether PyTorch has the weight under this layer's path, too.

    Raises:
        SpecError: `of` is no text, or empty.
    """

    lists_weight: ClassVar[bool] = True

    of: str

    def __post_init__(self) -> None:
        check_reference(self)

    def tied_to(self, target: Layer, path: str) -> Layer:
        """The layer that this is, at `path`, given its owner.

        Raises:
            SpecError: an owner of the wrong kind.
        """
        raise NotImplementedError

    def check_owners(self, owners: Mapping[str, Layer], path: str) -> None:
        """Refuse layers that cannot own what `aliases` says that they do.

        owners: by the name of the parameter.

        Raises:
            SpecError: its path is `path`.
        """

    @property
    def aliases(self) -> Mapping[str, str]:
        """The parameters that are another's, each with the path of the layer that owns it."""
        return {"weight": self.of}


def check_reference(layer: Shared | Tied) -> None:
    """Refuse what cannot be the path of another layer.

    Raises:
        SpecError: `of` is no text, or empty.
    """
    if not isinstance(layer.of, str) or not layer.of:
        remedy = "A path is text: '2' for the child of index 2."
        raise SpecError("", f"{layer.kind}.of as the path of a layer", repr(layer.of), remedy)


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
        self._rank = {path: rank for rank, path in enumerate(self.nodes)}

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
        """The last reference on the way from `path`, by its path and name, and where it leads: None if nowhere.

        Raises:
            SpecError: it leads to what comes later or contains `path` itself.
        """
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
        return self._rank[target] < self._rank[path] and not paths.is_under(path, target)
