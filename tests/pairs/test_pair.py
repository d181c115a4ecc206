"""A pair refuses what is no input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paritree import Pair, PairError

A = np.zeros(1)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (A, "inputs: expected a tuple or a dict of arrays, found ndarray. For one array write (array,)."),
        ((A, [1]), "inputs.1: expected a NumPy array, found list. Both sides get the same arrays."),
        ({"x": 3}, "inputs.x: expected a NumPy array, found int. Both sides get the same arrays."),
    ],
)
def test_what_is_no_input_is_refused(inputs: Any, text: str) -> None:
    with pytest.raises(PairError) as caught:
        Pair(None, None, inputs)
    assert str(caught.value) == text
