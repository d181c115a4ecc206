"""Arrays of any framework as NumPy's; no framework is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

from .errors import NotExpressibleError


def as_numpy(array: Any) -> np.ndarray:
    """An array of any framework as NumPy's: the same memory where it can be seen from there, and not to be written to.

    Shape and dtype stay; bfloat16 and float8 of PyTorch are types that NumPy has from ml_dtypes.

    Raises:
        NotExpressibleError: a tensor of PyTorch's meta device, or a DTensor of which other processes have parts.
        TypeError, RuntimeError: what PyTorch says of a tensor that NumPy cannot have, such as a sparse one.
    """
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        if getattr(array, "is_meta", False):
            raise on_meta("")
        return _of_torch(_whole(array.detach()).cpu())
    return np.asarray(array)


def _whole(tensor: Any) -> Any:
    """Of a DTensor the tensor that this process has."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is not None and mesh.size() > 1:
        raise in_parts("", mesh.size())
    return tensor if mesh is None else tensor.to_local()


def in_parts(path: str, processes: int) -> NotExpressibleError:
    """What is said of a tensor of which this process does not have all."""
    expected = "a tensor of which this process has all"
    return NotExpressibleError(path, expected, f"one over {processes} processes", "Gather it first.")


def on_meta(path: str) -> NotExpressibleError:
    """What is said of a tensor without values, which whoever reads or writes it would take for one."""
    remedy = "Make it on a device that holds values, or load its weights first."
    return NotExpressibleError(path, "a tensor with values", "one on PyTorch's meta device", remedy)


def _of_torch(tensor: Any) -> np.ndarray:
    name = str(tensor.dtype).removeprefix("torch.")
    if not hasattr(ml_dtypes, name):
        return tensor.numpy()
    # This room imports no framework, but that of a tensor is there already.
    carrier = getattr(sys.modules["torch"], "int16" if tensor.element_size() == 2 else "uint8")
    return tensor.view(carrier).numpy().view(getattr(ml_dtypes, name))


def rerounded(array: np.ndarray, operands: Iterable[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """What an operation gives, each number up or down by as much as one rounding to its type may move it.

    What only moves or chooses numbers rounds none: where all are numbers of the operands, the array itself is given.

    operands: the floating-point arrays that the operation took; what is made of none is exact.
    """
    wide = array.astype(np.float64)
    given = [each.astype(np.float64).ravel() for each in operands]
    if not given or np.isin(wide, np.concatenate(given)).all():
        return array
    signs = random.choice((-1.0, 1.0), array.shape)
    return (wide * (1 + float(ml_dtypes.finfo(array.dtype).eps) * signs)).astype(array.dtype)
