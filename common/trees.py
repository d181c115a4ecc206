"""Trees: nested mappings, sequences, named tuples and dataclasses, walked by one function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

# What a node holds, by its keys in order; None for a leaf.
Members = Callable[[Any], Iterable[tuple[Any, Any]] | None]


def walk(tree: Any, members: Members, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every leaf of a tree with the keys that lead to it, in the tree's own order.

    members: tells what holds others, and what is a leaf. A container that holds nothing has no leaf.
    keys: what stands before all of them.
    """
    held = members(tree)
    if held is None:
        yield keys, tree
        return
    for key, value in held:
        yield from walk(value, members, (*keys, key))


def entries(node: Any) -> Iterable[tuple[Any, Any]] | None:
    """What a mapping holds by its keys, a list or a tuple by number."""
    if isinstance(node, Mapping):
        return node.items()
    return enumerate(node) if isinstance(node, list | tuple) else None


def members(node: Any) -> Iterable[tuple[Any, Any]] | None:
    """What `entries` tells, and what a named tuple or a dataclass holds by its fields. An array is a leaf."""
    if is_array(node):
        return None
    held = entries(node)
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return zip(node._fields, node, strict=True)  # type: ignore[attr-defined]
    if held is None and is_dataclass(node) and not isinstance(node, type):
        return [(field.name, getattr(node, field.name)) for field in fields(node)]
    return held


def is_array(value: Any) -> bool:
    """Whether it is an array of some framework: what has a shape and a dtype."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def exchanged(tree: Any, arrays: Mapping[int, Any]) -> Any:
    """The tree with other arrays in the place of some of its own; a part in which none changes is the same object.

    arrays: the new ones by the `id` of what they replace.
    """
    if is_array(tree):
        return arrays.get(id(tree), tree)
    before = dict(members(tree) or ())
    after = {key: exchanged(value, arrays) for key, value in before.items()}
    changed = {key: value for key, value in after.items() if value is not before[key]}
    if not changed:
        return tree
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **changed)
    kind: Any = type(tree)
    if hasattr(kind, "_fields"):
        return kind(**after)
    return kind(after if isinstance(tree, Mapping) else after.values())


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested mappings and sequences under its path: the keys joined with dots.

    prefix: the path of the tree itself. None is a leaf; an empty mapping or sequence has none.
    """
    for keys, leaf in walk(tree, entries):
        path = prefix
        for key in keys:
            path = f"{path}.{key}" if path else str(key)
        yield path, leaf
