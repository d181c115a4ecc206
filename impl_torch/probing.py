"""Probing: a side's outputs and gradients for any weights, as often as wanted. The model is never written to.

All arrays are neutral ones, as `weights` gives and `load` takes them: in the layout of the model's table, a tied
parameter once, under its owner. To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..common.pairs import Call, Cotangents, Inputs, Probe, Prober, named_arrays
from .access import derivatives, inference, neutral, tensor
from .devices import dtype_of
from .naming import leaves


def prober(model: nn.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The model made ready to be probed: `run(weights, cotangents)` gives a Probe.

    inputs: neutral arrays by position or by name; what is floating in them and in the model becomes `dtype`.
    call: `call(model, inputs)`; without it the model is called with the inputs. It runs in inference mode.
    weights: neutral arrays for any of the model's owners; the others keep the values they have.

    Nothing is compiled in this wing. It works on a copy of the model.

    Raises:
        DtypeError: no floating-point type of that name.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    own = copy.deepcopy(model).to(dtype_of(dtype))
    owners = {leaf.path: leaf for leaf in leaves(own) if leaf.owner == leaf.path}
    parameters = {
        path: leaf.array.requires_grad_()
        for path, leaf in owners.items()
        if leaf.kind == "parameter" and leaf.array.is_floating_point()
    }
    given = _given(own, inputs, dtype_of(dtype))

    def run(weights: Mapping[str, np.ndarray], cotangents: Cotangents) -> Probe:
        with torch.no_grad():
            for path, value in weights.items():
                owners[path].array.copy_(tensor(value))
        with inference(own), torch.enable_grad(), _WholeGradients():
            outputs = _outputs(own, given, call)
            made = cotangents([tuple(output.shape) for output in outputs.values()])
            pairs = zip(outputs.values(), made, strict=True)
            value = sum(((output * tensor(each).to(output)).sum() for output, each in pairs), torch.zeros(()))
        gradients = derivatives(value, list(parameters.values()))
        return Probe(
            {name: neutral(output) for name, output in outputs.items()},
            {
                path: neutral(torch.zeros_like(array) if gradient is None else gradient)
                for (path, array), gradient in zip(parameters.items(), gradients, strict=True)
            },
        )

    return run


class _WholeGradients(TorchFunctionMode):
    """Embeddings without their `padding_idx`, which hides a row's gradient and changes no output.

    The gradient is to be the function's, as for parameters that training leaves alone. JAX has no such index.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.embedding:
            bound = inspect.signature(func).bind(*args, **(kwargs or {}))
            bound.arguments["padding_idx"] = None
            return func(*bound.args, **bound.kwargs)
        return func(*args, **(kwargs or {}))


def _given(model: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Any:
    """The inputs as tensors on the model's device, floating ones in `dtype`."""
    device = next((array.device for array in (*model.parameters(), *model.buffers())), torch.device("cpu"))

    def placed(array: np.ndarray) -> torch.Tensor:
        made = tensor(array)
        return made.to(device, dtype if made.is_floating_point() else made.dtype)

    if isinstance(inputs, Mapping):
        return {name: placed(array) for name, array in inputs.items()}
    return tuple(placed(array) for array in inputs)


def _outputs(model: nn.Module, given: Any, call: Call | None) -> dict[str, torch.Tensor]:
    """The floating-point outputs by their place."""
    return {
        name: array for name, array in named_arrays(_called(model, given, call)).items() if array.is_floating_point()
    }


def _called(model: nn.Module, given: Any, call: Call | None) -> Any:
    """The output of `call(model, given)`, or without one of the model itself."""
    if call is not None:
        return call(model, given)
    return model(**given) if isinstance(given, Mapping) else model(*given)
