"""The one measure of error, what rounding explains of it, and what is no more than rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paritree.pairs.closeness import (
    RowsApart,
    allowed,
    is_comparable,
    is_zero_gradient,
    largest_gradient,
    norm,
    relative_error,
    rows_apart,
)

EPS = 2.0**-23


@pytest.mark.parametrize(("depth", "root"), [(1, 1), (4, 2), (100, 10)])
def test_what_is_allowed_grows_with_the_root_of_the_depth(depth: int, root: int) -> None:
    assert allowed(depth) == pytest.approx(32 * EPS * root)
    assert allowed(depth, "float64") == pytest.approx(32 * 2.0**-52 * root)


@pytest.mark.parametrize("shape", [(2,), (3, 5), (4096,), (4097,), (2, 5000)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_a_norm_is_summed_in_float64_at_every_size(shape: tuple[int, ...], dtype: str) -> None:
    array = np.full(shape, 0.1, dtype)
    assert norm(array) == pytest.approx(float(array.flat[0]) * math.sqrt(array.size), rel=1e-14)
    assert norm(np.asfortranarray(array)[::-1]) == pytest.approx(norm(array), rel=1e-14)


def test_a_norm_of_what_overflows_in_its_own_type_is_finite() -> None:
    assert norm(np.full(4, 1e30, np.float32)) == pytest.approx(2e30)
    assert norm(np.full(5000, 60000.0, np.float16)) == pytest.approx(60000 * math.sqrt(5000), rel=1e-3)


@pytest.mark.parametrize(
    ("found", "exact", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.5], [3.0, 4.0], 0.1),
        ([6.0, 8.0], [3.0, 4.0], 1.0),
        ([0.0, 0.0], [3.0, 4.0], 1.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 1e-30], [0.0, 0.0], math.inf),
        ([np.nan, 4.0], [3.0, 4.0], math.inf),
        ([3.0, 4.0], [3.0, np.nan], math.inf),
        ([np.inf, 4.0], [np.inf, 4.0], math.inf),
        ([3.0, 4.0, 0.0], [3.0, 4.0], math.inf),
        ([], [], 0.0),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract")
def test_an_error_is_relative_to_the_norm_of_what_is_right(found: list, exact: list, error: float) -> None:
    assert relative_error(np.array(found), np.array(exact)) == pytest.approx(error)


def test_the_largest_gradient_is_the_largest_root_mean_square() -> None:
    gradients = {"wide": np.full(100, 2.0), "narrow": np.array([3.0]), "none": np.zeros((0, 4))}
    assert largest_gradient(gradients) == 3.0
    assert largest_gradient({"wide": np.full(100, 4.0), "narrow": np.array([3.0])}) == 4.0
    assert largest_gradient({}) == 0.0
    assert largest_gradient({"none": np.zeros(0)}) == 0.0


@pytest.mark.parametrize(
    ("gradient", "says_nothing"),
    [
        (None, True),
        (np.zeros(3), True),
        (np.zeros(0), True),
        (np.full(9, 0.99e-3), True),
        (np.full(9, 1.01e-3), False),
        (np.array([2.99e-3, *[0.0] * 8]), True),
        (np.array([3.01e-3, *[0.0] * 8]), False),
    ],
)
def test_a_gradient_is_zero_beside_the_largest(gradient: np.ndarray | None, says_nothing: bool) -> None:
    """The limit is of the root mean square: 1e-4 of a largest one of 10."""
    assert is_zero_gradient(gradient, 10.0, 1e-4) is says_nothing


@pytest.mark.parametrize(
    ("values", "comparable"),
    [([1.0], True), ([1.01e-25], True), ([0.99e-25], False), ([0.0], False), ([np.nan], False), ([np.inf], False)],
)
def test_an_output_is_comparable_if_it_is_finite_and_not_coarse(values: list, comparable: bool) -> None:
    assert is_comparable(np.array(values)) is comparable


def test_rows_apart_are_few_rows_or_columns_of_a_matrix_that_agrees_otherwise() -> None:
    exact = np.random.default_rng(0).normal(size=(8, 6))

    def apart(*rows: int, axis: int = 0, of: np.ndarray = exact) -> RowsApart | None:
        found = of.copy()
        np.moveaxis(found, axis, 0)[list(rows)] += 1.0
        return rows_apart(found, of, 1e-6)

    assert apart(3) == RowsApart(0, (3,))
    assert apart(3, 5) == RowsApart(0, (3, 5))
    assert apart(3, axis=1) == RowsApart(1, (3,))
    # Three are more than a quarter of eight.
    assert apart(1, 3, 5) is None
    assert apart() is None
    # One is few of any number, if the rest says something.
    assert apart(0, of=exact[:2]) == RowsApart(0, (0,))
    assert apart(0, of=np.zeros((8, 6))) is None
    assert apart(0, of=exact[0]) is None
    np.testing.assert_array_equal(RowsApart(1, (2, 4)).of(exact), exact[:, [2, 4]])
    # The limit is of the norm of all, shared out among the rows.
    share = np.zeros((8, 6))
    share[2, 0] = norm(exact) / 8**0.5 * 1e-3
    assert rows_apart(exact + 0.9 * share, exact, 1e-3) is None
    assert rows_apart(exact + 1.1 * share, exact, 1e-3) == RowsApart(0, (2,))
