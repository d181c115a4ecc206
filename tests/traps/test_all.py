"""Every trap that the tests know by number, 1 to 40, has a test of its own here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TRAPS = range(1, 41)
NAMED = re.compile(r"test_trap_(\d\d)_\w")


def numbers(source: str) -> set[int]:
    """The traps that the test functions of a file name."""
    functions = (node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return {int(named[1]) for named in map(NAMED.match, functions) if named}


def test_the_reader_takes_functions_of_that_form_only() -> None:
    source = "def test_trap_07_masks(): ...\ndef test_trap_8_masks(): ...\ndef trap_09_x(): ...\n'test_trap_10_x'\n"
    assert numbers(source) == {7}


def test_every_trap_has_a_test() -> None:
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    found = set[int]().union(*(numbers(file.read_text(encoding="utf-8")) for file in files))
    assert found == set(TRAPS)
