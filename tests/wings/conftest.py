"""What the tests of the wings share: each wing in turn, and exact texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing


@pytest.fixture(params=WINGS)
def wing(request: pytest.FixtureRequest) -> Any:
    """The wing's package, with all that it offers."""
    return load_wing(request.param)


def exactly(text: str) -> str:
    """A pattern for the whole of a message."""
    return f"^{re.escape(text)}$"


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """A neutral array of fresh N(0, 1)."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32).astype(dtype)


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """The same paths in the same order, and bit for bit the same arrays."""
    assert list(found) == list(expected)
    for path, array in expected.items():
        assert found[path].dtype == array.dtype, path
        np.testing.assert_array_equal(found[path], array, err_msg=path)


def assert_close(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], allowed: float = 1e-12) -> None:
    """The same paths, and errors that are small beside the norm of the expected array."""
    assert set(found) == set(expected)
    for path, array in expected.items():
        assert found[path].shape == array.shape, path
        error = np.linalg.norm(found[path] - array)
        assert error <= allowed * max(np.linalg.norm(array), 1e-30) or error == 0, f"{path}: {error}"
