"""Transforms: read from text and written again, applied and undone, and every text that is none."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from paritree import MapError
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
