"""Stored tensors: every array of a live model's variables, a model with others, and one saved and loaded again.

A path begins with the collection: `params.layers_0.kernel`. A tied parameter is stored once, and has no second path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flax import serialization

from ...common.wing import RoundTrip, StoredTensor, all_unlike, has_safetensors, loading, saving, through_safetensors
from ..trees import Keys, Owned, arrays_of, as_stored_tensors, by_path, replaced
from .naming import Model, like, stored_kind


def stored_tensors(model: Model) -> dict[str, StoredTensor]:
    """Every array of the variables by its path, in their order. A box around one notes its partitioning, and is no key.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return as_stored_tensors(owned(model))


def with_stored_tensors(model: Model, arrays: Mapping[str, Any]) -> Model:
    """A new model with some or all of its arrays replaced, in their own dtypes. `model` is as it was.

    arrays: of any framework, by path.

    Raises:
        WeightsError: one message for every path that is no owner's and every wrong shape.
        ChildNameError: two arrays whose names lead to one path.
    """
    module, variables = model
    return like(model, module, replaced(variables, owned(model), arrays))


def owned(model: Model) -> dict[str, Owned]:
    """The live arrays by their paths, in the order of the variables.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return {path: Owned(keys, array, _role(keys)) for path, (keys, array) in by_path(arrays_of(model[1])).items()}


def _role(keys: Keys) -> Any:
    return "statistic" if keys[0] == "batch_stats" else stored_kind(str(keys[0]))


def round_trips(model: Model) -> Iterator[RoundTrip]:
    """Save the variables and load them, in turn by `state dict`, `msgpack` and, where it is installed, `safetensors`.

    Each time they are loaded into variables of the same structure with other values, in safetensors under their paths.
    Nothing stays on disk.

    Raises:
        NotExpressibleError: Flax or safetensors refuses to save the variables; its path is the way.
        WeightsError: what was saved does not load; its path is the way.
        ChildNameError: two arrays whose keys lead to one path.
    """
    ways: dict[str, Callable[[Model, Model], Model]] = {"state dict": _by_state_dict, "msgpack": _by_msgpack}
    if has_safetensors():
        ways["safetensors"] = _by_safetensors
    for way, through in ways.items():
        fresh = with_stored_tensors(model, all_unlike(stored_tensors(model)))
        yield RoundTrip(way, stored_tensors(through(model, fresh)))


def _by_state_dict(model: Model, fresh: Model) -> Model:
    with saving("state dict"):
        state = serialization.to_state_dict(model[1])
    with loading("state dict"):
        return like(fresh, fresh[0], serialization.from_state_dict(fresh[1], state))


def _by_msgpack(model: Model, fresh: Model) -> Model:
    with saving("msgpack"):
        saved = serialization.to_bytes(model[1])
    with loading("msgpack"):
        return like(fresh, fresh[0], serialization.from_bytes(fresh[1], saved))


def _by_safetensors(model: Model, fresh: Model) -> Model:
    return with_stored_tensors(fresh, through_safetensors(stored_tensors(model)))
