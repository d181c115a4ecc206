"""Stored tensors: every array of a live module's state, a module with others, and one saved and loaded again.

A path is the one of `nnx.state`. A Variable in several places is listed once, where `nnx.state` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from flax import nnx

from ...common.wing import (
    RoundTrip,
    StoredTensor,
    all_unlike,
    check_fit,
    has_safetensors,
    loading,
    saving,
    through_safetensors,
)
from ..trees import Keys, Owned, arrays_of, as_stored_tensors, by_path, dotted, filled, leaves_of, placed
from .naming import members, nodes


def stored_tensors(model: nnx.Module) -> dict[str, StoredTensor]:
    """Every array of the state by its path, in order of registration, random state aside.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return as_stored_tensors(owned(model))


def with_stored_tensors(model: nnx.Module, arrays: Mapping[str, Any]) -> nnx.Module:
    """The module with some or all of its arrays replaced, in place and in their own dtypes. Returns `model`.

    arrays: of any framework, by the owners' paths. Ties stay.

    Raises:
        WeightsError: one message for every path that is no owner's and every wrong shape; nothing was changed.
        ChildNameError: two arrays whose names lead to one path.
    """
    stored = {path: each for path, each in owned(model).items() if each.role != "random"}
    check_fit({path: tuple(each.array.shape) for path, each in stored.items()}, arrays)
    return replaced(model, {stored[path].keys: placed(array, stored[path].array) for path, array in arrays.items()})


def replaced(model: nnx.Module, new: Mapping[Keys, Any]) -> nnx.Module:
    """The module with other arrays in the place of its own, by their keys, in place. Ties stay."""
    bare = []
    for keys, entry in entries(model):
        if not isinstance(entry, nnx.Variable):
            bare += [(keys, new[keys])] if keys in new else []
        elif any(place in new for place, _ in leaves_of(value_of(entry), keys)):
            entry.set_raw_value(filled(value_of(entry), new, keys))
    if bare:
        nnx.update(model, nnx.from_flat_state(bare))
    return model


def owned(model: nnx.Module) -> dict[str, Owned]:
    """The live arrays by their paths, in order of registration; the state of random streams too.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    held = places(model)
    ranks = {identity: rank for rank, identity in enumerate(held)}
    found: list[tuple[Keys, Owned]] = []
    for keys, entry in sorted(_listed(model), key=lambda pair: ranks.get(id(pair[1]), len(ranks))):
        if isinstance(entry, nnx.RngState):
            found.append((keys, Owned(keys, value_of(entry), "random")))
            continue
        for place, array in arrays_of(value_of(entry), keys):
            found.append((place, Owned(place, array, _role(entry), aliases(held, entry, keys, place))))
    return {path: each for path, (_, each) in by_path(found).items()}


def entries(model: nnx.Module | nnx.State) -> Iterator[tuple[Keys, Any]]:
    """What `nnx.state` lists, Variables and bare arrays, live and each once; random state aside."""
    return ((keys, entry) for keys, entry in _listed(model) if not isinstance(entry, nnx.RngState))


def _listed(model: nnx.Module | nnx.State) -> Iterator[tuple[Keys, Any]]:
    flat = nnx.to_flat_state(model if isinstance(model, nnx.State) else nnx.state(model))
    return ((tuple(keys), entry) for keys, entry in zip(flat.paths, flat.leaves, strict=True))  # type: ignore[misc]


def value_of(entry: Any) -> Any:
    """What a Variable holds: an array, or a tree of them; a bare array is its own."""
    return entry.get_raw_value() if isinstance(entry, nnx.Variable) else entry


def _role(entry: Any) -> Literal["parameter", "buffer", "statistic"]:
    if isinstance(entry, nnx.BatchStat):
        return "statistic"
    return "parameter" if isinstance(entry, nnx.Param) else "buffer"


def places(model: nnx.Module) -> dict[int, list[Keys]]:
    """Every place of each Variable, by its identity, in order of registration."""
    found: dict[int, list[Keys]] = {}
    for _, native, node in nodes(model):
        for name, value in members(node):
            if isinstance(value, nnx.Variable):
                found.setdefault(id(value), []).append((*native, name))
    return found


def aliases(held: Mapping[int, Sequence[Keys]], entry: Any, keys: Keys, place: Keys) -> tuple[str, ...]:
    """The other paths of an array that an entry, listed under `keys`, has at a place. held: of `places`."""
    own = held.get(id(entry), ())
    others = [other for other in own if other != keys] if keys in own else []
    return tuple(dotted((*other, *place[len(keys) :])) for other in others)


def round_trips(model: nnx.Module) -> Iterator[RoundTrip]:
    """Save the module and load it, in turn by `split and merge`, `pure dict` and, where installed, `safetensors`.

    Each time it is loaded into a clone of the module with other values, random state aside; in safetensors the arrays
    are under the first of their paths. Nothing stays on disk.

    Raises:
        NotExpressibleError: NNX or safetensors refuses to save the module; its path is the way.
        WeightsError: what was saved does not load into the clone; its path is the way.
        ChildNameError: two arrays whose names lead to one path.
    """
    ways: dict[str, Callable[[nnx.Module, nnx.Module], nnx.Module]] = {
        "split and merge": _by_split,
        "pure dict": _by_pure_dict,
    }
    if has_safetensors():
        ways["safetensors"] = _by_safetensors
    for way, through in ways.items():
        fresh = with_stored_tensors(nnx.clone(model), all_unlike(stored_tensors(model)))
        yield RoundTrip(way, stored_tensors(through(model, fresh)))


def _by_split(model: nnx.Module, fresh: nnx.Module) -> nnx.Module:
    with saving("split and merge"):
        _, state = nnx.split(model)
    with loading("split and merge"):
        graph, _ = nnx.split(fresh)
        return nnx.merge(graph, state)


def _by_pure_dict(model: nnx.Module, fresh: nnx.Module) -> nnx.Module:
    with saving("pure dict"):
        pure = nnx.to_pure_dict(nnx.state(model))
    with loading("pure dict"):
        state = nnx.state(fresh)
        nnx.replace_by_pure_dict(state, pure)
        nnx.update(fresh, state)
        return fresh


def _by_safetensors(model: nnx.Module, fresh: nnx.Module) -> nnx.Module:
    return with_stored_tensors(fresh, through_safetensors(stored_tensors(model)))
