"""Probing: a side's outputs and gradients for any weights, as often as wanted. The model is never written to.

All arrays are neutral ones, as `weights` gives and `load` takes them: in the layout of the model's table, a tied
parameter once, under its owner. To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from typing import Any

from flax import nnx

from ...common.pairs import Call, Inputs, Prober
from ..devices import check_dtype
from ..probing import Stored, called, compiled
from .access import inference, values
from .naming import Leaf, leaves, members, nodes


def prober(model: nnx.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The model made ready to be probed: `run(weights, cotangents)` gives a Probe.

    inputs: neutral arrays by position or by name; what is floating in them and in the model becomes `dtype`.
    call: `call(model, inputs)`; without it the model is called with the inputs. It runs in inference mode.
    weights: neutral arrays for any of the model's owners; the others keep the values they have.

    The run is compiled once, for all weights of the same paths. A layer with a dtype of its own computes in that.

    Raises:
        DtypeError: no floating-point type of that name, or float64 where it is not enabled.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    check_dtype(dtype)
    owners = {leaf.path: leaf for leaf in leaves(model) if leaf.owner == leaf.path}
    place = _places(model, owners)
    with inference(model):
        # Apart and together around each call: a tied Variable is one entry of the state, used at all its sites.
        graph, state = nnx.split(model)
    flat = nnx.to_flat_state(state)

    def output_of(stored: Stored, given: Any) -> Any:
        entries = []
        for native, variable in zip(flat.paths, flat.leaves, strict=True):
            path, number = place.get(native, ("", 0))
            entries.append((native, variable.replace(stored[path][number]) if path in stored else variable))
        merged: Any = nnx.merge(graph, nnx.from_flat_state(entries))
        return called(merged, given, call, merged)

    return compiled(output_of, owners, {path: values(leaf) for path, leaf in owners.items()}, inputs, dtype)


def _places(model: nnx.Module, owners: dict[str, Leaf]) -> dict[Any, tuple[str, int]]:
    """The path, and which of its Variables, for every native path that `nnx.split` may list one under."""
    by_variable = {
        id(variable): (path, number) for path, leaf in owners.items() for number, variable in enumerate(leaf.variables)
    }
    return {
        (*native, name): by_variable[id(value)]
        for _, native, node in nodes(model)
        for name, value in members(node)
        if id(value) in by_variable
    }
