"""The core of the wing: a module run in a mode and on its device, and what is differentiated of it.

What is canonical runs the live module itself; what is made ready for any weights runs a copy of it in a dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ..common.wing import Call, Inputs, named_arrays
from .access import tensor
from .devices import under_test
from .stored import copied


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


def generators_kept(model: nn.Module) -> AbstractContextManager[None]:
    """PyTorch's generators, which are global, put back afterwards: those that a run of the module may use."""
    return torch.random.fork_rng(sorted({array.device.index for array in _tensors(model) if array.is_cuda}))


def given(model: nn.Module, inputs: Inputs | Sequence[np.ndarray], dtype: torch.dtype | None = None) -> Any:
    """Neutral inputs, by position or by name, as tensors on the device where the module lives.

    dtype: of floating ones; without it each keeps its own.
    """
    device = next((array.device for array in _tensors(model)), torch.device("cpu"))

    def placed(array: np.ndarray) -> torch.Tensor:
        made = tensor(array)
        return made.to(device, dtype if made.is_floating_point() else None)

    if isinstance(inputs, Mapping):
        return {name: placed(array) for name, array in inputs.items()}
    return tuple(placed(array) for array in inputs)


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def called(model: nn.Module, arguments: Any, call: Call | None = None) -> Any:
    """The output of `call(model, arguments)`, or without one of the module itself."""
    if call is not None:
        return call(model, arguments)
    return model(**arguments) if isinstance(arguments, Mapping) else model(*arguments)


def floating(output: Any) -> dict[str, torch.Tensor]:
    """The floating-point arrays of an output by their place in it.

    Raises:
        NotExpressibleError: the output is no structure of arrays.
    """
    return {name: array for name, array in named_arrays(output).items() if array.is_floating_point()}


def weighted(outputs: Iterable[torch.Tensor], cotangents: Iterable[torch.Tensor]) -> torch.Tensor:
    """<outputs, cotangents> as one number; each cotangent is of its output's shape."""
    terms = [(output * cotangent).sum() for output, cotangent in zip(outputs, cotangents, strict=True)]
    return sum(terms[1:], terms[0]) if terms else torch.zeros(())


def squared_error(outputs: Iterable[torch.Tensor], targets: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum over the outputs of the mean squared error; each target is of its output's shape."""
    pairs = zip(outputs, targets, strict=True)
    return sum((((output - target) ** 2).mean() for output, target in pairs), torch.zeros(()))


def derivatives(value: torch.Tensor, by: Sequence[torch.Tensor]) -> Sequence[torch.Tensor | None]:
    """The gradient of `value` by each tensor, None where it does not depend on it, which autograd may call an error.

    A gradient that is sparse, as an embedding may ask for, is given with its zeros.
    """
    if not by or not value.requires_grad:
        return [None] * len(by)
    found = torch.autograd.grad(value, by, allow_unused=True)
    return [each.to_dense() if each is not None and each.is_sparse else each for each in found]


def cast_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of the module in `dtype`, on the device under test if there is one.

    The tensors that its submodules keep as mere attributes are cast too.
    """
    own = copied(model).to(under_test(), dtype)
    for module in own.modules():
        for name, each in vars(module).items():
            if isinstance(each, torch.Tensor) and each.is_floating_point():
                vars(module)[name] = each.to(under_test(), dtype)
    return own
