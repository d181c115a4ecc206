"""The code on a page: the author's function, and everything that a reader needs to run it."""

from __future__ import annotations

import ast
import builtins
import dis
from collections.abc import Callable, Iterator
from types import CodeType

import pytest

from paritree.study import IDS, Outcome, load
from paritree.study.record import WINGS, Absent, raised, show
from paritree.study.source import USUAL


def read_names(code: CodeType) -> Iterator[str]:
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from read_names(constant)


def unexplained(text: str) -> set[str]:
    """The names that a text reads and that neither it nor the usual imports define."""
    known = {*dir(builtins), "raised", "Absent"}
    for node in ast.parse("\n".join((*USUAL, text))).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign):
            known |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            known.add(node.name)
    return set(read_names(compile(text, "<row>", "exec"))) - known


@pytest.mark.parametrize("identifier", IDS)
def test_every_name_in_a_rows_code_is_explained(identifier: str) -> None:
    row = load(identifier)

    assert {wing: unexplained(row.code(wing)) for wing in WINGS} == {wing: set() for wing in WINGS}


def test_an_unexplained_name_would_be_found() -> None:
    assert unexplained("def in_torch():\n    return helper(nn, [crc32(b) for b in SIZES])") == {
        "helper",
        "crc32",
        "SIZES",
    }


@pytest.mark.parametrize("identifier", ["A12", "I17", "N1", "W5"])
def test_the_printed_code_runs_alone_and_gives_the_rows_facts(identifier: str, ran: Callable[[str], Outcome]) -> None:
    outcome = ran(identifier)
    for wing in WINGS:
        names = {"raised": raised, "Absent": Absent}
        exec("\n".join((*USUAL, outcome.behaviour.code(wing))), names)
        assert show(names[f"in_{wing}"]()) == show(outcome.facts[wing])


@pytest.mark.parametrize(
    ("identifier", "wing", "start"),
    [
        ("E5", "nnx", "import optax\n\nX = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]\n\ndef in_nnx():\n"),
        ("N5", "torch", "def two_digits(value: float) -> float:\n"),
        ("I17", "torch", "from zlib import crc32\n\ndef build_in_torch(*names):\n"),
        ("N1", "nnx", "def block_in_nnx(rngs):\n"),
        ("W5", "torch", "def in_torch():\n    shared = nn.Linear(8, 8)\n"),
    ],
)
def test_what_a_function_uses_stands_above_it(identifier: str, wing: str, start: str) -> None:
    assert load(identifier).code(wing)[: len(start)] == start


def test_a_definition_stands_above_its_users() -> None:
    code = load("E1").code("linen")
    order = ["from flax.traverse_util import flatten_dict", "def start", "def shared_gradients", "def in_linen"]

    assert sorted(order, key=code.index) == order
