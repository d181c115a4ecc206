"""Where stored numbers come from: relations that no arithmetic hides, and what looks drawn."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from paritree.conformance.explain import Origins, looks_drawn

RANDOM = np.random.default_rng(0)
EXACT, OTHER, OWN = (RANDOM.standard_normal((12, 4, 4)).astype(np.float32) for _ in range(3))
ORIGINS = Origins({"one": EXACT, "other": OTHER}, 5e-7)


def with_one_row_of_another(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array[:11], OWN[11:]])


MADE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str, str]] = {
    "axes": (
        lambda x: 2 * x.transpose(2, 0, 1).reshape(x.shape) + 1,
        "transposed",
        "is what it should be with the axes (2, 0, 1), reshaped, times 2 and with +1",
    ),
    "order": (
        lambda x: x[::-1].reshape(4, 12, 4).swapaxes(0, 1).reshape(x.shape),
        "permuted",
        "has the numbers that it",
    ),
    "of another": (lambda x: OTHER.transpose(0, 2, 1)[::-1], "swapped", "has the numbers of other in another order"),
    "of another, rounded": (lambda x: OTHER.astype(np.float16), "swapped", "is that of other, rounded to float16"),
    "eight bits": (lambda x: x.astype(ml_dtypes.float8_e4m3fn), "close", "with a correlation of 0.999"),
    "entries": (with_one_row_of_another, "some entries", "in 16 of its 192 entries"),
    "own": (lambda x: OWN, "not carried", "has values of its own (their correlation with what they should be is "),
    "constant": (np.ones_like, "not carried", "is 1 everywhere, as it was initialized"),
}


@pytest.mark.parametrize("name", MADE)
def test_what_an_array_was_made_of_is_told(name: str) -> None:
    make, cause, words = MADE[name]
    diagnosis = ORIGINS.diagnosis(make(EXACT), "one")
    assert diagnosis.cause == cause
    assert words in diagnosis.words


def test_expected_values_that_are_not_finite_hinder_nothing() -> None:
    origins = Origins({"mask": np.where(EXACT > 1, -np.inf, EXACT), "one": EXACT}, 5e-7)
    assert origins.diagnosis(EXACT.transpose(0, 2, 1), "one").cause == "transposed"
    assert origins.diagnosis(OWN, "mask") == ("not finite", "is finite where it should not be")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("law", ["standard_normal", "random"])
def test_what_was_drawn_looks_drawn(law: str, dtype: type) -> None:
    assert all(
        looks_drawn(getattr(np.random.default_rng(2), law)(shape).astype(dtype)) for shape in [(8, 4), (3, 4, 5)]
    )


ANGLES = np.arange(20)[:, None] / 100.0 ** np.linspace(0, 1, 8)
FORMULAS = {
    "few": np.ones(15),
    "identity": np.eye(8),
    "tiled": np.tile(np.log(np.arange(1, 9)), (8, 1)),
    "slopes": 2.0 ** -np.arange(16),
    "sines": np.sin(ANGLES),
    "discrete Fourier": np.cos(2 * np.pi * np.outer(np.arange(16), np.arange(16)) / 16).round(6),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_what_a_formula_makes_does_not(name: str) -> None:
    assert not looks_drawn(FORMULAS[name])
