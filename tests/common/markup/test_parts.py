"""What objects show of themselves in a notebook: all of it escaped, with a style that no theme of a notebook beats."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from paritree.common.markup import Fold, Listing, Mark, Prose, Sheet, of_object
from paritree.common.markup.parts import MOST_ROWS

EVIL = "<script>alert(1)</script>&\x1b[2J\u202e"


def parsed(html: str) -> ElementTree.Element:
    """The markup as XML, which is stricter than a browser; what is not closed or escaped is an error."""
    return ElementTree.fromstring(html)


def texts(html: str, tag: str) -> list[str]:
    return ["".join(each.itertext()).strip() for each in parsed(html).iter(tag)]


def test_every_part_is_written_and_escaped() -> None:
    sheet = Sheet(("name", "number", "result"), [(EVIL, "1,000", Mark(EVIL, "fail"))], ("name",), ("number",))
    html = of_object(EVIL, [Prose(EVIL), sheet, Listing(EVIL, EVIL), Fold(EVIL, [Prose(EVIL)])], Mark(EVIL, "pass"))
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    shown = "<script>alert(1)</script>&\\x1b[2J\\u202e"
    assert texts(html, "td") == [shown, "1,000", f"✕ {shown}"]
    assert texts(html, "summary") == texts(html, "pre") == texts(html, "figcaption") == [shown]
    assert texts(html, "b") == [shown]


def test_code_in_prose_and_blanks_in_code_are_kept() -> None:
    html = of_object("a", [Prose("call `f(x)`, or not"), Sheet(("path",), [("  0.weight",)], ("path",))])
    assert "call <code>f(x)</code>, or not" in html
    assert "<code>  0.weight</code>" in html


def test_a_mark_has_the_sign_of_its_hue_or_its_own() -> None:
    html = of_object("a", [], Mark("known", "known")) + of_object("a", [], Mark("must differ", "known", "≠"))
    assert '<span class="mark known">≈ known</span>' in html
    assert '<span class="mark known">≠ must differ</span>' in html


def test_of_a_long_table_the_rest_is_counted() -> None:
    html = of_object("a", [Sheet(("n",), [(str(number),) for number in range(MOST_ROWS + 2)])])
    assert len(texts(html, "td")) == MOST_ROWS
    assert "and 2 more" in html


def test_the_style_is_of_our_element_alone() -> None:
    (style,) = texts(of_object("a", []), "style")
    selectors = re.findall(r"([^{}]+)\{", re.sub(r"/\*.*?\*/", "", style))
    assert len(selectors) > 20
    for selector in selectors:
        assert all(each.strip().startswith((".paritree", "@media")) for each in selector.split(","))
    assert "http" not in style
