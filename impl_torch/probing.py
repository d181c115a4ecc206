"""Probing: a side's outputs and gradients for any weights, as often as wanted. The model is never written to.

All arrays are native ones, as `natives` gives and `with_natives` takes them; a tied parameter once, under its owner.
To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from ..common.arrays import as_numpy
from ..common.wing import Call, Cotangents, Inputs, Probe, Prober, Site, SiteProber, asked, check_fit, named_arrays
from .access import derivatives, inference, neutral, tensor
from .devices import dtype_of, under_test
from .natives import copied, owned, write
from .sites import SplitUses


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
    own = _Own(model, inputs, dtype_of(dtype))
    parameters = {path: array.requires_grad_() for path, array in own.parameters.items()}

    def run(weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True) -> Probe:
        own.write(weights)
        with own.running(), torch.set_grad_enabled(gradients):
            outputs = own.outputs(call)
            value = _weighted(outputs, cotangents) if gradients else torch.zeros(())
        found = derivatives(value, list(parameters.values())) if gradients else ()
        return Probe(
            {name: neutral(output) for name, output in outputs.items()},
            {path: _gradient(array, each) for (path, array), each in zip(parameters.items(), found, strict=gradients)},
        )

    return run


def site_prober(model: nn.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> SiteProber:
    """The model made ready to be asked for sites: `run(weights, cotangents, paths)` gives those of each path.

    A site is a torch operation that takes the parameter as an argument. What uses it where PyTorch shows nobody, an
    `autograd.Function` of the model's own, is one site together, the last one, named `unseen`. The rest is as for
    `prober`.

    Raises:
        DtypeError, WeightsError, NotExpressibleError: as from `prober`.
        PathError: from the run, a path of no parameter.
    """
    own = _Own(model, inputs, dtype_of(dtype))

    def run(weights: Mapping[str, Any], cotangents: Cotangents, paths: Iterable[str]) -> dict[str, tuple[Site, ...]]:
        wanted = {path: own.parameters[path] for path in asked(paths, own.parameters)}
        own.write(weights)
        for path, array in own.parameters.items():
            array.requires_grad_(path in wanted)
        with own.running(), torch.enable_grad(), SplitUses(wanted) as uses:
            value = _weighted(own.outputs(call), cotangents)
        return uses.shares(value)

    return run


class _Own:
    """A copy of a model in one dtype, to be given weights and run.

    parameters: those of floating-point numbers, by their owners' paths.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, dtype: torch.dtype) -> None:
        self.model = cast_copy(model, dtype)
        self.owners = {path: each.tensor for path, each in owned(self.model).items()}
        self.parameters = {
            path: array
            for path, array in self.owners.items()
            if isinstance(array, nn.Parameter) and array.is_floating_point()
        }
        self._shapes = {path: tuple(array.shape) for path, array in self.owners.items()}
        self._before = {path: each.tensor for path, each in owned(model).items()}
        self._written: set[str] = set()
        self._arguments = given(self.model, inputs, dtype)

    def write(self, weights: Mapping[str, Any]) -> None:
        """Put in the weights; what was written before and is not given now gets the model's value back."""
        check_fit(self._shapes, weights)
        for path in self._written.difference(weights):
            write(self.owners[path], self._before[path])
        for path, array in weights.items():
            write(self.owners[path], array)
        self._written.update(weights)

    @contextmanager
    def running(self) -> Iterator[None]:
        # The kernels for speed have other derivatives where a row is masked altogether.
        with inference(self.model), _WholeGradients(), sdpa_kernel(SDPBackend.MATH):
            yield

    def outputs(self, call: Call | None) -> dict[str, torch.Tensor]:
        """The floating-point outputs by their place."""
        found = named_arrays(called(self.model, self._arguments, call))
        return {name: array for name, array in found.items() if array.is_floating_point()}


def cast_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of the module in `dtype`, the tensors that its submodules keep as mere attributes included."""
    own = copied(model).to(under_test(), dtype)
    for module in own.modules():
        for name, each in vars(module).items():
            if isinstance(each, torch.Tensor) and each.is_floating_point():
                vars(module)[name] = each.to(under_test(), dtype)
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


def called(model: nn.Module, arguments: Any, call: Call | None) -> Any:
    """The output of `call(model, arguments)`, or without one of the model itself."""
    if call is not None:
        return call(model, arguments)
    return model(**arguments) if isinstance(arguments, Mapping) else model(*arguments)
