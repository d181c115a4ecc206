"""A record and its run: the scale of verdicts, what a page prints of a fact, and every fault that a run must find."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from paritree.study.record import Absent, Behaviour, Missing, Raised, Verdict, raised, run, show

WINGS = ("torch", "linen", "nnx")


def record(torch: Any, linen: Any, nnx: Any, verdict: Verdict = Verdict.SAME, **rest: Any) -> Behaviour:
    """A row with one fact, `x`, of the given values; a callable stands for a whole function."""

    def function(value: Any) -> Any:
        return value if callable(value) else lambda: {"x": value}

    return Behaviour("X1", "title", "statement", verdict, function(torch), function(linen), function(nnx), **rest)


def lowered(wing: str, value: str) -> str:
    return value.lower()


@pytest.mark.parametrize(
    ("values", "canonical", "verdict"),
    [
        ((1, 1, 1), {}, Verdict.SAME),
        ((1.0, np.float32(1), 1), {}, Verdict.SAME),
        ((0.12341, 0.12342, 0.12344), {}, Verdict.SAME),
        (("a", "A", "a"), {"x": lowered}, Verdict.RELABELLED),
        (("a", "A", "a"), {}, Verdict.MUST_DIFFER),
        (("a", "B", "a"), {"x": lowered}, Verdict.MUST_DIFFER),
        ((0.1234, 0.1235, 0.1234), {}, Verdict.MUST_DIFFER),
        ((0.0, -0.0, 0.0), {}, Verdict.MUST_DIFFER),
        ((1, 1, Raised("TypeError", "no")), {}, Verdict.MUST_DIFFER),
        ((1, 1, Absent("why")), {}, Verdict.ABSENT),
        ((Absent("why"),) * 3, {}, Verdict.ABSENT),
    ],
)
def test_each_fact_has_its_place_on_the_scale(values: tuple[Any, ...], canonical: Any, verdict: Verdict) -> None:
    outcome = run(record(*values, verdict, canonical=canonical, reason="a reason"))

    assert outcome.verdict == verdict
    assert outcome.problems() == []


def test_the_row_has_the_furthest_verdict_of_its_facts() -> None:
    def facts(wing: str) -> Any:
        return lambda: {"one": 1, "name": wing.upper() if wing == "nnx" else "nnx", "two": wing, "three": 3}

    outcome = run(record(*map(facts, WINGS), canonical={"name": lowered}))

    assert [verdict.name for verdict in outcome.verdicts.values()] == ["SAME", "RELABELLED", "MUST_DIFFER", "SAME"]
    assert outcome.verdict is Verdict.MUST_DIFFER
    assert list(Verdict) == sorted(Verdict)


def nothing() -> dict[str, Any]:
    return {}


def broken() -> dict[str, Any]:
    raise TypeError("no such thing")


FAULTS = {
    "a wrong verdict": (
        record(1, 2, 1),
        ["X1: the verdict is 'same', the run gave 'must differ' (x: must differ)"],
    ),
    "a verdict that is too far": (
        record(1, 1, 1, Verdict.ABSENT, reason="why"),
        ["X1: the verdict is 'absent', the run gave 'same' (x: same)"],
    ),
    "a missing reason": (
        record(1, 2, 1, Verdict.MUST_DIFFER),
        ["X1: the verdict 'must differ' needs a reason"],
    ),
    "a missing fact": (
        record(1, nothing, 1, Verdict.MUST_DIFFER, reason="why"),
        ["X1: the linen function returned no ['x']; say Absent(reason) where there is none"],
    ),
    "no facts at all": (
        record(nothing, nothing, nothing),
        ["X1: the functions returned no facts"],
    ),
    "a function that fails": (
        record(1, 1, broken, Verdict.MUST_DIFFER, reason="why"),
        ["X1: the nnx function failed: TypeError: no such thing"],
    ),
    "a wrong number": (
        record(0.02, 0.02, 0.02, expect={"torch": {"x": 0.0201}}),
        ["X1: torch gave x = 0.02, expected 0.0201"],
    ),
    "a wrong word": (
        record("a", "a", "a", expect={"nnx": {"x": "b"}}),
        ["X1: nnx gave x = a, expected b"],
    ),
    "a wrong shape": (
        record((1,), (1,), (1,), expect={"linen": {"x": (1, 8)}}),
        ["X1: linen gave x = (1,), expected (1, 8)"],
    ),
    "a value where None is expected": (
        record(0, 0, 0, expect={"torch": {"x": None}}),
        ["X1: torch gave x = 0, expected None"],
    ),
    "another exception": (
        record(*[Raised("ValueError", "no")] * 3, expect={"torch": {"x": "TypeError"}}),
        ["X1: torch gave x = ValueError: no, expected TypeError"],
    ),
    "a figure of no fact": (
        record(1, 1, 1, expect={"torch": {"y": None}}),
        ["X1: torch gave y = no value, expected None"],
    ),
    "a number where there is a word": (
        record("a", "a", "a", expect={"torch": {"x": 1.0}}),
        ["X1: torch gave x = a, expected 1"],
    ),
    "a canonical form of no fact": (
        record(1, 1, 1, canonical={"y": lowered}),
        ["X1: a canonical form is given for 'y', which is no fact"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_record_is_found_and_named(fault: str) -> None:
    row, problems = FAULTS[fault]

    assert run(row).problems() == problems


def test_figures_hold_within_one_part_in_a_thousand_and_exceptions_by_type() -> None:
    def facts() -> dict[str, Any]:
        return {"x": 0.02001, "n": None, "e": Raised("TypeError", "any text"), "ok": True, "s": (1, 8)}

    expect = {"torch": {"x": 0.02, "n": None, "e": "TypeError", "ok": True, "s": (1, 8)}}

    assert run(record(facts, facts, facts, expect=expect)).problems() == []


def test_a_wing_that_fails_keeps_the_facts_of_the_others() -> None:
    outcome = run(record(1, broken, 1))

    assert outcome.facts == {"torch": {"x": 1}, "linen": {"x": Missing()}, "nnx": {"x": 1}}
    assert outcome.failures == {"linen": Raised("TypeError", "no such thing")}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (np.bool_(False), "False"),
        (3, "3"),
        (np.int64(3), "3"),
        (2.0, "2"),
        (-0.0, "-0"),
        (0.123456, "0.1235"),
        (1e-7, "1e-07"),
        (math.nan, "nan"),
        ("a 'b'", "a 'b'"),
        ((), "()"),
        ((8,), "(8,)"),
        ((1, 8), "(1, 8)"),
        ([1, [2.5, "x"]], "[1, [2.5, x]]"),
        ({"b": 1, "a": (2,)}, "{b: 1, a: (2,)}"),
        ({3, 1, 2}, "[1, 2, 3]"),
        (np.array([[1.0, 2.0]]), "[[1, 2]]"),
        (Absent("no class wraps it"), "absent: no class wraps it"),
        (Raised("KeyError", "'a'"), "KeyError: 'a'"),
        (Raised("KeyError", ""), "KeyError"),
        (Missing(), "no value"),
    ],
)
def test_a_fact_is_shown_briefly(value: Any, text: str) -> None:
    assert show(value) == text


def test_what_is_not_plain_data_is_no_fact() -> None:
    with pytest.raises(TypeError, match=r"^a fact must be plain data, found complex: 1j$"):
        show(1j)


def test_raised_keeps_the_type_and_the_first_line_without_addresses() -> None:
    def action() -> None:
        raise KeyError("\n  <Linear object at 0x7f3a12345678>\n  and more")

    def silent() -> None:
        raise ValueError

    def long() -> None:
        raise ValueError("x" * 400)

    assert raised(silent) == Raised("ValueError", "")
    assert raised(long) == Raised("ValueError", "x" * 297 + "...")
    assert raised(lambda: {}["a"]) == Raised("KeyError", "'a'")
    assert "0x..." in raised(action).text
    assert "7f3a" not in raised(action).text


def test_raised_insists_on_an_exception() -> None:
    with pytest.raises(AssertionError, match=r"^expected an exception, found the value 7$"):
        raised(lambda: 7)


def test_a_row_and_its_outcome_print_what_they_say() -> None:
    row = record(1, 1, Absent("it has none"), Verdict.ABSENT, reason="there is none.")
    assert str(row) == "X1  title\nstatement\nVerdict: absent. there is none."
    assert str(run(row)) == (
        f"{row}\n\nfact  torch  linen  nnx                  verdict\nx     1      1      absent: it has none  absent"
    )
    assert "Not confirmed by this run: X1: the verdict is 'same'" in str(run(record(1, 2, 1)))


def test_an_outcome_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paritree.study.record.terminal_width", lambda: 24)
    assert str(run(record(1, 1, "a value of words"))).endswith(
        "x: must differ\n  torch  1\n  linen  1\n  nnx    a value of\n    words"
    )


def test_a_row_and_its_outcome_in_a_notebook(ran: Any) -> None:
    html = ran("W6")._repr_html_()
    cells = ["".join(each.itertext()).strip() for each in ElementTree.fromstring(html).iter("td")]
    assert cells[5:10] == ["gradient", "6", "6", "6", "= same"]
    assert cells[-1] == "≠ must differ"
    assert html.count("<pre>") == 3
    assert "<code>jax.grad</code>" in html
    html = record("<i>", 1, 1, notes=("a `note` & more",))._repr_html_()
    assert "a <code>note</code> &amp; more" in html
    assert "def function" in html or "lambda" in html
    assert "&lt;i&gt;" in run(record("<i>", 1, 1))._repr_html_()
