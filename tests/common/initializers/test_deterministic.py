"""Initializers whose entries are a formula of their index: values, laws, refusals, and that every wing draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paritree.common.errors import InitializerError
from paritree.common.initializers import Arange, Initializer, InverseFrequencies, LowerTriangle
from paritree.common.layers import Buffer
from paritree.common.spec import Block
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.statistics import examine, judge

CASES: dict[str, tuple[Initializer, Any]] = {
    "Arange": (Arange(), [[0, 1, 2, 3], [0, 1, 2, 3]]),
    "LowerTriangle": (LowerTriangle(), [[[1, 0, 0], [1, 1, 0]]]),
    "InverseFrequencies": (InverseFrequencies(16.0), [1, 0.5, 0.25, 0.125]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_values(name: str) -> None:
    initializer, values = CASES[name]
    expected = np.array(values, np.float64)
    np.testing.assert_array_equal(initializer.draw(expected.shape), expected)  # type: ignore[attr-defined]
    evidence = examine(expected[None], initializer, expected.shape)
    assert [verdict.message for verdict in judge(evidence) if not verdict.passed] == []
    wrong = expected.copy()
    wrong[(-1,) * wrong.ndim] += 1
    assert not all(verdict.passed for verdict in judge(examine(wrong[None], initializer, expected.shape)))
    assert np.isclose(initializer.law(expected.shape).mean, expected.mean())


@pytest.mark.parametrize("wing", WINGS)
@pytest.mark.parametrize("dtype", [None, "int64", "bool"])
@pytest.mark.parametrize("name", ["Arange", "LowerTriangle"])
def test_every_wing_draws_them(name: str, dtype: str | None, wing: str) -> None:
    initializer, values = CASES[name]
    expected = np.array(values).astype(dtype or "float32")
    spec = Block({"x": Buffer(expected.shape, initializer, dtype)}, forward="def forward(unused): return x")
    found = load_wing(wing).weights(load_wing(wing).build(spec))["x"]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype.kind == expected.dtype.kind


def test_frequencies_are_those_of_llama() -> None:
    exact = [500000.0 ** -(2 * index / 128) for index in range(64)]
    np.testing.assert_allclose(InverseFrequencies(500000.0).draw((64,)), exact, rtol=1e-15)


@pytest.mark.parametrize(
    ("initializer", "shape", "text"),
    [
        (Arange(), (), "p: expected a shape of at least one dimension for Arange, found shape ()."),
        (LowerTriangle(), (3,), "p: expected a shape of at least 2 dimensions for LowerTriangle, found shape (3,)."),
        (
            InverseFrequencies(),
            (),
            "p: expected a shape of at least one dimension for InverseFrequencies, found shape ().",
        ),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(initializer: Initializer, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(InitializerError) as caught:
        initializer.validate(shape, "p")
    assert str(caught.value) == text


def test_a_base_that_is_none_is_refused() -> None:
    with pytest.raises(InitializerError) as caught:
        InverseFrequencies(0)
    assert str(caught.value) == (
        "expected a finite number above 0 as theta of InverseFrequencies, found 0. A scale of 0 is Constant(value)."
    )
