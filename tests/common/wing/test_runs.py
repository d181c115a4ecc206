"""Runs: outputs of any structure become named arrays, and what a model raises is reported with its side."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import paritree
from paritree import Linear, NotExpressibleError, PairError, ReLU, Sequential
from paritree.common.wing.recognition import WINGS
from paritree.common.wing.runs import named_arrays, reported

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


def fails(error: Exception) -> None:
    with reported("port"):
        raise error


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (
            TypeError("forward() got an unexpected keyword argument 'mask'"),
            "TypeError: forward() got an unexpected keyword argument 'mask'",
        ),
        (ValueError("\n  Shapes do not match.\n  (3,) and (4,)"), "ValueError: Shapes do not match"),
        (KeyError(), "KeyError"),
    ],
)
def test_what_a_side_raises_is_reported_with_its_name(error: Exception, found: str) -> None:
    with pytest.raises(PairError) as caught:
        fails(error)
    assert str(caught.value) == (
        f"port: expected inputs that the model takes, found {found}. "
        "Check the inputs, and the call if the pair has one: names, shapes and dtypes."
    )
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [NotExpressibleError("text", "arrays", "str"), PairError("inputs", "some", "none"), KeyboardInterrupt()]
)
def test_errors_of_ours_and_interruptions_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        fails(error)  # type: ignore[arg-type]
    assert caught.value is error


def test_an_error_that_names_no_side_gets_its_name() -> None:
    with pytest.raises(PairError) as caught:
        fails(PairError("", "a call", "none", "Give one."))
    assert str(caught.value) == "port: expected a call, found none. Give one."


BAD_INPUTS: dict[str, Any] = {
    "shape": (np.zeros((2, 5), np.float32),),
    "name": {"mask": np.zeros((2, 3), np.float32)},
}


def probe(role: str, wing: Any, model: Any, inputs: Any) -> None:
    with reported(role):
        wing.prober(model, inputs)({}, lambda shapes: [np.ones(shape) for shape in shapes])


@pytest.mark.parametrize("bad", BAD_INPUTS)
@pytest.mark.parametrize("name", WINGS)
def test_inputs_that_no_model_takes_are_reported(name: str, bad: str) -> None:
    wing, inputs = paritree.wing(name), BAD_INPUTS[bad]
    model = wing.build(Sequential(Linear(3, 4), ReLU()))
    with pytest.raises(PairError, match=r"^reference: expected inputs that the model takes, found \w+") as caught:
        probe("reference", wing, model, inputs)
    assert caught.value.__cause__ is not None
    assert "\n" not in caught.value.found
