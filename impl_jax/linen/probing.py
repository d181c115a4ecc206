"""Probing: a side's outputs and gradients for any weights, as often as wanted. The model is never written to.

All arrays are neutral ones, as `weights` gives and `load` takes them: in the layout of the model's table, a tied
parameter once, under its owner. To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from typing import Any

from ...common.pairs import Call, Inputs, Prober
from ..devices import check_dtype
from ..probing import Stored, called, compiled
from .access import replaced
from .naming import Model, leaves


def prober(model: Model, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The model made ready to be probed: `run(weights, cotangents)` gives a Probe.

    inputs: neutral arrays by position or by name; what is floating in them and in the model becomes `dtype`.
    call: `call(model, inputs)`; without it `module.apply(variables, *inputs)`, with no dropout key.
    weights: neutral arrays for any of the model's owners; the others keep the values they have.

    The run is compiled once, for all weights of the same paths. A layer with a dtype of its own computes in that.

    Raises:
        DtypeError: no floating-point type of that name, or float64 where it is not enabled.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    check_dtype(dtype)
    owners = {leaf.path: leaf for leaf in leaves(model) if leaf.owner == leaf.path}

    def output_of(stored: Stored, given: Any) -> Any:
        places = {path: owners[path].stored_at for path in stored}
        arrays = {place: array for path in stored for place, array in zip(places[path], stored[path], strict=True)}
        module, variables = replaced(model, arrays)
        return called((module, variables), given, call, lambda *a, **k: module.apply(variables, *a, **k))

    return compiled(output_of, owners, {path: leaf.arrays for path, leaf in owners.items()}, inputs, dtype)
