"""Tying: in NNX a tie is one Variable object that several modules hold."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...common.errors import NotExpressibleError, TieError
from ...common.layouts import Layout
from ...common.ties import Tie, TieGroup, check_tie
from .access import neutral, table, values
from .naming import find, nodes

# Containers that are no modules.
PLAIN = (list, tuple, dict)


def tie_groups(model: nnx.Module) -> tuple[TieGroup, ...]:
    """Every parameter that has more than one path."""
    return table(model).tie_groups


def identical(model: nnx.Module, one: str, other: str) -> bool:
    """Whether two paths lead to one Variable, so that a change of one is a change of the other.

    Raises:
        PathError: no such path.
    """
    return find(model, one).identity == find(model, other).identity


def equal(model: nnx.Module, one: str, other: str) -> bool:
    """Whether two parameters have the same shape and values now, tied or not.

    Raises:
        PathError: no such path.
    """
    first, second = (neutral(leaf, values(leaf)) for leaf in (find(model, one), find(model, other)))
    return np.array_equal(first, second)


def tie(model: nnx.Module, owner: str, alias: str) -> nnx.Module:
    """Make `alias` the Variable at `owner`; its own values are dropped. Returns `model`.

    Raises:
        PathError, TieError: no such path, or unequal shapes, dtypes, kinds or layouts. The model is as it was.
    """
    rows = table(model)
    check_tie(Tie(owner, alias), {path: rows[path].shape for path in (owner, alias)})  # type: ignore[misc]
    if rows[owner].dtype != rows[alias].dtype:
        raise TieError(alias, f"the owner's dtype {rows[owner].dtype}", rows[alias].dtype, "Cast one of the two first.")
    if rows[owner].kind != rows[alias].kind:
        raise TieError(alias, f"a {rows[owner].kind}, as its owner {owner!r} is", f"a {rows[alias].kind}")
    if rows[owner].layout != rows[alias].layout:
        raise _two_layouts(alias, rows[owner].layout, rows[alias].layout)
    if not identical(model, owner, alias):
        for native, variable in zip(find(model, alias).native_paths, find(model, owner).variables, strict=True):
            _assign(model, alias, native, variable)
    return model


def _two_layouts(alias: str, owners: Layout, own: Layout) -> TieError:
    if owners.pattern != own.pattern:
        remedy = "An NNX model cannot share a transposed array: use a Decoder in the spec."
        expected, found = repr(owners.pattern), repr(own.pattern)
    else:
        remedy = "An NNX model cannot share an array that two layers split in two ways: build both with the same sizes."
        other = dict(own.sizes)
        differing = [axis for axis, size in owners.sizes if other.get(axis) != size]
        expected, found = (
            ", ".join(f"{axis} = {dict(layout.sizes)[axis]}" for axis in differing) for layout in (owners, own)
        )
        expected = f"{owners.pattern!r} with {expected}"
    return TieError(alias, f"the owner's layout {expected}, since a Variable has one", found, remedy)


def untie(model: nnx.Module, alias: str) -> nnx.Module:
    """Give `alias` a Variable of its own with the values it has now. Returns `model`.

    Raises:
        PathError, TieError: `alias` is not an alias of anything. The model is as it was.
    """
    if table(model)[alias].tie is None:
        raise TieError(alias, "an alias", "a parameter that owns itself", "Name the alias; tie_groups lists them.")
    leaf = find(model, alias)
    for native, variable in zip(leaf.native_paths, leaf.variables, strict=True):
        _assign(model, alias, native, variable.replace(jnp.array(variable[...])))
    return model


def _assign(model: nnx.Module, path: str, native: tuple[str | int, ...], variable: nnx.Variable[Any]) -> None:
    """Put `variable` at the native path of `path` alone.

    A module on the way that is reachable under a second path is replaced, on this path, by a shallow copy: the copy
    holds the same Variables, so every other tie stays.
    """
    *containers, name = native
    times = Counter(id(node) for _, _, node in nodes(model, borrowed=False))
    module: Any = model
    for component in containers:
        child = cast(Any, module)[component] if isinstance(module, PLAIN) else getattr(module, str(component))
        if times[id(child)] > 1:
            child = copy.copy(child)
            _put(module, component, child, path)
        module = child
    _put(module, name, variable, path)


def _put(holder: Any, name: str | int, value: Any, path: str) -> None:
    if isinstance(holder, tuple):
        raise NotExpressibleError(path, "a place that can be given another Variable", "a tuple", "Use an nnx.List.")
    if isinstance(holder, PLAIN):
        holder[name] = value  # type: ignore[index]
    else:
        setattr(holder, str(name), value)
