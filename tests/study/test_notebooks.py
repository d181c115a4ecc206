"""The notebooks: every row once, the code that ran, and the committed ones are what a run gives now."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from paritree.common.errors import UsageError
from paritree.study import IDS, SECTIONS, Absent, Outcome, Raised, notebooks
from paritree.study.pages import versions
from paritree.study.record import NAMES, WINGS, show

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "docs" / "notebooks"


@pytest.fixture(scope="module")
def made(ran: Callable[[str], Outcome]) -> dict[str, Any]:
    return notebooks.notebooks([ran(identifier) for identifier in IDS])


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    """The notebooks in the tree, where they are of the versions that are installed."""
    if not COMMITTED.is_dir():
        pytest.skip("the tests run away from the tree, and docs/notebooks is not in the wheel")
    pinned = dict(re.findall(r"(?m)^(\w+)==([\w.]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8")))
    other = [f"{name} {mine}, not {pinned[name]}" for name, mine in versions().items() if mine != pinned[name]]
    if other:
        pytest.skip(f"docs/notebooks is written with the versions of constraints.txt; installed is {', '.join(other)}")
    return {file.name: nbformat.read(file, as_version=4) for file in COMMITTED.glob("*.ipynb")}


def of_row(notebook: Any, identifier: str) -> dict[str, Any]:
    name = identifier.lower()
    return {cell.id: cell for cell in notebook.cells if cell.id == name or cell.id.startswith(f"{name}-")}


def test_each_section_has_a_notebook_with_its_rows_in_order(made: dict[str, Any]) -> None:
    assert list(made) == [
        "1-access.ipynb",
        "2-naming.ipynb",
        "3-initialization.ipynb",
        "4-setting.ipynb",
        "5-laziness.ipynb",
        "6-tying.ipynb",
        "7-exercises.ipynb",
    ]
    rows = [cell.id.upper() for notebook in made.values() for cell in notebook.cells if cell.id.upper() in IDS]
    assert rows == list(IDS)
    for notebook in made.values():
        nbformat.validate(notebook)


def test_the_steps_of_the_chapter_are_recognized(made: dict[str, Any]) -> None:
    steps = [
        cell.source.removeprefix("## ")
        for notebook in made.values()
        for cell in notebook.cells
        if cell.id.endswith("-step")
    ]

    assert [step for step in steps if step[0] in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"] == steps
    wanted = ["Targeted parameters", "All parameters at once", "Collecting parameters from nested blocks"]
    wanted += [
        "Built-in initialization",
        "Custom initialization",
        "Lazy initialization",
        "Tied parameters",
        "Exercises",
    ]
    assert [step for step in steps if step in wanted] == wanted


@pytest.mark.parametrize("identifier", IDS)
def test_the_cells_of_a_row_are_the_code_that_ran(
    identifier: str, made: dict[str, Any], ran: Callable[[str], Outcome]
) -> None:
    record = ran(identifier).behaviour
    cells = of_row(made[notebooks.FILES[SECTIONS[identifier[0]][1]]], identifier)

    for wing in WINGS:
        lines = cells[f"{identifier.lower()}-{wing}"].source.splitlines()
        assert (lines[0], lines[-1]) == (f"# {NAMES[wing]}", f"in_{wing}()")
        assert record.script(wing).rpartition("print(")[0].rstrip() in "\n".join(lines)
    assert (f"{identifier.lower()}-figures" in cells) == bool(record.figures)
    text = "\n".join(cell.source.replace("\\", "") for cell in cells.values() if cell.cell_type == "markdown")
    for told in (record.title, record.statement, record.reason, record.question, *record.notes, *record.mistakes):
        assert " ".join(told.replace("\\", "").split()) in text


def test_an_exercise_answers_nothing_before_its_cells(made: dict[str, Any], ran: Callable[[str], Outcome]) -> None:
    cells = list(of_row(made["7-exercises.ipynb"], "E4").values())
    record = ran("E4").behaviour

    assert record.question in cells[0].source
    assert record.statement not in cells[0].source
    assert [cell.cell_type for cell in cells[:5]] == ["markdown", "code", "code", "code", "markdown"]
    assert record.statement in cells[4].source


def test_what_a_run_does_not_confirm_stands_in_the_notebook(ran: Callable[[str], Outcome]) -> None:
    wrong = replace(ran("T2"), failures={"nnx": Raised("KeyError", "'w'")})
    cells = of_row(notebooks.notebooks([wrong])["4-setting.ipynb"], "T2")

    assert "does not confirm the record:**\n\n- T2: the nnx function failed: KeyError: 'w'" in cells["t2-facts"].source


def test_a_notebook_runs_and_the_same_comes_out_again(ran: Callable[[str], Outcome], tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        notebooks.write(tmp_path, [ran("W6")], told.append)
        (tmp_path / "6-tying.ipynb").rename(tmp_path / f"{len(told)}.ipynb")
    first, second = ((tmp_path / f"{number}.ipynb").read_text(encoding="utf-8") for number in (1, 2))
    cells = of_row(nbformat.reads(first, as_version=4), "W6")

    assert told == ["6-tying.ipynb"] * 2
    assert first == second
    assert "[3, 3]}" in cells["w6-nnx"].outputs[0].data["text/plain"]
    assert "<svg" in cells["w6-figures"].outputs[0].data["image/svg+xml"]


def test_a_cell_that_raises_is_told(ran: Callable[[str], Outcome]) -> None:
    (notebook,) = notebooks.notebooks([ran("W6")]).values()
    notebook.cells[-1] = nbformat.v4.new_code_cell("1 / 0", id="wrong")
    words = r"notebook: expected cells that run, found ZeroDivisionError: division by zero. Run the row"

    with pytest.raises(UsageError, match=words):
        notebooks.executed(notebook)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(notebooks, "import_module", missing)
    words = r'notebooks: expected the module nbformat, found none of that name. .*pip install "paritree\[notebooks\]"'
    with pytest.raises(UsageError, match=words):
        notebooks.check(tmp_path)


def sources(notebook: Any) -> list[tuple[Any, ...]]:
    return [(cell.id, cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]


def test_the_committed_notebooks_are_of_the_records(made: dict[str, Any], committed: dict[str, Any]) -> None:
    assert sorted(committed) == sorted(made), f"write them anew: {notebooks.COMMAND}"
    for name, notebook in made.items():
        assert sources(committed[name]) == sources(notebook), f"write them anew: {notebooks.COMMAND}"
        assert committed[name].metadata == notebook.metadata
        code = [cell for cell in committed[name].cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        assert {output.output_type for cell in code for output in cell.outputs} <= {"execute_result"}


@pytest.mark.parametrize("identifier", IDS)
def test_the_committed_outputs_are_the_facts(
    identifier: str, committed: dict[str, Any], ran: Callable[[str], Outcome]
) -> None:
    outcome = ran(identifier)
    cells = of_row(committed[notebooks.FILES[SECTIONS[identifier[0]][1]]], identifier)
    words = {"Raised": Raised, "Absent": Absent, "nan": math.nan, "inf": math.inf}

    for wing in WINGS:
        (output,) = cells[f"{identifier.lower()}-{wing}"].outputs
        # With four digits -0.0 is printed as -0, which Python reads as 0.
        printed = re.sub(r"(?<=[\[(, ])-0(?=[\],)}])", "-0.0", output.data["text/plain"])
        # A class that is made in a cell says so in its name.
        printed = printed.replace("'__main__.", f"'{outcome.behaviour.function(wing).__module__}.")
        assert show(eval(printed, words)) == show(outcome.facts[wing])


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def alike(one: Any, other: Any) -> bool:
    """Whether two outputs agree. Positions in a drawing may differ by what rounding does, on another processor."""
    if one.output_type != other.output_type or sorted(one.data) != sorted(other.data):
        return False
    for kind, text in one.data.items():
        again = other.data[kind]
        if kind != "image/svg+xml":
            if text != again:
                return False
        elif _NUMBER.sub("", text) != _NUMBER.sub("", again) or any(
            abs(float(a) - float(b)) > 0.25 for a, b in zip(_NUMBER.findall(text), _NUMBER.findall(again), strict=True)
        ):
            return False
    return True


@pytest.mark.thorough
@pytest.mark.parametrize("name", notebooks.FILES.values())
def test_the_committed_outputs_are_what_a_run_gives_now(
    name: str, made: dict[str, Any], committed: dict[str, Any]
) -> None:
    again = notebooks.executed(made[name])

    for cell, held in zip(again.cells, committed[name].cells, strict=True):
        outputs = zip(cell.get("outputs", ()), held.get("outputs", ()), strict=True)
        assert all(alike(one, other) for one, other in outputs), f"{cell.id}: {notebooks.COMMAND}"
