"""Probing: a side's outputs and gradients for any weights, as often as wanted. The model is never written to.

All arrays are native ones, as `natives` gives and `with_natives` takes them; a tied parameter once, under its owner.
To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flax import nnx

from ...common.wing import Call, Inputs, Prober, SiteProber
from ..devices import check_dtype
from ..probing import Arrays, called, compiled, divided
from ..trees import arrays_of, by_path, filled
from .access import inference
from .natives import entries, natives, value_of


def prober(model: nnx.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The model made ready to be probed: `run(weights, cotangents)` gives a Probe.

    inputs: neutral arrays by position or by name; what is floating in them and in the model becomes `dtype`.
    call: `call(model, inputs)`; without it the model is called with the inputs. It runs in inference mode.
    weights: native arrays for any of the model's owners; the others keep the values they have.

    The run is compiled once, for all weights. A layer with a dtype of its own computes in that.

    Raises:
        DtypeError: no floating-point type of that name, or float64 where it is not enabled.
        WeightsError: from the run, weights for no owner or of another shape.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    check_dtype(dtype)
    return compiled(*_apart(model, call), inputs, dtype)


def site_prober(model: nnx.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> SiteProber:
    """The model made ready to be asked for sites: `run(weights, cotangents, paths)` gives those of each path.

    A site is an operation of the traced program that takes the parameter as an argument; a loop is one. The program is
    compiled once for each choice of paths. The rest is as for `prober`.

    Raises:
        DtypeError, WeightsError, NotExpressibleError: as from `prober`.
        PathError: from the run, a path of no parameter.
    """
    check_dtype(dtype)
    return divided(*_apart(model, call), inputs, dtype)


def _apart(model: nnx.Module, call: Call | None) -> tuple[Callable[[Arrays, Any], Any], Arrays, list[str]]:
    """The output as a function of the arrays by path and the inputs; the arrays; the paths of the parameters."""
    listed = natives(model)
    found = by_path(pair for keys, entry in entries(model) for pair in arrays_of(value_of(entry), keys))
    stored = {path: found[path] for path in listed}
    with inference(model):
        # Apart and together around each call: a tied Variable is one entry of the state, used at all its sites.
        graph, state = nnx.split(model)
    flat = nnx.to_flat_state(state)

    def output_of(arrays: Arrays, given: Any) -> Any:
        new = {stored[path][0]: array for path, array in arrays.items()}
        held = []
        for keys, entry in zip(flat.paths, flat.leaves, strict=True):
            value = filled(value_of(entry), new, tuple(keys))  # type: ignore[arg-type]
            held.append((keys, entry.replace(value) if isinstance(entry, nnx.Variable) else value))
        merged: Any = nnx.merge(graph, nnx.from_flat_state(held))
        return called(merged, given, call, merged)

    trainable = [path for path, native in listed.items() if native.trainable]
    return output_of, {path: array for path, (_, array) in stored.items()}, trainable
