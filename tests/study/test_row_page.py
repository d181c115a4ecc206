"""The page of a row: it stands alone, has the code that ran, and is opened where there is a browser."""

from __future__ import annotations

import re
import webbrowser
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from paritree import cli
from paritree.study import Outcome
from paritree.study.record import WINGS, Behaviour, Verdict, run
from paritree.study.row_page import coloured, page

from ..phone import too_wide

EVIL = "<script>alert(1)</script>"


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))


def words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_the_page_of_a_row_loads_nothing_and_has_all_of_it(ran: Callable[[str], Outcome]) -> None:
    outcome = ran("W6")
    html = page([outcome])
    root = parsed(html)
    assert not list(root.iter("script")) + list(root.iter("link")) + list(root.iter("img"))
    assert not re.search(r"@import|url\(|\son\w+=", html)
    codes = ["".join(pre.itertext()) for pre in root.iter("pre")]
    assert codes == [outcome.behaviour.code(wing) for wing in WINGS]
    cells = [[words(cell) for cell in row.iter("td")] for row in root.iter("tr")]
    assert ["gradient", "6", "6", "6", "= same"] in cells
    text = words(root)
    for said in (outcome.behaviour.title, "≠ must differ. In NNX the tie", "Sources: S1.", "Run now, with torch "):
        assert said in text


def test_the_figures_of_a_row_are_in_its_page(ran: Callable[[str], Outcome]) -> None:
    outcome = ran("W1")
    assert len(list(parsed(page([outcome])).iter("{http://www.w3.org/2000/svg}svg"))) == len(outcome.behaviour.figures)


def test_what_a_row_says_is_escaped() -> None:
    def facts() -> dict[str, str]:
        return {EVIL: EVIL}

    row = Behaviour("W6", EVIL, EVIL, Verdict.MUST_DIFFER, facts, facts, facts, reason=EVIL, notes=(EVIL,))
    html = page([run(row)])
    assert "<script" not in html
    assert words(parsed(html)).count(EVIL) >= 7
    assert "Not confirmed by this run: W6: the verdict is 'must differ'" in words(parsed(html))
    assert '<span class="s2">"&lt;b&gt;"</span>' in coloured('x = "<b>"').replace("&quot;", '"')


@pytest.mark.parametrize("has_browser", [True, False])
def test_the_command_opens_it(
    has_browser: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)) or has_browser)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        cli.main(["study", "w6", "--open"])
    said = capsys.readouterr()
    file = Path(said.out.strip())
    assert stop.value.code == 0
    assert (file.name, opened) == ("w6.html", [file.as_uri()])
    assert file.is_relative_to(tmp_path)
    assert "def in_nnx" in words(parsed(file.read_text(encoding="utf-8")))
    assert said.err == ("" if has_browser else "There is no browser to open it in.\n")


def test_the_page_is_of_rows_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["study", "--open"], "--open is about one row or a few: paritree study W6 --open."),
        (["study", "W6", "--open", "--json"], "--json and --open are 2 outputs: give one."),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("identifier", ["W1", "W6"])
def test_a_phone_scrolls_nothing_sideways(identifier: str, ran: Callable[[str], Outcome], tmp_path: Path) -> None:
    assert too_wide(page([ran(identifier)]), tmp_path) == []


def test_what_a_source_notebook_gets_wrong_stands_under_a_heading_of_its_own(ran: Callable[[str], Outcome]) -> None:
    text = page([ran("W2"), ran("W1")])

    assert text.count("<h2>In the source notebooks</h2>") == 1
    assert "Notebook S4 writes data[0, 0] == 100" in text
