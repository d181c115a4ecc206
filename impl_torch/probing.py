"""Probing: outputs, gradients and sites, of a live module as it is or of a copy with any weights.

What is canonical has neutral arrays under canonical paths, of the module itself, in its own dtype and on its device.
A prober has native arrays, as `stored_tensors` gives them, a tied parameter once, under its owner; it
never writes to the module, and is to be made and used inside `running(device, dtype)`. The two differ in one more
thing: a prober's gradients are the function's, where the fused kernels of attention give others. An embedding's
`padding_idx` keeps its row from every gradient, as it keeps it from training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..common.arrays import as_numpy
from ..common.wing import (
    Call,
    Cotangents,
    Inputs,
    Probe,
    Prober,
    Site,
    SiteProber,
    asked,
    check_cotangent,
    check_fit,
    one_array,
)
from .access import neutral, tensor
from .core import called, cast_copy, derivatives, floating, given, inference, weighted
from .devices import dtype_of
from .naming import owner_leaves
from .rounding import Rerounded
from .sites import SplitUses
from .stored import owned, write


def call(model: nn.Module, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The output for neutral `inputs`, in inference mode, as a neutral array.

    Raises:
        NotExpressibleError: the output is not one array.
    """
    with inference(model), torch.no_grad():
        return neutral(one_array(called(model, given(model, inputs))))


def value_and_gradients(
    model: nn.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """The value <output, cotangent> and its gradient by every parameter, in inference mode.

    cotangent: an array of the output's shape. A tied parameter's gradient is the sum over its sites; one that the
    output does not depend on has gradient zero. The modules' own `.grad` is not touched.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: a cotangent of another shape.
    """
    parameters = {path: leaf.array for path, leaf in owner_leaves(model).items()}
    with inference(model), _unfrozen(parameters.values()):
        value = _objective(model, inputs, cotangent)
        gradients = derivatives(value, list(parameters.values()))
    return value.item(), {
        path: neutral(_whole(array, each)) for (path, array), each in zip(parameters.items(), gradients, strict=True)
    }


def site_gradients(
    model: nn.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> dict[str, tuple[Site, ...]]:
    """Each owner's sites in the order of the program, with each site's share of the gradient of <output, cotangent>.

    A site is a torch operation that takes the parameter as an argument. While the model runs, every such argument is
    replaced by a leaf of its own, so that one backward pass yields the shares.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: a cotangent of another shape.
    """
    parameters = {path: leaf.array for path, leaf in owner_leaves(model).items()}
    with inference(model), SplitUses(parameters) as uses:
        value = _objective(model, inputs, cotangent)
    return uses.shares(value)


def _objective(model: nn.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray) -> torch.Tensor:
    """<output, cotangent> as a scalar tensor with its graph, also in a mode that has none."""
    with torch.inference_mode(False), torch.enable_grad():
        output = called(model, given(model, inputs))
        check_cotangent(cotangent, output)
        return weighted([output], [tensor(cotangent).to(output.device)])


@contextmanager
def _unfrozen(parameters: Iterable[torch.Tensor]) -> Iterator[None]:
    """Gradients by every parameter, as the other wings give them: also by one that training is to leave alone."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _whole(array: torch.Tensor, gradient: torch.Tensor | None) -> torch.Tensor:
    """The gradient by an array that the outputs may not depend on."""
    return torch.zeros_like(array) if gradient is None else gradient


def prober(model: nn.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The model made ready to be probed: `run(weights, cotangents)` gives a Probe.

    Nothing is compiled in this wing. It works on a copy of the model.

    Arguments and errors: see `SideWing`.
    """
    own = _Own(model, inputs, dtype_of(dtype))
    parameters = {path: array.requires_grad_() for path, array in own.parameters.items()}

    def run(weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True, rounded: int = 0) -> Probe:
        own.write(weights)
        if rounded:
            with own.running(), torch.no_grad(), Rerounded(rounded):
                outputs = own.outputs(call)
            return Probe({name: neutral(output) for name, output in outputs.items()}, {})
        with own.running(), torch.set_grad_enabled(gradients):
            outputs = own.outputs(call)
            value = _value(outputs, cotangents) if gradients else torch.zeros(())
        found = derivatives(value, list(parameters.values())) if gradients else ()
        pairs = zip(parameters.items(), found, strict=gradients)
        return Probe(
            {name: neutral(output) for name, output in outputs.items()},
            # In the memory that a gradient has, which nothing else uses.
            {path: as_numpy(_whole(array, each)) for (path, array), each in pairs},
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
            value = _value(own.outputs(call), cotangents)
        return uses.shares(value)

    return run


def plain_attention() -> AbstractContextManager[Any]:
    """The kernels for speed have other derivatives where a row is masked altogether."""
    return sdpa_kernel(SDPBackend.MATH)


class _Own:
    """A copy of a model in one dtype, to be given weights and run.

    parameters: those of floating-point numbers, by their owners' paths.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, dtype: torch.dtype) -> None:
        self.model = cast_copy(model, dtype)
        self.owners = {path: each.array for path, each in owned(self.model).items()}
        self.parameters = {
            path: array
            for path, array in self.owners.items()
            if isinstance(array, nn.Parameter) and array.is_floating_point()
        }
        self._shapes = {path: tuple(array.shape) for path, array in self.owners.items()}
        self._before = {path: each.array for path, each in owned(model).items()}
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
        with inference(self.model), plain_attention():
            yield

    def outputs(self, call: Call | None) -> dict[str, torch.Tensor]:
        """The floating-point outputs by their place."""
        return floating(called(self.model, self._arguments, call))


def _value(outputs: Mapping[str, torch.Tensor], cotangents: Cotangents) -> torch.Tensor:
    """<outputs, cotangents> as one number."""
    made = cotangents([tuple(output.shape) for output in outputs.values()])
    placed = [tensor(each).to(output) for each, output in zip(made, outputs.values(), strict=True)]
    return weighted(outputs.values(), placed)
