"""The way of saving that all sides that JAX runs have in common: a file of safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..common.wing import Native, loading, saving, unlike


def others(listed: Mapping[str, Native]) -> dict[str, np.ndarray]:
    """For each of a side's arrays one with other values in every entry."""
    return {path: unlike(native.array) for path, native in listed.items()}


def by_safetensors(listed: Mapping[str, Native]) -> dict[str, Any]:
    """The arrays by path, written to a file and read from it. Nothing stays on disk.

    Raises:
        NotExpressibleError, WeightsError: safetensors refuses to write or to read one, such as 4-bit numbers.
    """
    from safetensors.numpy import load_file, save_file

    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        with saving("safetensors"):
            # It writes memory as it lies: an array with other strides would come back in another order.
            save_file({path: np.asarray(native.array, order="C") for path, native in listed.items()}, file)
        with loading("safetensors"):
            return load_file(file)
