"""Names: every parameter of a live module with its path. In this wing the native path is the path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from ..common import paths
from ..common.errors import PathError, nearest
from ..common.layers import kind_of
from ..common.layouts import SAME, Layout
from ..common.tables import Kind, once
from .layers import KINDS, Block


class Leaf(NamedTuple):
    """One path of a live model. `owner` is the path itself, or for an alias the path it repeats."""

    path: str
    native_path: tuple[str | int, ...]
    array: torch.Tensor
    kind: Kind
    layer: str
    layout: Layout
    owner: str
    persistent: bool


def leaves(model: nn.Module, inputs: Any = None) -> Iterator[Leaf]:
    """Every parameter and buffer under every path it has, in the order of `state_dict`.

    inputs: not needed in this wing; a Linen module shows its layers only when called.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return once(_leaves(model))


def shown(model: nn.Module, inputs: Any) -> nn.Module:
    """The model itself: only a Linen module needs the inputs of a call to show its layers."""
    return model


def _leaves(model: nn.Module) -> Iterator[Leaf]:
    owners: dict[int, str] = {}
    whole: str | None = None
    for prefix, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.MultiheadAttention):
            # Its projection is a Linear of its own only in PyTorch, and belongs to the layer.
            whole = prefix
        layer = kind_of(module, KINDS) if whole is None or not paths.is_under(prefix, whole) else "MultiheadAttention"
        groups: tuple[tuple[Kind, dict[str, Any]], ...] = (
            ("parameter", module._parameters),
            ("buffer", module._buffers),
        )
        for kind, members in groups:
            for name, array in members.items():
                if array is None:
                    continue
                path = paths.join(prefix, name)
                owner = owners.setdefault(id(array), path)
                persistent = name not in module._non_persistent_buffers_set
                word = kind.capitalize() if isinstance(module, Block) else layer
                yield Leaf(path, paths.split(path), array, kind, word, SAME, owner, persistent)


def owner_leaves(model: nn.Module) -> dict[str, Leaf]:
    """The parameters by path, each once, in the table's order."""
    return {leaf.path: leaf for leaf in leaves(model) if leaf.owner == leaf.path and leaf.kind == "parameter"}


def find(model: nn.Module, path: str) -> Leaf:
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


def native_path(model: nn.Module, path: str) -> tuple[str | int, ...]:
    """How PyTorch spells `path`: its components.

    Raises:
        PathError: no such path, and the nearest one.
    """
    return find(model, path).native_path


def path_of(model: nn.Module, native: tuple[str | int, ...]) -> str:
    """The path of a native path.

    Raises:
        PathError: no such native path, and the nearest path.
    """
    return find(model, paths.join(*map(str, native))).path
