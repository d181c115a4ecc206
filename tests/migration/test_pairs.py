"""Pairs refuse what is no input, and outputs of any structure become named arrays."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import paritree
from paritree import Linear, NotExpressibleError, Pair, PairError, ReLU, Sequential
from paritree.common.pairs import named_arrays
from paritree.common.wing import WINGS

A, B = np.zeros(1), np.ones(2)


@dataclass
class Output:
    logits: Any
    hidden: Any = None


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (A, {"": A}),
        ((A, B), {"0": A, "1": B}),
        ({"logits": A, "cache": None, "hidden": [A, B]}, {"logits": A, "hidden.0": A, "hidden.1": B}),
        (Output(A, (B,)), {"logits": A, "hidden.0": B}),
        (namedtuple("Pairing", "left right")(A, B), {"left": A, "right": B}),
    ],
)
def test_arrays_are_named_by_their_place(output: Any, expected: dict[str, Any]) -> None:
    found = named_arrays(output)
    assert list(found) == list(expected)
    assert all(found[name] is expected[name] for name in expected)


def test_an_output_that_is_no_structure_of_arrays_is_refused() -> None:
    with pytest.raises(NotExpressibleError) as caught:
        named_arrays({"logits": A, "text": "x"})
    assert str(caught.value) == (
        "text: expected arrays, or mappings, sequences and dataclasses of arrays, found str. Give the pair a call."
    )


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WINGS)
def test_a_prober_tells_what_value_and_gradients_does(name: str, dtype: str) -> None:
    wing = paritree.wing(name)
    spec = Sequential(Linear(3, 4), ReLU(), Linear(4, 2))
    inputs = (np.random.default_rng(0).normal(size=(5, 3)).astype(dtype),)
    cotangent = np.random.default_rng(1).normal(size=(5, 2)).astype(dtype)
    with wing.running("cpu", dtype):
        model = wing.build(spec, dtype=dtype)
        weights = wing.weights(wing.build(spec, seed=1, dtype=dtype))
        before = wing.weights(model)
        probe = wing.prober(model, inputs, dtype=dtype)(weights, lambda shapes: [cotangent for _ in shapes])
        for path, array in wing.weights(model).items():
            np.testing.assert_array_equal(array, before[path])
        loaded = wing.load(model, weights)
        _, gradients = wing.value_and_gradients(loaded, inputs, cotangent)
        np.testing.assert_allclose(probe.outputs[""], wing.call(loaded, inputs), rtol=1e-5, atol=1e-6)
    assert {array.dtype.name for array in (*probe.outputs.values(), *probe.gradients.values())} == {dtype}
    assert list(probe.gradients) == list(gradients)
    for path, gradient in gradients.items():
        np.testing.assert_allclose(probe.gradients[path], gradient, rtol=1e-5, atol=1e-6)
