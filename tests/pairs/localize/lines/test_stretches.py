"""Stretches: the lines of both programs between which a difference arises, and what is said of it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import paritree

from . import programs
from .programs import LENGTH, WIDTH, pair

HOME = Path(programs.__file__)
SOURCE = HOME.read_text(encoding="utf-8").splitlines()
# What is planted, and what is said to be its cause.
FAULTS = {
    "base": r"the base of the angles is 100 in the reference and 10,000 in the port",
    "positions": r"the port has a scale, 'mul' at programs.py:\d+, which the reference has not",
    "turns": r"the port leaves out a rotation",
    "mask": r"mask",
    "axis": r"axis|along the queries",
    "cast": r"bfloat16",
    "order": r"the port has the reference's values backwards along axis 1",
    "activation": r"tanh",
    "skip": r"skip connection takes",
}


def _place(fault: str) -> Any:
    with pytest.raises(paritree.AlignmentError) as caught:
        paritree.align(pair(fault))
    assert caught.value.place is not None
    return caught.value.place


def _marked(word: str) -> tuple[set[int], set[int]]:
    """The numbers of the lines of the reference and of the port that speak of a fault."""
    numbers = [number for number, line in enumerate(SOURCE, 1) if word in line.partition("  # ")[2].split()]
    first = next(number for number, line in enumerate(SOURCE, 1) if line.startswith("def port"))
    return {number for number in numbers if number < first}, {number for number in numbers if number > first}


def test_the_right_program_is_aligned() -> None:
    assert paritree.align(pair()).verified


@pytest.mark.parametrize("fault", FAULTS)
def test_a_difference_in_plain_code_is_bounded_by_its_lines_and_has_its_cause(fault: str) -> None:
    place = _place(fault)
    (stretch,) = place.stretches
    for passage, marked in zip((stretch.reference, stretch.port), _marked(fault), strict=True):
        numbers = {line.number for line in passage.lines}
        assert {line.file for line in passage.lines} == {str(HOME)}
        assert numbers & marked, (numbers, marked, str(place))
        assert len(numbers) <= 8
    assert re.search(FAULTS[fault], str(place)), str(place)


def test_two_differences_are_told_in_the_order_of_the_program() -> None:
    place = _place("base activation")
    first, second = place.stretches
    assert {line.number for line in first.port.lines} & _marked("base")[1]
    assert {line.number for line in second.port.lines} & _marked("activation")[1]
    assert "The programs differ in 2 places: (1) " in str(place)


def test_the_message_names_the_lines_and_shows_them() -> None:
    with pytest.raises(paritree.AlignmentError) as caught:
        paritree.align(pair("mask"))
    said, *shown = str(caught.value).split("\n")
    assert "The programs are equal up to programs.py:" in said
    assert "; not equal from programs.py:" in said
    (number,) = _marked("mask")[1]
    assert f"    programs.py:{number}  {SOURCE[number - 1].strip()}" in shown


def test_check_tells_the_lines_too() -> None:
    found = paritree.align(pair())
    report = paritree.check(pair("axis"), found, contracts=("forward",), devices=("cpu",))
    assert "not equal from programs.py:" in report.failures[0].message


def test_code_without_a_file_is_told_by_its_operation() -> None:
    typed = "def call(tree, inputs):\n    return jnp.tanh(inputs[0] @ tree['w'])\n"
    names: dict[str, Any] = {"jnp": jnp}
    exec(compile(typed, "<stdin>", "exec"), names)
    x = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)
    tree = {"w": np.ones((WIDTH, WIDTH), np.float32)}
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH, bias=False), torch.nn.Sigmoid())
    with pytest.raises(paritree.AlignmentError) as caught:
        paritree.align(paritree.Pair(model, tree, (x,), port_call=names["call"]))
    place = caught.value.place
    assert place is not None
    assert "<stdin>:2 (tanh)" in str(place)
    assert not place.excerpts.count("<stdin>")


def test_what_is_random_has_no_lines() -> None:
    class Noisy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Linear(WIDTH, WIDTH, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(x) + torch.rand(x.shape).to(x)

    x = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)
    tree = {"w": np.ones((WIDTH, WIDTH), np.float32)}
    with pytest.raises(paritree.AlignmentError) as caught:
        paritree.align(paritree.Pair(Noisy(), tree, (x,), port_call=lambda tree, inputs: inputs[0] @ tree["w"]))
    assert caught.value.place is None or not caught.value.place.stretches


def test_too_many_values_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    from paritree.common.wing import tapes

    monkeypatch.setattr(tapes, "MOST_NUMBERS", LENGTH * WIDTH)
    with pytest.raises(paritree.AlignmentError) as caught:
        paritree.align(pair("mask"))
    assert caught.value.place is None or not caught.value.place.stretches


def test_what_is_too_large_for_lines_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from paritree.common.wing import tapes

    monkeypatch.setattr(tapes, "MOST_NUMBERS", LENGTH * WIDTH)
    place = _place_of_blocks()
    assert not place.stretches
    assert str(place).endswith(
        "No module differs by itself: the difference arises between reference 'up' (Linear) = port 'up' (Linear), "
        "which agrees, and reference 'down' (Linear) = port 'down' (Linear). No lines are told: expected a pass that "
        "makes 80 numbers at most, which are all held, found more. Give smaller inputs, or a shorter model. Likely "
        "cause: of the output of 'up' (Linear) the reference takes the exact GELU and the port GELU's tanh "
        "approximation."
    )


def test_a_stretch_has_a_size_and_modules() -> None:
    (stretch,) = _place("activation").stretches
    assert stretch.module == "'' = ''"
    assert math.isnan(stretch.error) or stretch.error > 0


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.up, self.down = torch.nn.Linear(WIDTH, 2 * WIDTH), torch.nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.down(torch.nn.functional.gelu(self.up(x)))


class PortedBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(2, WIDTH, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs), nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(x)
        return x + self.down(jax.nn.gelu(self.up(x)))


def _place_of_blocks() -> Any:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, LENGTH, WIDTH)).astype(np.float32)
    with pytest.raises(paritree.AlignmentError) as caught:
        paritree.align(paritree.Pair(Block(), PortedBlock(nnx.Rngs(0)), (x,)))
    assert caught.value.place is not None
    return caught.value.place


def test_a_softmax_in_float32_is_not_blamed_for_what_stands_behind_it() -> None:
    place = _place_of_blocks()
    said = str(place)
    assert "attention" not in said.partition("The programs are")[0]
    assert "between reference 'up' (Linear) = port 'up' (Linear), which agrees, and reference 'down'" in said
    assert "GELU's tanh approximation" in said
    (stretch,) = place.stretches
    assert len(stretch.reference.lines) == len(stretch.port.lines) == 1
