"""The dtypes of safetensors files, by the names that a file has for them."""

from __future__ import annotations

import ml_dtypes
import numpy as np

# In the order of safetensors' own list: a file holds the tensors of the last type first.
DTYPES: dict[str, np.dtype] = {
    name: np.dtype(of)
    for name, of in {
        "BOOL": np.bool_,
        "U8": np.uint8,
        "I8": np.int8,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E8M0": ml_dtypes.float8_e8m0fnu,
        "I16": np.int16,
        "U16": np.uint16,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "I32": np.int32,
        "U32": np.uint32,
        "F32": np.float32,
        "C64": np.complex64,
        "F64": np.float64,
        "I64": np.int64,
        "U64": np.uint64,
    }.items()
}
