"""The tree of a model: a line for each part of a native path, an arc for each tie, and names that are data."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from paritree import MODELS, Block, Linear, Sequential, Shared, table
from paritree.common.drawing import Figure, Svg, drawing, label, tree
from paritree.common.drawing.trees import MARK_HUE
from paritree.common.layouts import TRANSPOSED
from paritree.common.tables import Row, Table
from paritree.common.ties import Tie

SVG = "{http://www.w3.org/2000/svg}"


def read(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def lines(svg: str) -> list[str]:
    """The text of each line from top to bottom, marks left out."""
    found = [text for text in read(svg).iter(f"{SVG}text") if text.get("font-family")]
    return [" ".join(part for part in text.itertext()) for text in found]


def arcs(svg: str) -> set[tuple[str, str]]:
    return {(group.get("data-owner"), group.get("data-alias")) for group in read(svg).iter(f"{SVG}g")}


def ties(of: Table) -> set[tuple[str, str]]:
    return {(tie.owner, tie.alias) for tie in of.ties}


TIED = Sequential(Linear(4, 8), Linear(8, 8), Shared("1"), Linear(8, 1))


def test_a_line_is_a_part_of_a_path_and_an_entry_has_its_shape():
    svg = tree(table(TIED), "a net")

    assert lines(svg)[:4] == ["0", "weight (8, 4)", "bias (8,)", "1"]
    assert [text for text in lines(svg) if " " not in text] == ["0", "1", "2", "3"]
    assert arcs(svg) == {("1.weight", "2.weight"), ("1.bias", "2.bias")}


def test_shapes_and_names_are_those_that_are_stored():
    rows = (
        Row("0.weight", (8, 4), "float32", native_path=("layers", 0, "kernel"), layout=TRANSPOSED),
        Row("0.bias", (None,), "float32", native_path=("layers", 0, "bias")),
    )

    assert lines(tree(Table(rows), "")) == ["layers", "0", "kernel (4, 8)", "bias (?,)"]


def test_an_alias_without_a_name_of_its_own_is_a_line_at_the_root():
    own = ("layers_0", "kernel")
    rows = (
        Row("0.weight", (8, 8), "float32", native_path=own),
        Row("1.weight", (8, 8), "float32", native_path=own, tie=Tie("0.weight", "1.weight")),
    )
    svg = tree(Table(rows), "")

    assert lines(svg) == ["layers_0", "kernel (8, 8)", "1.weight has no entry"]
    assert arcs(svg) == {("0.weight", "1.weight")}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_arcs_join_what_the_table_ties_and_nothing_else(name: str):
    of = MODELS[name].table()
    svg = tree(of, name)

    assert arcs(svg) == ties(of)
    assert sum("(" in text for text in lines(svg)) == len(of)
    assert svg == tree(of, name)


def test_what_is_noted_has_its_word_and_nothing_else():
    svg = tree(table(TIED), "", noted={"3.bias": "starts at 0"})

    assert "--figure-mark" not in svg
    assert "3.bias: starts at 0" in read(svg).findtext(f"{SVG}desc", "")
    assert [text.text for text in read(svg).iter(f"{SVG}text") if not text.get("font-family")] == ["starts at 0"]


def ends(svg: str) -> list[tuple[float, float]]:
    """The heights of both ends of each arc."""
    found = []
    for group in read(svg).iter(f"{SVG}g"):
        owner, alias = group.findall(f"{SVG}circle")
        found.append((float(owner.get("cy", "")), float(alias.get("cy", ""))))
    return found


def test_an_arc_ends_at_the_lines_of_its_paths():
    svg = tree(table(TIED), "")
    heights = [float(text.get("y", "")) - 4 for text in read(svg).iter(f"{SVG}text")]
    names = lines(svg)
    owner, alias = names.index("1"), names.index("2")

    assert sorted(ends(svg)) == [(heights[owner + 1], heights[alias + 1]), (heights[owner + 2], heights[alias + 2])]


def test_what_is_marked_has_its_word_and_a_folded_tree_shows_no_more_than_leads_to_it():
    of = table(Block({"a": TIED, "b": Linear(1, 1)}, ("a", "b")))
    svg = tree(of, "", marked={"a.1.bias": "error 3e-2"}, folded=True)

    assert lines(svg) == [
        "a", "0 2 entries", "1", "weight (8, 8)", "bias (8,)", "2 2 entries", "3 2 entries", "b 2 entries",
    ]  # fmt: skip
    assert svg.count(f'stroke="{MARK_HUE}"') == 2
    assert [text.text for text in read(svg).iter(f"{SVG}text") if not text.get("font-family")] == ["error 3e-2"]
    assert arcs(svg) == ties(of)
    assert lines(tree(of, "", folded=True)) == ["a 8 entries", "b 2 entries"]


NASTY = '<b>"x"&amp;\'\x1b[31m\u202e'


def test_names_are_data():
    rows = (Row(f"{NASTY}.weight", (1,), "float32"), Row("]]>", (1,), "float32", kind="buffer"))
    svg = tree(Table(rows), NASTY, marked={"]]>": NASTY}, hue="red")

    assert lines(svg)[0] == '<b>"x"&amp;\'\\x1b[31m\\u202e'
    assert "\x1b" not in svg
    assert "<b>" not in svg


def test_a_drawing_stands_alone_and_has_no_width_of_its_own():
    svg = drawing(340, 20.04, "a title", "words", label(-0.04, 1 / 3, "text"))
    root = read(svg)

    assert isinstance(svg, Svg)
    assert svg.__html__() == svg
    assert (root.get("viewBox"), root.get("width"), root.get("height")) == ("0 0 340 20", None, None)
    assert root.findtext(f"{SVG}title") == "a title"
    assert '<text x="0" y="0.3" fill="currentColor">text</text>' in svg


def test_in_a_notebook_a_figure_says_how_large_it_is():
    figure = Figure("title", drawing(340, 20, "", ""), "caption")
    root = read(figure._repr_svg_())

    assert (root.get("width"), root.get("height")) == ("340", "20")
