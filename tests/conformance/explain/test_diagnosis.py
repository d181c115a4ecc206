"""What a wrong array is said to be: each likely mistake, made with arrays, and an array that is none of them."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from paritree.conformance.explain.diagnosis import diagnosis_of, other_orders

Values = np.ndarray
EXACT = np.random.default_rng(0).normal(size=(6, 6))
LIMIT = 1e-5

MISTAKES: dict[str, tuple[Callable[[Values], Values], str, str]] = {
    "transposed": (lambda x: x.T, "transposed", "is the transpose of what it should be"),
    "zero": (np.zeros_like, "zero", "is zero everywhere"),
    "scale": (lambda x: 0.5 * x, "scale", "is 0.5 times what it should be"),
    "sign": (lambda x: -x, "scale", "is -1 times what it should be"),
    "shift": (lambda x: x + 1, "shift", "is +1 off everywhere"),
    "reversed": (lambda x: x[:, ::-1], "reversed", "is what it should be, backwards along axis 1"),
    "halves": (
        lambda x: np.concatenate([x[3:], x[:3]]),
        "block order",
        "has its 2 blocks along axis 0 in the order [1, 0]",
    ),
    "thirds": (
        lambda x: np.concatenate([x[:, 4:], x[:, :2], x[:, 2:4]], 1),
        "block order",
        "has its 3 blocks along axis 1 in the order [2, 0, 1]",
    ),
    "rounded": (
        lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float64),
        "dropped dtype",
        "is what it should be, rounded to bfloat16",
    ),
    "NaN": (lambda x: np.where(x > 1, np.nan, x), "not finite", "is not finite"),
    "shape": (lambda x: x[:5], "shape", "has shape (5, 6), expected (6, 6)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_told(name: str) -> None:
    make, cause, words = MISTAKES[name]
    assert diagnosis_of(make(EXACT), EXACT, LIMIT) == (cause, words)


def test_another_parameters_array_is_told_by_its_path() -> None:
    other = np.random.default_rng(1).normal(size=(6, 6))
    assert diagnosis_of(other, EXACT, LIMIT, {"h.1.weight": other}) == ("swapped", "is that of h.1.weight")


def test_of_what_is_none_of_them_the_size_is_told() -> None:
    diagnosis = diagnosis_of(EXACT + np.eye(6), EXACT, LIMIT)
    assert diagnosis.cause == ""
    assert diagnosis.words == f"differs by {6**0.5 / np.linalg.norm(EXACT):.2g} of its norm"


def test_the_orders_of_the_axes_that_leave_a_shape() -> None:
    assert other_orders((3, 4)) == []
    assert other_orders((3, 3)) == [(1, 0)]
    assert other_orders((1, 1)) == []
    assert other_orders((2, 3, 2)) == [(2, 1, 0)]
    assert other_orders((5,)) == []


def test_beside_what_is_next_to_nothing_no_ratio_is_told() -> None:
    tiny = np.array([[1e-18, -2e-18], [3e-18, 1e-18]])
    diagnosis = diagnosis_of(np.array([[1.0, 2.0], [-3.0, 5.0]]), tiny, 1e-5)
    assert diagnosis.words == "is 3.1 (root mean square), where it should be 1.9e-18"
