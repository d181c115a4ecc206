"""The catalogue: every row is there, runs, confirms what it says, and is written in the frameworks' own words."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from paritree.common.errors import UsageError
from paritree.study import IDS, SECTIONS, Outcome, identifiers, load, outcome, outcomes
from paritree.study.catalogue import section
from paritree.study.record import WINGS, Verdict, show

COUNTS = {"A": 15, "N": 5, "I": 17, "S": 2, "T": 5, "L": 4, "W": 11, "E": 6}
FIGURE_WORDS = {"Curves", "Equals", "Histogram", "Order", "Shares", "Tree", "initializers"}
RECORD_WORDS = {"Absent", "Behaviour", "Facts", "Raised", "Verdict", "raised"}
SOURCES = {"S0", "S1", "S2", "S3", "S4"}


def test_every_row_of_the_catalogue_has_an_id() -> None:
    assert [f"{letter}{n}" for letter, count in COUNTS.items() for n in range(1, count + 1)] == list(IDS)
    assert len(set(IDS)) == 65


@pytest.mark.parametrize("identifier", IDS)
def test_a_row_runs_and_confirms_its_record(identifier: str, ran: Callable[[str], Outcome]) -> None:
    found = ran(identifier)

    assert found.behaviour.id == identifier
    assert found.problems() == []


@pytest.mark.parametrize("identifier", IDS)
def test_a_row_leaves_no_cell_empty(identifier: str, ran: Callable[[str], Outcome]) -> None:
    found = ran(identifier)
    row = found.behaviour

    empty = [(wing, name) for wing in WINGS for name, value in found.facts[wing].items() if not show(value).strip()]
    assert empty == []
    assert [text for text in (row.title, row.statement, *row.notes, *found.verdicts) if not text.strip()] == []
    assert row.title[-1] != "."
    assert row.statement.endswith(".")
    assert bool(row.reason) == (row.verdict >= Verdict.MUST_DIFFER)
    assert set(row.sources) <= SOURCES


def outsiders(text: str) -> list[str]:
    """The imports of a row that are neither a framework's nor the words of the record, the figures and the forms."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "paritree"]
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "paritree"):
            place = "." * node.level + (node.module or "")
            words = {"...record": RECORD_WORDS, "...figures": FIGURE_WORDS, "...": {"canonical"}}.get(place)
            if place not in ("...canonical", "._forms"):
                found += [f"{place}.{alias.name}" for alias in node.names if words is None or alias.name not in words]
    return found


@pytest.mark.parametrize("identifier", IDS)
def test_a_row_is_written_without_our_own_api(identifier: str) -> None:
    module = sys.modules[load(identifier).torch.__module__]

    assert outsiders(inspect.getsource(module)) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("import paritree", "paritree"),
        ("import paritree.impl_torch as ours", "paritree.impl_torch"),
        ("from paritree.common.spec import Linear", "paritree.common.spec.Linear"),
        ("from ....impl_torch import build", "....impl_torch.build"),
        ("from ...record import run", "...record.run"),
        ("from ... import catalogue", "....catalogue"),
        ("def f():\n    from ...catalogue import load", "...catalogue.load"),
    ],
)
def test_an_import_of_our_own_api_would_be_found(line: str, name: str) -> None:
    assert outsiders(line) == [name]


@pytest.mark.parametrize("identifier", ["A12", "N5", "I17", "W11"])
def test_facts_are_the_same_in_a_second_run(identifier: str, ran: Callable[[str], Outcome]) -> None:
    again = outcome(identifier)

    assert show(again.facts) == show(ran(identifier).facts)


def test_a_row_leaves_the_random_numbers_of_its_caller_alone() -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3).tolist()
    torch.manual_seed(7)
    outcome("I1")

    assert torch.rand(3).tolist() == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), IDS),
        (("W6",), ("W6",)),
        (("w6", " a1 ", "W6"), ("W6", "A1")),
        (("l",), ("L1", "L2", "L3", "L4")),
        (("S2", "S"), ("S2", "S1")),
    ],
)
def test_rows_are_meant_by_id_or_by_section(given: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert identifiers(given) == expected


def test_sections_are_in_the_order_of_the_catalogue() -> None:
    assert [SECTIONS[letter][0] for letter in COUNTS] == [heading for heading, _, _ in SECTIONS.values()]
    assert tuple(name for letter in SECTIONS for name in section(letter)) == IDS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("W66", "W66: expected the id of a row of the catalogue, found none of that id. Did you mean 'W6'?"),
        ("n0", "n0: expected the id of a row of the catalogue, found none of that id. Did you mean 'N5'?"),
        (
            "tying",
            "tying: expected the id of a row of the catalogue, found none of that id. "
            "There are 'A1', 'A2', 'A3', 'A4', 'A5', 'A6', ...",
        ),
        (
            " ",
            "' ': expected the id of a row of the catalogue, found none of that id. "
            "There are 'A1', 'A2', 'A3', 'A4', 'A5', 'A6', ...",
        ),
    ],
)
def test_an_unknown_id_is_refused_before_anything_runs(given: str, message: str) -> None:
    told: list[str] = []
    for refused in (
        lambda: load(given),
        lambda: identifiers(("A1", given)),
        lambda: outcomes(("A1", given), told.append),
    ):
        with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
            refused()
    assert told == []


def test_progress_is_told_each_row_in_turn() -> None:
    told: list[str] = []
    found = outcomes(("t2", "I16"), told.append)

    assert told == ["T2 (1 of 2)", "I16 (2 of 2)"]
    assert [one.behaviour.id for one in found] == ["T2", "I16"]


def test_the_room_opens_without_a_framework() -> None:
    """In a process of its own, since this one has loaded them all; the second line shows that the check can fail."""
    lines = (
        "import sys, paritree.study, paritree.study.terminal",
        "print(sorted({'torch', 'jax', 'flax'} & set(sys.modules)))",
        "paritree.study.load('T2')",
        "print(sorted({'torch', 'jax', 'flax'} & set(sys.modules)))",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["[]", "['flax', 'jax', 'torch']"]
