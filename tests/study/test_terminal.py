"""The terminal: three columns where they fit, one where they do not, and nothing but text in a pipe."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from paritree.study import IDS, Outcome, load, terminal
from paritree.study.catalogue import listed
from paritree.study.record import WINGS, Behaviour, Verdict, run

ESCAPE = "\x1b"


def printed(renderable: RenderableType, width: int, colours: bool = False) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=colours, color_system="truecolor" if colours else None).print(
        renderable
    )
    return stream.getvalue().splitlines()


def starts(lines: list[str]) -> list[tuple[int, int]]:
    """Line and column at which each wing's function begins."""
    found = [(y, line.find(f"def in_{wing}():")) for wing in WINGS for y, line in enumerate(lines)]
    return [(y, x) for y, x in found if x >= 0]


@pytest.mark.parametrize("width", [156, 170, 240])
def test_three_columns_of_equal_width_where_they_fit(width: int, ran: Callable[[str], Outcome]) -> None:
    lines = printed(terminal.page(ran("W6")), width)
    (first, *others) = starts(lines)
    column = (width - 6) // 3

    assert column >= terminal.CODE_COLUMN
    assert [first, *others] == [(first[0], 0), (first[0], column + 3), (first[0], 2 * (column + 3))]


@pytest.mark.parametrize("width", [40, 60, 100, 155])
def test_one_under_another_where_they_do_not(width: int, ran: Callable[[str], Outcome]) -> None:
    lines = printed(terminal.page(ran("W6")), width)

    assert [x for _, x in starts(lines)] == [0, 0, 0]
    assert len({y for y, _ in starts(lines)}) == 3


@pytest.mark.parametrize("width", [40, 60, 95, 96, 155, 156, 200])
@pytest.mark.parametrize("identifier", ["N1", "S1", "E1"])
def test_no_line_is_wider_than_the_terminal_and_no_letter_is_lost(
    width: int, identifier: str, ran: Callable[[str], Outcome]
) -> None:
    row = ran(identifier).behaviour
    lines = printed(terminal.page(ran(identifier)), width)

    assert max(map(cell_len, lines)) <= width
    if width < terminal.WIDE:
        text = re.sub(r"\s", "", "".join(lines))
        for shown in (*map(row.code, WINGS), row.statement, row.reason, *row.notes, row.title.replace("`", "")):
            assert re.sub(r"\s", "", shown) in text


def test_a_long_line_of_code_is_folded_below_itself() -> None:
    def facts() -> dict[str, str]:
        if True:
            return {"the name of a fact": "and its value", "the name of another": "and another value"}

    row = Behaviour("W6", "title", "text.", Verdict.SAME, facts, facts, facts)
    lines = [line.rstrip() for line in printed(terminal.page(run(row)), 60)]
    start = next(y for y, line in enumerate(lines) if line.endswith("if True:"))

    assert lines[start : start + 4] == [
        "        if True:",
        '            return {"the name of a fact": "and its',
        '                value", "the name of another": "and another',
        '                value"}',
    ]


def test_the_facts_and_their_verdicts_are_shown(ran: Callable[[str], Outcome]) -> None:
    outcome = ran("W6")
    wide = [line.split() for line in printed(terminal.page(outcome), 170)]
    narrow = "\n".join(line.rstrip() for line in printed(terminal.page(outcome), 60))

    assert ["gradient", "6", "6", "6", "same"] in wide
    assert "gradient: same\n  torch  6\n  linen  6\n  nnx    6\n" in narrow
    assert "Verdict: must differ. In NNX the tie is a fact" in narrow
    assert "Sources: S1." in narrow


def test_colours_on_a_terminal_and_none_in_a_pipe(
    ran: Callable[[str], Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show(terminal.page(ran("W6")), terminal.overview([ran("W6")]))
    piped = capsys.readouterr().out

    assert ESCAPE not in piped
    assert "def in_nnx():" in piped
    assert f"{ESCAPE}[33mmust differ" in "\n".join(printed(terminal.page(ran("W6")), 80, colours=True))


def test_brackets_and_marks_in_a_fact_are_printed_as_they_are() -> None:
    def facts() -> dict[str, str]:
        return {"[bold]x[/]": "[red]0[/] :smile: `a`"}

    row = Behaviour("W6", "[b]title[/]", "a [link].", Verdict.SAME, facts, facts, facts, notes=("[i]note[/]",))
    for width in (60, 100):
        page = "\n".join(printed(terminal.page(run(row)), width))
        before_the_code, _, rest = page.partition("def facts")
        for shown in ("[b]title[/]", "a [link].", "[bold]x[/]", "[red]0[/]", ":smile:"):
            assert shown in before_the_code
        assert "- [i]note[/]" in rest


def test_what_a_run_does_not_confirm_is_said() -> None:
    row = Behaviour("W6", "title", "text.", Verdict.ABSENT, lambda: {"x": 1}, lambda: {"x": 1}, lambda: {"x": 1})
    text = "\n".join(printed(terminal.page(run(row)), 200))

    assert (
        "Not confirmed by this run: W6: the verdict is 'absent', the run gave 'same' (x: same)\n"
        "Not confirmed by this run: W6: the verdict 'absent' needs a reason\n"
    ) in "\n".join(line.rstrip() for line in text.replace("\n\n", "\n").splitlines()) + "\n"


@pytest.mark.parametrize("width", [40, 100])
def test_the_overview_lists_rows_by_section(width: int, ran: Callable[[str], Outcome]) -> None:
    lines = printed(terminal.overview([ran("S1"), ran("S2"), ran("T1")]), width)
    words = [line.split() for line in lines if line.strip()]

    assert max(map(cell_len, lines)) <= width
    assert words[0] == ["row", "title", "verdict"]
    assert [line[0] for line in words if re.fullmatch(r"[A-Z]\d+", line[0])] == ["S1", "S2", "T1"]
    assert ["Direct", "setting"] in words
    assert "absent" in next(line for line in words if line[0] == "S2")


def test_titles_are_listed_without_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(row: Behaviour) -> Outcome:
        raise AssertionError(f"{row.id} was run")

    monkeypatch.setattr(sys.modules["paritree.study.catalogue"], "run", refuse)
    lines = [" ".join(line.split()) for line in printed(terminal.titles(listed(("L2", "T2"))), 120)]

    assert "L2 A lazy tie exists before its weight does must differ" in lines
    assert "T2 A parameter is an array in PyTorch and Linen, and holds one in NNX absent" in lines
    assert lines[-1] == "To run one and see its code: paritree study L2. To run all: paritree study --run."


def test_what_is_listed_is_what_the_records_say() -> None:
    rows = [load(identifier) for identifier in IDS]

    assert list(listed()) == [(row.id, row.title, row.verdict) for row in rows]


def test_a_pipe_that_is_closed_is_left_to_the_caller(
    monkeypatch: pytest.MonkeyPatch, ran: Callable[[str], Outcome]
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())

    with pytest.raises(BrokenPipeError):
        terminal.show(terminal.page(ran("W6")))
