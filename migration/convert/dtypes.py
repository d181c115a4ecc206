"""Dtypes by the names that a safetensors file has for them, and those that a conversion casts to."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from ...common.errors import DtypeError, nearest

CASTS: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}


def cast_to(name: str) -> np.dtype:
    """The dtype of that name.

    Raises:
        DtypeError: a conversion does not cast to it.
    """
    if name not in CASTS:
        raise DtypeError("dtype", "one of " + ", ".join(map(repr, CASTS)), repr(name), nearest(name, CASTS))
    return CASTS[name]


def is_floating(dtype: np.dtype) -> bool:
    """Whether it is a floating-point type, those that NumPy has from elsewhere included."""
    return "float" in dtype.name


def common_dtype(dtypes: list[np.dtype]) -> np.dtype:
    """The one dtype of these, or the narrowest that holds the values of all."""
    found = dtypes[0]
    for dtype in dtypes[1:]:
        # NumPy knows no promotion of two types that both come from elsewhere.
        found = found if dtype == found else np.result_type(*(_known(each) for each in (found, dtype)))
    return found


def _known(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.isbuiltin == 1 else np.dtype(np.float32)
