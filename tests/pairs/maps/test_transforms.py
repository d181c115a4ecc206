"""Transforms: read from text and written again, applied and undone, and every text that is none."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

from paritree import DtypeError, MapError
from paritree.common.errors import shown
from paritree.pairs.maps import transform_of

# Each with what it makes of 3.0, and as it is written.
TEXTS: dict[str, tuple[float, str]] = {
    "": (3.0, ""),
    "x": (3.0, ""),
    "((x))": (3.0, ""),
    "x+1": (4.0, "x + 1"),
    "x - -.5": (3.5, "x - -.5"),
    "x*2-1": (5.0, "x * 2 - 1"),
    "(x - 1) * 2.": (4.0, "(x - 1) * 2."),
    "(x * 2) / 8.0": (0.75, "x * 2 / 8.0"),
    "x / 1e-3": (3000.0, "x / 1e-3"),
    "(x +\n 1)": (4.0, "x + 1"),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_applied_and_written_again(text: str) -> None:
    expected, written = TEXTS[text]
    made = transform_of(text)
    assert str(made) == written
    assert transform_of(written) == made
    assert made.inverse.inverse == made
    assert made.shifts is (made.of(0.0) != 0.0)
    assert made.slope == pytest.approx(made.of(1.0) - made.of(0.0))
    for framework in (np.asarray, torch.tensor, jnp.asarray):
        array: Any = framework([3.0])
        assert float(made.of(array)[0]) == pytest.approx(expected)
        assert made.of(array).dtype == array.dtype
        assert float(made.inverse.of(made.of(array))[0]) == pytest.approx(3.0)


NONE = [
    *("y", "xx", "2 * x", "x + x", "x ** 2", "x // 2", "-x", "exp(x)", "x x", "x(1)", "x * (2)", "x + 1 * 2", "(x"),
    *("x - - 1", "x + +1", "x * 0", "x / 0.0", "x + 1e999", "x + 0x1", "x + 1_0", "x + 1j", "x + True", "x # none"),
    # What NFKC makes an x of, and what would be nested too deeply.
    *("\uff58", "(" * 300 + "x" + ")" * 300, "x" + " + 1" * 10_000, "(" * 100_000, "x" + " + 1" * 250),
]


@pytest.mark.parametrize("text", NONE, ids=range(len(NONE)))
def test_a_text_that_is_no_transform_is_refused(text: str) -> None:
    with pytest.raises(MapError) as caught:
        transform_of(text)
    assert str(caught.value) == (
        f"expected a transform such as 'x + 1', 'x / 8.0' or 'x * 2 - 1', which has an inverse, found {shown(text)}."
    )


def test_a_text_of_a_thousand_characters_is_read() -> None:
    text = "x" + " + 1" * 248 + " + 1000"
    assert len(text) == 1000
    assert transform_of(text).of(0.0) == 1248


@pytest.mark.parametrize("text", ["x * 1e-320", "x / 1e38", "x + 1e9", "x - 1e300", "x * 1e-30 * 1e-30 * 1e60"])
def test_a_transform_that_makes_zeros_of_weights_is_refused(text: str) -> None:
    with pytest.raises(MapError) as caught:
        transform_of(text)
    assert str(caught.value) == (
        "expected a transform that keeps the values of ordinary weights in float32, there and back, found "
        f"{text!r}. Take numbers that are neither so large nor so small."
    )


def test_a_dtype_in_which_a_transform_makes_zeros_of_weights_is_refused() -> None:
    made = transform_of("x * 1e-9")
    assert made.of(np.ones(2, np.float32)).any()
    assert made.of(np.ones(2, ml_dtypes.bfloat16)).any()
    with pytest.raises(DtypeError) as caught:
        made.of(np.ones(2, np.float16))
    assert str(caught.value) == (
        "expected a dtype in which x * 1e-9 keeps the values of weights, found float16. Cast the weights to float32 "
        "first."
    )
