"""The pages of the site: every row once, the code that ran, results that no sign breaks, answers behind questions."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from paritree.study import IDS, Outcome, load
from paritree.study.catalogue import section
from paritree.study.record import WINGS, Absent, Behaviour, Raised, Verdict, run, show
from paritree.study.site import pages, write

PARSER = MarkdownIt("commonmark")
SOME = (*section("T"), *section("S"), "W6", "E4")


@pytest.fixture(scope="module")
def written(ran: Callable[[str], Outcome]) -> dict[str, str]:
    return pages([ran(name) for name in SOME])


class Cells(HTMLParser):
    """What a reader sees of each cell of a table, and which framework it is labelled with."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.found.append((dict(attrs).get("data-wing") or "", ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            label, text = self.found[-1]
            self.found[-1] = (label, (text + data).strip("\n"))


def test_each_section_has_a_page_with_its_rows_in_order(written: dict[str, str]) -> None:
    assert list(written) == ["index.md", "setting.md", "tying.md", "exercises.md"]
    assert re.findall(r"(?m)^\((\w+)\)=$", written["setting.md"]) == [
        name.lower() for name in (*section("S"), *section("T"))
    ]
    assert re.findall(r"(?m)^## (.*)", written["setting.md"]) == ["Direct setting", "What counts as a parameter"]


def test_the_front_page_lists_every_row_with_its_mark(written: dict[str, str], ran: Callable[[str], Outcome]) -> None:
    lines = [line.strip("| ").split(" | ") for line in written["index.md"].splitlines() if line.startswith("| [")]

    assert {line[0].strip() for line in lines} == {f"[{name}](#{name.lower()})" for name in SOME}
    for link, title, mark in lines:
        outcome = ran(link.strip("[ ").partition("]")[0])
        assert f"</span> {outcome.verdict.words}</span>" in mark
        assert title.strip()


def test_the_code_of_a_page_is_that_of_the_records(written: dict[str, str]) -> None:
    for name in ("W6", "T3"):
        page = written["tying.md" if name == "W6" else "setting.md"]
        assert all(f"```python\n{load(name).script(wing)}\n```" in page for wing in WINGS)


def test_an_exercise_answers_nothing_above_its_fold(written: dict[str, str]) -> None:
    record = load("E4")
    above, fold, below = written["exercises.md"].partition("{dropdown}")

    assert fold
    for words in (record.title, record.statement[:40], "must differ", *record.notes, 'class="results"'):
        assert words[:40] not in above.replace("\n", " ")
        assert words[:40] in below.replace("\n", " ")
    assert record.question[:60] in above.replace("\n", " ")


def test_every_exercise_asks_and_nothing_else_does() -> None:
    assert [name for name in IDS if load(name).question] == list(section("E"))


def test_the_ids_of_rows_are_links_outside_of_code() -> None:
    row = Behaviour(
        "W6",
        "`W1` and W2",
        "See W10, I99 and `W3`; notebook S2, and (S2).",
        Verdict.SAME,
        *(lambda: {"y": 1},) * 3,
    )
    text = pages([run(row)])["tying.md"]

    assert "See [W10](#w10), I99 and `W3`; notebook S2, and ([S2](#s2))." in text


def nasty() -> dict[str, object]:
    return {
        "<b> & *c*": "</td><script>alert(1)</script>",
        "raises": Raised("KeyError", "'<i>'"),
        "none": Absent("a & b"),
        "long": {"a<b": list(range(20)), "c": "d" * 40},
    }


def test_no_sign_of_html_survives_in_the_results() -> None:
    row = Behaviour(
        "W6", "title", "statement.", Verdict.ABSENT, nasty, nasty, lambda: {**nasty(), "raises": 1}, reason="r"
    )
    (block,) = [
        token.content
        for token in PARSER.parse(pages([run(row)])["tying.md"])
        if token.type == "fence" and "<table" in token.content
    ]
    cells = Cells(block)

    assert cells.tags <= {"table", "thead", "tbody", "tr", "th", "td", "span", "code"}
    assert ("all three", "</td><script>alert(1)</script>") in cells.found
    assert ("Flax Linen", "raises KeyError '<i>'") in cells.found
    assert ("PyTorch", "absent: a & b") in cells.found
    assert any(text.startswith("<b> & *c*") for _, text in cells.found)
    assert any(text.startswith("{a<b: [0, 1, 2") for _, text in cells.found)


def test_what_a_run_does_not_confirm_stands_on_the_page() -> None:
    wrong = Behaviour("W6", "title", "statement.", Verdict.SAME, nasty, nasty, nasty)

    assert ":::{admonition} This run does not confirm the record" in pages([run(wrong)])["tying.md"]


def test_a_page_that_did_not_change_is_left_alone(tmp_path: Path, ran: Callable[[str], Outcome]) -> None:
    write(tmp_path, [ran("W6")])
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    (tmp_path / "tying.md").write_text("another", encoding="utf-8")
    write(tmp_path, [ran("W6")])

    assert (tmp_path / "index.md").stat().st_mtime_ns == before[tmp_path / "index.md"]
    assert "W6" in (tmp_path / "tying.md").read_text(encoding="utf-8")


def pasted(text: str, wing: str) -> object:
    names: dict[str, object] = {}
    exec(compile(text, "pasted", "exec"), names)
    return names[f"in_{wing}"]()  # type: ignore[operator]


@pytest.mark.parametrize(
    "identifier", [pytest.param(name, marks=() if name in ("A1", "L2", "W6") else pytest.mark.thorough) for name in IDS]
)
def test_the_code_of_a_page_can_be_pasted(identifier: str, ran: Callable[[str], Outcome]) -> None:
    from paritree.study.behaviours import surroundings

    outcome = ran(identifier)
    for wing in WINGS:
        with surroundings.the_same_everywhere():
            assert _told(pasted(outcome.behaviour.script(wing), wing)) == _told(outcome.facts[wing])


def _told(facts: object) -> str:
    """Facts without the modules of classes, since a text that is pasted stands in none."""
    return re.sub(r"<class '[\w.<>]+\.(\w+)'>", r"<class '\1'>", show(facts))
