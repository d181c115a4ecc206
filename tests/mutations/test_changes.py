"""What is changed in a source, that each change is another program, and that every target has its tests."""

from __future__ import annotations

import ast

import pytest

from .changes import changed, changes
from .targets import TARGETS
from .trial import ROOT

SOURCE = '''
"""Not changed: 3."""
LIMIT = 8

@cache(2)
def judged(a: int, found: list) -> bool:
    for each in found:
        if each < 0.5 and not a:
            continue
        if len(found) > LIMIT:
            raise ValueError(f"{a:.2f} is too many")
    note(a, strict=True)
    return all(each - 1 == -a for each in found if each)
'''


def test_each_kind_of_change_is_made_once_at_each_place() -> None:
    assert [f"{change.line}: {change.words}" for change in changes("a.py", SOURCE)] == [
        "3: 8  ->  16",
        "3: 8  ->  4",
        "8: each < 0.5 and (not a)  ->  each < 0.5 or not a",
        # Where no measurement meets a bound, it makes no difference to which side that belongs.
        "8: each < 0.5  ->  each >= 0.5",
        "8: 0.5  ->  1.0",
        "8: 0.5  ->  0.25",
        "8: not a  ->  a",
        "9: without 'continue'",
        "10: len(found) > LIMIT  ->  len(found) <= LIMIT",
        "10: len(found) > LIMIT  ->  len(found) >= LIMIT",
        "11: without 'raise ValueError(f'{a:.2f} is too many')'",
        "12: without 'note(a, strict=True)'",
        "13: return all((each - 1 == -a for each in found if each))  ->  return True",
        "13: return all((each - 1 == -a for each in found if each))  ->  return False",
        "13: all((each - 1 == -a for each in found if each))  ->  any((each - 1 == -a for each in found if each))",
        "13: each - 1 == -a  ->  each - 1 != -a",
        "13: each - 1  ->  each + 1",
        "13: 1  ->  2",
        "13: -a  ->  a",
        "13: without 'if each'",
    ]


@pytest.mark.parametrize("file", TARGETS)
def test_every_change_of_every_target_is_another_program(file: str) -> None:
    source = (ROOT / file).read_text()
    own = ast.dump(ast.parse(source))
    for change in changes(file, source)[::7]:
        tree = changed(source, change.number)
        assert ast.dump(tree) != own, change
        compile(tree, file, "exec", dont_inherit=True)
    assert all((ROOT / test.partition("::")[0]).exists() for test in TARGETS[file])
