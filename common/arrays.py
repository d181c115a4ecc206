"""Arrays of any framework as NumPy's; no framework is imported."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np


def as_numpy(array: Any) -> np.ndarray:
    """An array of any framework as NumPy's: the same memory where it can be seen from there, and not to be written to.

    Shape and dtype stay; bfloat16 and float8 of PyTorch are types that NumPy has from ml_dtypes.

    Raises:
        TypeError, RuntimeError: what PyTorch says of a tensor that NumPy cannot have, such as a sparse one.
    """
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        return _of_torch(array.detach().cpu())
    return np.asarray(array)


def _of_torch(tensor: Any) -> np.ndarray:
    name = str(tensor.dtype).removeprefix("torch.")
    if not hasattr(ml_dtypes, name):
        return tensor.numpy()
    # This room imports no framework, but that of a tensor is there already.
    carrier = getattr(sys.modules["torch"], "int16" if tensor.element_size() == 2 else "uint8")
    return tensor.view(carrier).numpy().view(getattr(ml_dtypes, name))
