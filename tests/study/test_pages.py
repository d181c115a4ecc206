"""The Markdown page and the JSON: what stands in them, that no sign can break them, and that the page is current."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from paritree.study import IDS, SECTIONS, Outcome, as_json, rosetta
from paritree.study.pages import plain, versions
from paritree.study.record import WINGS, Absent, Behaviour, Missing, Raised, Verdict, run

# What a reader of the page would see; the parser comes with rich.
PARSER = MarkdownIt("commonmark").enable("table")


@pytest.fixture(scope="module")
def outcomes(ran: Callable[[str], Outcome]) -> list[Outcome]:
    return [ran(identifier) for identifier in IDS]


@pytest.fixture(scope="module")
def page(outcomes: list[Outcome]) -> str:
    return rosetta(outcomes)


def texts(page: str, kind: str) -> list[str]:
    """What a reader sees of each block of a kind: `h3`, `p`, `td`, `fence`."""
    tokens = PARSER.parse(page)
    if kind == "fence":
        return [token.content for token in tokens if token.type == "fence" and token.info == "python"]
    return [
        "".join("\n" if child.type == "softbreak" else child.content for child in after.children or ())
        for token, after in pairwise(tokens)
        if token.tag == kind and token.nesting == 1
    ]


def test_the_page_has_every_row_once_in_its_section(page: str) -> None:
    assert texts(page, "h3") == list(IDS)
    assert texts(page, "h2") == ["How to read a row", "The rows", *(heading for heading, _, _ in SECTIONS.values())]


def test_the_summary_links_every_row_with_its_verdict_and_title(page: str, outcomes: list[Outcome]) -> None:
    summary = page.partition("## The rows")[2].partition("## Access")[0]
    lines = [line.strip("| ").split(" | ") for line in summary.splitlines() if line.startswith("| [")]
    cells = [[cell.strip() for cell in line] for line in lines]

    assert [link for link, _, _ in cells] == [f"[{name}](#{name.lower()})" for name in IDS]
    assert [verdict for _, verdict, _ in cells] == [outcome.verdict.words for outcome in outcomes]
    assert [title.replace("\\", "") for _, _, title in cells] == [outcome.behaviour.title for outcome in outcomes]
    counts = re.findall(r"(\d+) (same after renaming and relayout|same|must differ|absent)", summary.partition("|")[0])
    assert {words: int(count) for count, words in counts} == {
        verdict.words: sum(outcome.verdict == verdict for outcome in outcomes) for verdict in Verdict
    }


def test_the_page_says_with_what_it_was_made_and_how(page: str) -> None:
    head = " ".join(page.partition("## How")[0].split())
    names = [f"{name} {number}" for name, number in versions().items()]

    assert "`paritree study --markdown FILE`" in head
    assert f"written with {names[0]}, {names[1]} and {names[2]}, on the CPU" in head


def test_the_code_on_the_page_is_the_code_that_ran(page: str, outcomes: list[Outcome]) -> None:
    expected = [outcome.behaviour.code(wing) + "\n" for outcome in outcomes for wing in WINGS]

    assert texts(page, "fence")[1:] == expected


def test_the_page_is_plain_markdown_without_an_empty_cell(page: str) -> None:
    kinds = {token.type for block in PARSER.parse(page) for token in (block, *(block.children or ()))}

    assert [kind for kind in kinds if "html" in kind] == []
    assert [cell for cell in texts(page, "td") if not cell.strip()] == []


def test_prose_is_wrapped(page: str) -> None:
    prose = re.sub(r"(?ms)^```.*?^```$|^\|.*?$", "", page)

    assert [line for line in prose.splitlines() if len(line) > 100] == []


def test_the_page_depends_on_neither_the_order_nor_the_company_of_the_rows(page: str, outcomes: list[Outcome]) -> None:
    section = [outcome for outcome in outcomes if outcome.behaviour.id[0] == "T"]
    alone = rosetta(section).partition("\n## What counts")[2]

    assert rosetta(outcomes[::-1]) == page
    assert alone.strip() in page


def nasty() -> dict[str, Any]:
    return {
        "a | b": "x | `y` | z\nsecond line",
        "*star* <b>": ["`", "``", "|"],
        "_under_": Absent("a | pipe, a *star* and a `tick`"),
        "long": "w | x ``` " * 12,
        "raises": Raised("KeyError", "'a|b'"),
        "empty": "",
    }


NASTY = Behaviour(
    id="A1",
    title="`a | b` | *not* emphasis, <b>not</b> HTML, _x_",
    statement="`x | y`, [no](link), &amp; 2 * 3 * 4, a\\*b, w**2 and\nw**2, ~~no~~, a lone ` tick, and so on, up to a "
    "line's end where a sign stands: 1. not a list, - not a list, # not a heading, > not a quotation, + not a list, "
    "= no underline.",
    verdict=Verdict.ABSENT,
    torch=nasty,
    linen=nasty,
    nnx=nasty,
    reason="Nobody has *that*. " * 9,
    notes=("| not | a | table |", "`a  b` and ``c ` d``"),
)


def shown(text: str) -> str:
    return " ".join(text.split())


def test_no_sign_of_markdown_survives_in_prose_or_a_table() -> None:
    page = rosetta([run(NASTY)])
    row = page.partition("### A1")[2]
    paragraphs = [shown(text) for text in texts(row, "p")]
    cells = [shown(text) for text in texts(row, "td")]

    assert paragraphs[0] == "a | b | *not* emphasis, <b>not</b> HTML, _x_"
    assert paragraphs[1] == shown(NASTY.statement).replace("`x | y`", "x | y")
    assert paragraphs[2] == shown(f"Verdict: absent. {NASTY.reason}")
    assert shown("x | `y` | z second line") in cells
    assert "[`, ``, |]" in cells
    assert "absent: a | pipe, a *star* and a tick" in cells
    assert "raises KeyError: 'a|b'" in cells
    assert '""' in cells
    assert [cells[i] for i in range(0, len(cells), 5)] == ["a | b", "*star* <b>", "_under_", "raises", "empty"]
    assert paragraphs[-2:] == ["| not | a | table |", "a b and c ` d"]
    assert {token.type for token in PARSER.parse(row)} & {"html_block", "blockquote_open", "ordered_list_open"} == set()
    assert '"w | x ``` " * 12' in texts(row, "fence")[0]


def test_what_a_run_does_not_confirm_stands_in_the_row() -> None:
    wrong = Behaviour("W6", "title", "statement.", Verdict.SAME, nasty, nasty, nasty)
    page = rosetta([run(wrong)])

    assert "**This run does not confirm the record:**\n\n- W6: the verdict is 'same', the run gave 'absent'" in page
    assert as_json([run(wrong)])[0]["problems"] == run(wrong).problems()


def test_json_has_the_agreed_shape(outcomes: list[Outcome]) -> None:
    rows = json.loads(json.dumps(as_json(outcomes), allow_nan=False))

    assert [row["id"] for row in rows] == list(IDS)
    for row, outcome in zip(rows, outcomes, strict=True):
        record = outcome.behaviour
        assert (row["title"], row["verdict"], row["reason"]) == (record.title, outcome.verdict.words, record.reason)
        assert list(row["wings"]) == list(WINGS)
        assert row["problems"] == []
        for wing in WINGS:
            assert set(row["wings"][wing]) == {"code", "output"}
            assert row["wings"][wing]["code"] == record.code(wing)
            assert list(row["wings"][wing]["output"]) == list(row["facts"]) == list(outcome.verdicts)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 1}, [1, 3]),
        ({0: "a"}, {"0": "a"}),
        (np.float32(0.5), 0.5),
        (np.array([[True]]), [[True]]),
        (math.nan, "nan"),
        ([-math.inf], ["-inf"]),
        (Absent("why"), {"absent": "why"}),
        ({"a": Raised("KeyError", "'a'")}, {"a": {"raised": "KeyError", "text": "'a'"}}),
        (Missing(), {"missing": True}),
    ],
)
def test_a_fact_becomes_plain_data(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)
