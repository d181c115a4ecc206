"""Tapes: every value of a pass with its line, and the pass run again with other ones."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from paritree.common.errors import NotExpressibleError
from paritree.common.wing import Tape
from paritree.pairs.pair import Pair
from paritree.pairs.precision import Setting
from paritree.pairs.side import sides_of

from .tape_models import WIDTH, InLinen, InNNX, Torch, line_of, summed

FINE = Setting("cpu", "float64")
X = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)


def _tape(model: Any, call: Any = None) -> Tape:
    return sides_of(Pair(model, model, (X,), reference_call=call, port_call=call))[0].taped({}, FINE)


def _torch() -> Tape:
    torch.manual_seed(0)
    return _tape(Torch().eval())


def _linen() -> Tape:
    model = InLinen()
    return _tape((model, model.init(jax.random.key(0), X)))


def _function() -> Tape:
    return _tape({"start": np.ones(WIDTH, np.float32)}, summed)


TAPES = {"torch": _torch, "nnx": lambda: _tape(InNNX(nnx.Rngs(0))), "linen": _linen, "function": _function}


def _found(tape: Tape, operation: str) -> list[int]:
    return [place for place, value in enumerate(tape.values) if value.operation == operation]


@pytest.mark.parametrize("wing", TAPES)
def test_a_value_is_made_of_earlier_ones_and_the_output_is_one(wing: str) -> None:
    tape = TAPES[wing]()
    assert all(each < place for place, value in enumerate(tape.values) for each in value.made_of)
    assert set(tape.outputs) == {""}
    assert tape.values[tape.outputs[""]].array.shape == X.shape
    assert {value.kind for value in tape.values} >= {"input", "parameter", "made"}


def test_a_line_is_the_innermost_one_of_the_models_own_code() -> None:
    (gelu,) = _found(_torch(), "gelu")
    value = _torch().values[gelu]
    assert value.line is not None
    assert str(value.line) == f"tape_models.py:{line_of('# torch: gelu')}"
    assert value.module == ""
    assert _torch().values[_found(_torch(), "addmm")[0]].module == "up"


def test_a_function_of_the_framework_has_the_line_of_each_of_its_calls() -> None:
    tape = TAPES["nnx"]()
    lines = [tape.values[place].line for place in _found(tape, "tanh")]
    wanted = [line_of("# nnx: first"), line_of("# nnx: second")]
    assert [line.number for line in lines if line is not None] == wanted
    assert tape.values[_found(tape, "dot_general")[0]].module == "up"


def test_linen_tells_its_modules() -> None:
    tape = _linen()
    assert tape.values[_found(tape, "dot_general")[0]].module == "up"
    line = tape.values[_found(tape, "tanh")[0]].line
    assert line is not None
    assert line.number == line_of("# linen: tanh")


def test_loops_branches_and_own_compiled_functions_are_opened() -> None:
    tape = _function()
    turns = [tape.values[place].line for place in _found(tape, "tanh")]
    assert len(turns) == len(X)
    assert {line.number for line in turns if line} == {line_of("# function: scan")}
    multiplied = [line.number for place in _found(tape, "mul") if (line := tape.values[place].line)]
    assert multiplied == [line_of("# function: loop")] * 2 + [line_of("# function: squared")]
    assert not _found(tape, "neg")


def test_what_is_written_to_is_read_as_it_is_then() -> None:
    tape = _torch()
    last = tape.values[tape.outputs[""]]
    assert np.all(last.array[:, 0] == 2)
    (gelu,) = _found(tape, "gelu")
    assert not np.any(tape.values[gelu].array[:, 0] == 1)
    # It is made of the value as it was and of what was written.
    read = tape.values[last.made_of[0]]
    assert read.operation == "read"
    assert gelu in read.made_of


@pytest.mark.parametrize("wing", TAPES)
def test_nothing_is_other_when_a_value_is_exchanged_for_itself(wing: str) -> None:
    tape = TAPES[wing]()
    place = next(place for place, value in enumerate(tape.values) if value.kind == "made" and value.array.size > 1)
    again = tape.replay({place: tape.values[place].array}, {}, math.inf)
    assert all(np.array_equal(array, tape.values[each].array) for each, array in again.items())


@pytest.mark.parametrize("wing", ["torch", "nnx"])
def test_a_value_that_is_exchanged_reaches_what_is_made_of_it(wing: str) -> None:
    tape = TAPES[wing]()
    place = _found(tape, {"torch": "gelu", "nnx": "dot_general"}[wing])[0]
    zero = np.zeros_like(tape.values[place].array)
    new = tape.replay({place: zero}, {}, math.inf)
    assert tape.outputs[""] in new
    assert min(new) == place
    settled = tape.settle({place: zero}, {})
    assert np.array_equal(settled.values[settled.outputs[""]].array, new[tape.outputs[""]])
    # From there on it is the pass: nothing is other in it.
    assert all(
        np.array_equal(array, settled.values[each].array)
        for each, array in settled.replay({place: zero}, {}, math.inf).items()
    )


@pytest.mark.parametrize("wing", ["torch", "nnx"])
def test_one_use_of_a_value_may_be_exchanged_alone(wing: str) -> None:
    tape = TAPES[wing]()
    place = _found(tape, "input 0")[0]
    step = next(value.step for value in tape.values if place in value.made_of)
    new = tape.replay({}, {(place, step): np.zeros_like(tape.values[place].array)}, math.inf)
    assert place not in new
    assert tape.outputs[""] in new


@pytest.mark.parametrize("wing", ["torch", "nnx"])
def test_a_replay_ends_after_so_many_operations(wing: str) -> None:
    tape = TAPES[wing]()
    place = _found(tape, "input 0")[0]
    other = {place: tape.values[place].array + 1}
    assert tape.outputs[""] not in tape.replay(other, {}, 2)
    assert tape.outputs[""] in tape.replay(other, {}, math.inf)


def test_code_that_asks_for_values_has_no_tape() -> None:
    with pytest.raises(NotExpressibleError, match=r"a program that jax\.jit can trace"):
        _tape({"w": np.ones(WIDTH, np.float32)}, lambda tree, inputs: inputs[0] * float(tree["w"].sum()))


def test_a_value_that_repeats_its_numbers_may_be_exchanged() -> None:
    class Wide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(WIDTH))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.w.expand(x.shape) * x

    tape = _tape(Wide())
    (place,) = _found(tape, "expand")
    new = tape.replay({place: np.zeros_like(X, np.float64)}, {}, math.inf)
    assert not new[tape.outputs[""]].any()
