"""Tying: in Linen a tie is one module that stands in several places; its parameters have one name.

There is no object that two names could share: variables are a tree, and a tree has no aliases. So what can be tied
is a layer, by giving two places of the module one instance, and not one of a layer's arrays alone.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import jax
import numpy as np
from flax import linen, traverse_util

from ...common import paths
from ...common.errors import NotExpressibleError, TieError
from ...common.ties import Tie, TieGroup, check_tie
from .access import neutral, table
from .layers import Block, Decoder, Members
from .layers import Sequence as LayerSequence
from .naming import Model, Place, find, places


def tie_groups(model: Model) -> tuple[TieGroup, ...]:
    """Every parameter that has more than one path."""
    return table(model).tie_groups


def identical(model: Model, one: str, other: str) -> bool:
    """Whether two paths lead to one name in the variables, so that a change of one is a change of the other.

    Raises:
        PathError: no such path.
    """
    first, second = find(model, one), find(model, other)
    return first.stored_at == second.stored_at


def equal(model: Model, one: str, other: str) -> bool:
    """Whether two parameters have the same shape and values now, tied or not.

    Raises:
        PathError: no such path.
    """
    first, second = (neutral(leaf, leaf.arrays) for leaf in (find(model, one), find(model, other)))
    return np.array_equal(first, second)


def tie(model: Model, owner: str, alias: str) -> Model:
    """A new model in which the layer of `alias` is the layer of `owner`; its own values are dropped.

    Raises:
        PathError, TieError: no such path, or unequal shapes, dtypes or kinds.
        NotExpressibleError: the two layers have further parameters, which would be tied along, or are not alike,
            or a Decoder reads the one whose values are dropped.
    """
    rows = table(model)
    check_tie(Tie(owner, alias), {path: rows[path].shape for path in (owner, alias)})  # type: ignore[misc]
    if rows[owner].dtype != rows[alias].dtype:
        raise TieError(alias, f"the owner's dtype {rows[owner].dtype}", rows[alias].dtype, "Cast one of the two first.")
    if rows[owner].kind != rows[alias].kind:
        raise TieError(alias, f"a {rows[owner].kind}, as its owner {owner!r} is", f"a {rows[alias].kind}")
    if identical(model, owner, alias):
        return model
    layer = {place.path: place for place in places(model[0])}
    kept, dropped = (layer.get(paths.parent(path)) for path in (owner, alias))
    _check_whole_layers(rows, owner, alias, kept, dropped)
    module = _with(model[0], paths.parent(alias), kept.module)  # type: ignore[union-attr]
    _check_readers(module, alias)
    return _moved(model, module)


def _check_whole_layers(rows: Any, owner: str, alias: str, kept: Place | None, dropped: Place | None) -> None:
    remedy = "Share the whole layer in the spec, or tie in the torch or nnx wing."
    if kept is None or dropped is None or type(kept.module) is not type(dropped.module):
        kinds = " and ".join(rows[path].layer or "an unknown layer" for path in (owner, alias))
        raise NotExpressibleError(alias, "two layers of one kind, since Linen shares modules", kinds, remedy)
    layers = (paths.parent(owner), paths.parent(alias))
    others = [row.path for row in rows if paths.parent(row.path) in layers and row.path not in (owner, alias)]
    if others:
        raise NotExpressibleError(
            alias,
            "the only parameter of its layer, since Linen shares modules and not arrays",
            f"{', '.join(others)} beside it",
            remedy,
        )
    if _settings(kept.module) != _settings(dropped.module):
        raise NotExpressibleError(
            alias, "two layers alike but for their values, since Linen shares modules", "other settings", remedy
        )


def _settings(module: linen.Module) -> dict[str, Any]:
    """A layer's fields but for its initializers, which have done their work."""
    names = (field.name for field in fields(module) if not field.name.endswith("_init"))
    return {name: getattr(module, name) for name in names if name not in ("parent", "name")}


def _check_readers(module: Any, alias: str) -> None:
    """Refuse a module with a Decoder whose Embed stands nowhere any more."""
    standing = places(module)
    known = {id(place.module) for place in standing}
    for place in standing:
        if isinstance(place.module, Decoder) and any(id(owner) not in known for _, owner in place.module.owners.pairs):
            raise NotExpressibleError(
                alias,
                "a layer that no other one reads, since Linen shares modules",
                f"{place.path}, which reads its array",
                "Tie in the spec, or in the torch or nnx wing.",
            )


def untie(model: Model, alias: str) -> Model:
    """A new model in which the layer of `alias` has parameters of its own, with the values they have now.

    Raises:
        PathError, TieError: `alias` is not an alias of anything.
        NotExpressibleError: the alias is read through another layer, which has no array of its own (a Decoder).
    """
    if table(model)[alias].tie is None:
        raise TieError(alias, "an alias", "a parameter that owns itself", "Name the alias; tie_groups lists them.")
    place = next((place for place in places(model[0]) if place.path == paths.parent(alias)), None)
    if place is None or table(model).owner(alias) != paths.join(place.owner, paths.leaf(alias)):
        raise NotExpressibleError(
            alias, "a layer that stands in two places", "one that reads its owner's array", "Build the untied spec."
        )
    return _moved(model, _with(model[0], place.path, place.module.clone()))


def _with(module: Any, path: str, child: linen.Module) -> Any:
    """A copy of the container `module` with `child` at `path`; what is beside it stays the same object."""
    if not path:
        return child
    first, *rest = paths.split(path)
    if isinstance(module, Block):
        native = f"layers_{first}" if isinstance(module, LayerSequence) else first
        pairs = tuple(
            (name, _with(old, paths.join(*rest), child) if name == native else old)
            for name, old in module.members.pairs
        )
        return type(module)(Members(pairs), module.program)
    members = [
        _with(old, paths.join(*rest), child) if index == int(first) else old for index, old in enumerate(module.layers)
    ]
    return linen.Sequential(members)


def _moved(model: Model, module: linen.Module) -> Model:
    """`module` with the values that `model` has."""
    before = places(model[0])
    of_layer = {id(place.module): place.native for place in before}
    of_path = {place.path: place.native for place in before}
    moves: dict[tuple[str, ...], set[tuple[str, ...]]] = {place.native: set() for place in before}
    for place in places(module):
        # A layer that was there takes its values along, also to a path that had others; a copy has those of its path.
        moves[of_layer.get(id(place.module), of_path[place.path])].add(place.native)
    result: dict[tuple[str, ...], jax.Array] = {}
    flat: dict[Any, Any] = traverse_util.flatten_dict(dict(model[1]))
    for (collection, *native), array in flat.items():
        # The innermost layer that it lies in: a Decoder that is called before its Embed encloses it.
        depth = next(depth for depth in reversed(range(len(native))) if tuple(native[:depth]) in moves)
        for new in moves[tuple(native[:depth])]:
            result[(collection, *new, *native[depth:])] = array
    return module, traverse_util.unflatten_dict(result)
