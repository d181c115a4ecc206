"""Round trips: variables saved and loaded again in each of the ways of Linen's users."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flax import serialization

from ...common.wing import RoundTrip, has_safetensors, loading, saving
from ..saving import by_safetensors, others
from .naming import Model, like
from .natives import natives, with_natives


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
        fresh = with_natives(model, others(natives(model)))
        yield RoundTrip(way, natives(through(model, fresh)))


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
    return with_natives(fresh, by_safetensors(natives(model)))
