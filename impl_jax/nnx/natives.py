"""Natives: every array of a live module's state as NNX stores it, and a module with others in their place.

A path is the one of `nnx.state`. A Variable in several places is listed once, where `nnx.state` has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax import nnx

from ...common.wing import Native, check_fit
from ..trees import Keys, arrays_of, by_path, dotted, filled, placed
from .naming import members, nodes


def natives(model: nnx.Module) -> dict[str, Native]:
    """Every array of the state by its path, in order of registration, random state aside.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    places = _places(model)
    ranks = {identity: rank for rank, identity in enumerate(places)}
    ranked = sorted(entries(model), key=lambda pair: ranks.get(id(pair[1]), len(ranks)))
    found: list[tuple[Keys, Native]] = []
    for keys, entry in ranked:
        own = places.get(id(entry), [])
        others = [other for other in own if other != keys] if keys in own else []
        for place, array in arrays_of(value_of(entry), keys):
            aliases = tuple(dotted((*other, *place[len(keys) :])) for other in others)
            trainable = isinstance(entry, nnx.Param)
            found.append((place, Native(dotted(place), np.asarray(array), trainable, aliases=aliases, keys=place)))
    return {path: native for path, (_, native) in by_path(found).items()}


def with_natives(model: nnx.Module, arrays: Mapping[str, Any]) -> nnx.Module:
    """The module with some or all of its arrays replaced, in place and in their own dtypes. Returns `model`.

    arrays: of any framework, by the owners' paths. Ties stay.

    Raises:
        WeightsError: one message for every path that is no owner's and every wrong shape; nothing was changed.
    """
    stored = by_path(pair for keys, entry in entries(model) for pair in arrays_of(value_of(entry), keys))
    check_fit({path: tuple(array.shape) for path, (_, array) in stored.items()}, arrays)
    new = {stored[path][0]: placed(array, stored[path][1]) for path, array in arrays.items()}
    bare = []
    for keys, entry in entries(model):
        if not isinstance(entry, nnx.Variable):
            bare += [(keys, new[keys])] if keys in new else []
        elif any(place in new for place, _ in arrays_of(value_of(entry), keys)):
            entry.set_raw_value(filled(value_of(entry), new, keys))
    if bare:
        nnx.update(model, nnx.from_flat_state(bare))
    return model


def entries(model: nnx.Module) -> Iterator[tuple[Keys, Any]]:
    """What `nnx.state` lists, Variables and bare arrays, live and each once; random state aside."""
    flat = nnx.to_flat_state(nnx.state(model))
    for keys, entry in zip(flat.paths, flat.leaves, strict=True):
        if not isinstance(entry, nnx.RngState):
            yield tuple(keys), entry  # type: ignore[misc]


def value_of(entry: Any) -> Any:
    """What a Variable holds: an array, or a tree of them; a bare array is its own."""
    return entry.get_raw_value() if isinstance(entry, nnx.Variable) else entry


def _places(model: nnx.Module) -> dict[int, list[Keys]]:
    """Every place of each Variable, by its identity, in order of registration."""
    found: dict[int, list[Keys]] = {}
    for _, native, node in nodes(model):
        for name, value in members(node):
            if isinstance(value, nnx.Variable):
                found.setdefault(id(value), []).append((*native, name))
    return found
