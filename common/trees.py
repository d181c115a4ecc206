"""Trees of nested mappings and sequences, walked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested mappings and sequences under its path: the keys joined with dots.

    None is a leaf; an empty mapping or sequence has none.
    """
    if isinstance(tree, Mapping):
        entries = tree.items()
    elif isinstance(tree, list | tuple):
        entries = enumerate(tree)
    else:
        yield place, tree
        return
    for key, value in entries:
        yield from leaves(value, f"{place}.{key}" if place else str(key))
