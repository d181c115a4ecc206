"""Plain Markdown: what is escaped, where lines break, and that a parser reads back what was meant."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from paritree.study import markdown

# What a reader of the page would see; the parser comes with rich.
PARSER = MarkdownIt("commonmark").enable("table")
SIGNS = ("-", "+", "*", "#", ">", "=", "|", "1.", "2)", "---", "===", "~~~")


@pytest.mark.parametrize("sign", SIGNS)
def test_no_line_of_a_paragraph_begins_with_a_sign(sign: str) -> None:
    for length in range(80, 100):
        text = f"{'x' * length} {sign} then {'y' * length} {sign} the rest"
        kinds = [token.type for token in PARSER.parse(markdown.paragraph(markdown.escaped(text)))]
        assert kinds == ["paragraph_open", "inline", "paragraph_close"]


def test_a_bullet_holds_its_lines_together() -> None:
    lines = markdown.paragraph("word " * 40, "- ").splitlines()

    assert len(lines) == 3
    assert [line[:3] for line in lines] == ["- w", "  w", "  w"]
    assert max(map(len, lines)) <= 100


def test_a_code_span_is_not_broken() -> None:
    for length in range(80, 100):
        lines = markdown.paragraph(f"{'x' * length} `a b c d` y").splitlines()
        assert sum("`a b c d`" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("w * w and a_b_c and init_ and 2 < 3", "w * w and a_b_c and init_ and 2 < 3"),
        ("w**2 and *all*", r"w\*\*2 and \*all\*"),
        ("_x_ and `_x_`", r"\_x_ and `_x_`"),
        ("<b> and `<b>`", r"\<b> and `<b>`"),
        ("&amp; a & b", r"\&amp; a & b"),
        ("[a](b), [0, 0]", r"[a\](b), [0, 0]"),
        ("one ` tick", r"one \` tick"),
        ("two\nlines", "two lines"),
        (r"a\*b and C:\dir", r"a\\\*b and C:\dir"),
    ],
)
def test_prose_is_escaped_where_it_must_be_and_nowhere_else(text: str, escaped: str) -> None:
    assert markdown.escaped(text) == escaped


@pytest.mark.parametrize("text", ["a", "a b", "`", "a `b` c", "``", "` `` ```", "a | b", "*a* <b> \\"])
def test_a_code_span_holds_any_text(text: str) -> None:
    for around in (markdown.code(text), markdown.table(("x",), [(markdown.code(text),)])):
        spans = [
            child for block in PARSER.parse(around) for child in block.children or () if child.type == "code_inline"
        ]
        assert [span.content for span in spans] == [text]


@pytest.mark.parametrize("text", ["x = 1", "a\n```\nb", "````\n```"])
def test_a_fence_holds_any_text(text: str) -> None:
    (block,) = PARSER.parse(markdown.fence(text))

    assert (block.content, block.info) == (text + "\n", "python")


def test_a_table_stands_in_columns_as_far_as_it_can() -> None:
    rows = [("a", "x" * 50, "same"), ("longer", "y", "z" * 60)]

    assert markdown.table(("fact", "torch", "last"), rows).splitlines() == [
        f"| fact   | {'torch':<40} | last |",
        f"| ------ | {'-' * 40} | ---- |",
        f"| a      | {'x' * 50} | same |",
        f"| longer | {'y':<40} | {'z' * 60} |",
    ]


def test_long_values_stand_under_each_other() -> None:
    words = "word " * 19

    assert markdown.columns([("torch", "1"), ("nnx", words)]).splitlines() == [
        "```text",
        "torch  1",
        f"nnx    {'word ' * 18}".rstrip(),
        "       word",
        "```",
    ]
