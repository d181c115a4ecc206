"""Probing: a side's outputs and gradients for any weights, as often as wanted. The model is never written to.

All arrays are native ones, as `natives` gives and `with_natives` takes them; a tied parameter once, under its owner.
To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from ..common.maparrays import as_numpy
from ..common.natives import check_fit
from ..common.pairs import Call, Cotangents, Inputs, Probe, Prober, named_arrays
from .access import derivatives, inference, neutral, tensor
from .devices import dtype_of
from .natives import owned, write


def prober(model: nn.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The model made ready to be probed: `run(weights, cotangents)` gives a Probe.

    inputs: neutral arrays by position or by name; what is floating in them and in the model becomes `dtype`.
    call: `call(model, inputs)`; without it the model is called with the inputs. It runs in inference mode.
    weights: native arrays for any of the model's owners; the others keep the values they have.

    Nothing is compiled in this wing. It works on a copy of the model.

    Raises:
        DtypeError: no floating-point type of that name.
        WeightsError: from the run, weights for no owner or of another shape.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    own = _copied(model, dtype_of(dtype))
    owners = {path: each.tensor for path, each in owned(own).items()}
    shapes = {path: tuple(array.shape) for path, array in owners.items()}
    before = {path: each.tensor for path, each in owned(model).items()}
    written: set[str] = set()
    parameters = {
        path: array.requires_grad_()
        for path, array in owners.items()
        if isinstance(array, nn.Parameter) and array.is_floating_point()
    }
    arguments = given(own, inputs, dtype_of(dtype))

    def run(weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True) -> Probe:
        check_fit(shapes, weights)
        for path in written.difference(weights):
            write(owners[path], before[path])
        for path, array in weights.items():
            write(owners[path], array)
        written.update(weights)
        # The kernels for speed have other derivatives where a row is masked altogether.
        with inference(own), torch.set_grad_enabled(gradients), _WholeGradients(), sdpa_kernel(SDPBackend.MATH):
            outputs = _outputs(own, arguments, call)
            value = _weighted(outputs, cotangents) if gradients else torch.zeros(())
        found = derivatives(value, list(parameters.values())) if gradients else ()
        return Probe(
            {name: neutral(output) for name, output in outputs.items()},
            {path: _gradient(array, each) for (path, array), each in zip(parameters.items(), found, strict=gradients)},
        )

    return run


def _copied(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of the module in `dtype`, the tensors that its submodules keep as mere attributes included."""
    held = [vars(module) for module in model.modules()]
    # PyTorch refuses to copy a tensor that was computed, such as the weight that `weight_norm` keeps beside its parts.
    computed = [
        each for names in held for each in names.values() if isinstance(each, torch.Tensor) and not each.is_leaf
    ]
    own = copy.deepcopy(model, {id(each): each.detach().clone() for each in computed}).to(dtype)
    for module in own.modules():
        for name, each in vars(module).items():
            if isinstance(each, torch.Tensor) and each.is_floating_point():
                vars(module)[name] = each.to(dtype)
    return own


def _weighted(outputs: Mapping[str, torch.Tensor], cotangents: Cotangents) -> torch.Tensor:
    """<outputs, cotangents> as one number."""
    made = cotangents([tuple(output.shape) for output in outputs.values()])
    pairs = zip(outputs.values(), made, strict=True)
    return sum(((output * tensor(each).to(output)).sum() for output, each in pairs), torch.zeros(()))


def _gradient(array: torch.Tensor, gradient: torch.Tensor | None) -> np.ndarray:
    """In the memory that it has, which nothing else uses."""
    return as_numpy(torch.zeros_like(array) if gradient is None else gradient)


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


def given(model: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Any:
    """The inputs as tensors on the model's device, floating ones in `dtype`."""
    device = next((array.device for array in (*model.parameters(), *model.buffers())), torch.device("cpu"))

    def placed(array: np.ndarray) -> torch.Tensor:
        made = tensor(array)
        return made.to(device, dtype if made.is_floating_point() else made.dtype)

    if isinstance(inputs, Mapping):
        return {name: placed(array) for name, array in inputs.items()}
    return tuple(placed(array) for array in inputs)


def _outputs(model: nn.Module, arguments: Any, call: Call | None) -> dict[str, torch.Tensor]:
    """The floating-point outputs by their place."""
    return {
        name: array for name, array in named_arrays(called(model, arguments, call)).items() if array.is_floating_point()
    }


def called(model: nn.Module, arguments: Any, call: Call | None) -> Any:
    """The output of `call(model, arguments)`, or without one of the model itself."""
    if call is not None:
        return call(model, arguments)
    return model(**arguments) if isinstance(arguments, Mapping) else model(*arguments)
