"""Access: a live module's table, its parameters one by one, its weights as neutral arrays, its gradients.

Neutral arrays are NumPy's, in the canonical layout, by path; a tied parameter appears under its owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..common.errors import ShapeError
from ..common.tables import Row, Table
from ..common.ties import Tie
from ..common.wing import one_array
from .naming import find, leaves


def table(model: nn.Module, inputs: Sequence[np.ndarray] | None = None) -> Table:
    """The table of a live module, as `named_parameters`, `named_buffers` and `state_dict` list it.

    inputs: not needed in this wing; a Linen module shows its layers only when called.
    """
    return Table(
        tuple(
            Row(
                path=leaf.path,
                shape=_shape(leaf.array),
                dtype=str(leaf.array.dtype).removeprefix("torch."),
                kind=leaf.kind,
                layer=leaf.layer,
                tie=None if leaf.owner == leaf.path else Tie(leaf.owner, leaf.path),
                native_path=leaf.native_path,
                layout=leaf.layout,
                persistent=leaf.persistent,
            )
            for leaf in leaves(model, inputs)
        )
    )


def _shape(array: torch.Tensor) -> tuple[int | None, ...]:
    # A lazy parameter has no shape to ask for; what is known of it is that it has a width.
    return (None,) if isinstance(array, (UninitializedParameter, UninitializedBuffer)) else tuple(array.shape)


def get_parameter(model: nn.Module, path: str) -> torch.Tensor:
    """The live Parameter (or buffer) at `path`, not a copy. Raises PathError."""
    return find(model, path).array


def set_parameter(model: nn.Module, path: str, value: Any) -> nn.Module:
    """Write `value` (canonical layout) into the parameter at `path`; every alias sees it. Returns `model`.

    Raises:
        PathError, ShapeError, DtypeError: and the model is as it was.
    """
    table(model).check(path, value)
    with torch.no_grad():
        get_parameter(model, path).copy_(tensor(value))
    return model


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The framework's own state: `state_dict()`, every alias listed."""
    return model.state_dict()


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    """Every owner's values by path, as neutral arrays that share no memory with the model.

    Raises:
        ShapeError: a lazy parameter that has no values yet.
    """
    owners = {leaf.path: leaf.array for leaf in leaves(model) if leaf.owner == leaf.path}
    for path, array in owners.items():
        if isinstance(array, (UninitializedParameter, UninitializedBuffer)):
            raise ShapeError(path, "a shape that is known", "(?,)", "Send an input through the model first.")
    return {path: neutral(array) for path, array in owners.items()}


def neutral(array: torch.Tensor) -> np.ndarray:
    """A NumPy copy of a tensor."""
    held = array.detach().cpu()
    if held.dtype == torch.bfloat16:
        # A type that NumPy has from this package alone, of which PyTorch does not know.
        import ml_dtypes

        return held.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return held.numpy().copy()


def tensor(array: Any) -> torch.Tensor:
    """A tensor with the values of an array of any framework."""
    if isinstance(array, torch.Tensor):
        return array
    # By a copy of NumPy's, since PyTorch takes no array that runs backwards and warns of one that is read-only.
    copied = np.array(array, order="C")
    if copied.dtype.name == "bfloat16":
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copied)


def load(model: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """Copy neutral weights into the module, all or nothing. Returns `model`.

    Raises:
        WeightsError: one message for every missing, extra and misshapen entry.
    """
    table(model).check_weights(weights)
    with torch.no_grad():
        for leaf in leaves(model):
            if leaf.owner == leaf.path:
                leaf.array.copy_(tensor(weights[leaf.path]))
    return model


def inference(model: nn.Module) -> AbstractContextManager[None]:
    """The module in inference mode; each submodule's own mode is put back afterwards."""
    return in_mode(model, training=False)


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The module in training or inference mode; each submodule's own mode is put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, before in modes.items():
            module.training = before


def arrays(model: nn.Module, inputs: Sequence[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Neutral inputs as tensors on the device where the model lives."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    return tuple(tensor(array).to(device) for array in inputs)


def cuda_indices(model: nn.Module) -> list[int]:
    """The CUDA devices that the model is on, whose generators a run of it may use."""
    return sorted({array.device.index for array in (*model.parameters(), *model.buffers()) if array.is_cuda})


def call(model: nn.Module, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The output for neutral `inputs`, in inference mode, as a neutral array.

    Raises:
        NotExpressibleError: the output is not one array.
    """
    with inference(model), torch.no_grad():
        return neutral(one_array(model(*arrays(model, inputs))))


def value_and_gradients(
    model: nn.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """The value <output, cotangent> and its gradient by every parameter, in inference mode.

    cotangent: an array of the output's shape. A tied parameter's gradient is the sum over its sites; one that the
    output does not depend on has gradient zero. The modules' own `.grad` is not touched.

    Raises:
        ShapeError: a cotangent of another shape.
    """
    owners = {leaf.path: leaf.array for leaf in leaves(model) if leaf.owner == leaf.path and leaf.kind == "parameter"}
    with inference(model), _unfrozen(owners.values()):
        value = objective(model, inputs, cotangent)
        gradients = derivatives(value, list(owners.values()))
    return value.item(), {
        path: neutral(torch.zeros_like(array) if gradient is None else gradient)
        for (path, array), gradient in zip(owners.items(), gradients, strict=True)
    }


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


def objective(model: nn.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray) -> torch.Tensor:
    """<output, cotangent> as a scalar tensor with its graph."""
    with torch.enable_grad():
        output = one_array(model(*arrays(model, inputs)))
        if tuple(output.shape) != np.shape(cotangent):
            found = f"shape {np.shape(cotangent)}"
            raise ShapeError("", f"a cotangent of the output's shape {tuple(output.shape)}", found)
        return (output * tensor(cotangent).to(output.device)).sum()


def derivatives(value: torch.Tensor, by: Sequence[torch.Tensor]) -> Sequence[torch.Tensor | None]:
    """The gradient of `value` by each tensor, None where it does not depend on it, which autograd may call an error."""
    if not by or not value.requires_grad:
        return [None] * len(by)
    return torch.autograd.grad(value, by, allow_unused=True)
