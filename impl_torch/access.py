"""Access: a live module's table, its parameters one by one, its weights as neutral arrays, its gradients.

Neutral arrays are NumPy's, in the canonical layout, by path; a tied parameter appears under its owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin

from ..common.tables import Row, Table
from ..common.ties import Tie
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
    return (None,) if isinstance(array, UninitializedTensorMixin) else tuple(array.shape)


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
        array = get_parameter(model, path)
        array.copy_(torch.as_tensor(value, device=array.device))
    return model


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The framework's own state: `state_dict()`, every alias listed."""
    return model.state_dict()


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    """Every owner's values by path, as neutral arrays that share no memory with the model."""
    return {leaf.path: neutral(leaf.array) for leaf in leaves(model) if leaf.owner == leaf.path}


def neutral(array: torch.Tensor) -> np.ndarray:
    """A NumPy copy of a tensor."""
    return array.detach().cpu().numpy().copy()


def load(model: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """Copy neutral weights into the module, all or nothing. Returns `model`.

    Raises:
        WeightsError: one message for every missing, extra and misshapen entry.
    """
    table(model).check_weights(weights)
    with torch.no_grad():
        for leaf in leaves(model):
            if leaf.owner == leaf.path:
                leaf.array.copy_(torch.as_tensor(weights[leaf.path]))
    return model


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """The module in inference mode; each submodule's own mode is put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def arrays(model: nn.Module, inputs: Sequence[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Neutral inputs as tensors on the device where the model lives."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    return tuple(torch.tensor(array, device=device) for array in inputs)


def call(model: nn.Module, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The output for neutral `inputs`, in inference mode, as a neutral array."""
    with inference(model), torch.no_grad():
        return neutral(model(*arrays(model, inputs)))


def value_and_gradients(
    model: nn.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """The value <output, cotangent> and its gradient by every parameter, in inference mode.

    cotangent: an array of the output's shape. A tied parameter's gradient is the sum over its sites; one that the
    output does not depend on has gradient zero. The modules' own `.grad` is not touched.
    """
    owners = {leaf.path: leaf.array for leaf in leaves(model) if leaf.owner == leaf.path and leaf.kind == "parameter"}
    with inference(model):
        value = objective(model, inputs, cotangent)
    gradients = torch.autograd.grad(value, list(owners.values()), allow_unused=True)
    return value.item(), {
        path: neutral(torch.zeros_like(array) if gradient is None else gradient)
        for (path, array), gradient in zip(owners.items(), gradients, strict=True)
    }


def objective(model: nn.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray) -> torch.Tensor:
    """<output, cotangent> as a scalar tensor with its graph."""
    output = model(*arrays(model, inputs))
    return (output * torch.as_tensor(cotangent, device=output.device)).sum()
