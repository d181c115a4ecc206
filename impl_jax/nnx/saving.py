"""Round trips: a module saved and loaded again in each of the ways of NNX's users."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flax import nnx

from ...common.wing import RoundTrip, has_safetensors, loading, saving
from ..saving import by_safetensors, others
from .natives import natives, with_natives


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
        fresh = with_natives(nnx.clone(model), others(natives(model)))
        yield RoundTrip(way, natives(through(model, fresh)))


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
    return with_natives(fresh, by_safetensors(natives(model)))
