"""Roundings: a side that goes through a coarser type than the other."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from ..gap import Cause, Gap

_COARSE = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def rounded(gap: Gap) -> Cause | None:
    """All numbers of one side, and not all of the other, are ones of a coarse type: each is the other's, rounded."""
    for name, dtype in _COARSE.items():
        unit = float(ml_dtypes.finfo(dtype).eps)
        for role, coarse, fine in (("port", gap.port, gap.reference), ("reference", gap.reference, gap.port)):
            if gap.error <= unit and _is_of(coarse, dtype) and not _is_of(fine, dtype):
                return Cause("dropped dtype", f"the {role} rounds to {name}")
    return None


def _is_of(array: np.ndarray, dtype: type) -> bool:
    with np.errstate(over="ignore"):
        return np.array_equal(array.astype(dtype).astype(np.float64), array)
