"""The figures of the rows: made by a run, the same in every run, and fit to stand in any page."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from paritree.study import IDS, Outcome, load
from paritree.study.figures import Figure, Tree, of

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = tuple(identifier for identifier in IDS if load(identifier).figures)


@pytest.fixture(scope="module")
def figures(ran: Callable[[str], Outcome]) -> Callable[[str], tuple[Figure, ...]]:
    known: dict[str, tuple[Figure, ...]] = {}

    def drawn(identifier: str) -> tuple[Figure, ...]:
        if identifier not in known:
            known[identifier] = of(ran(identifier))
        return known[identifier]

    return drawn


@pytest.mark.parametrize("identifier", DRAWN)
def test_each_declared_figure_is_made(identifier: str, figures: Callable[[str], tuple[Figure, ...]]) -> None:
    made = figures(identifier)

    assert len(made) == len(load(identifier).figures)
    assert len({figure.title for figure in made}) == len(made)
    assert [figure.title for figure in made if figure.caption[-1:] != "." or figure.title[-1:] == "."] == []


@pytest.mark.parametrize("identifier", DRAWN)
def test_a_figure_stands_in_any_page(identifier: str, figures: Callable[[str], tuple[Figure, ...]]) -> None:
    for figure in figures(identifier):
        root = ElementTree.fromstring(figure.svg)
        words = figure.svg.replace("http://www.w3.org/2000/svg", "")

        assert root.tag == f"{SVG}svg"
        assert (root.findtext(f"{SVG}title"), root.get("width")) == (figure.title, None)
        assert re.findall(r"https?:|url\(|href|<script|<image|\sid=|\son\w+=|nan|inf\b", words) == []
        assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', words)) <= {"none", "currentColor", *hues(words)}
        assert outside(root) == []


def hues(words: str) -> set[str]:
    """Colours that a page may set, each with one that is seen on light and on dark paper."""
    return set(re.findall(r"var\(--figure-\w+, #[0-9a-f]{6}\)", words))


def outside(root: ElementTree.Element) -> list[str]:
    """What begins or ends outside of the drawing, as far as positions tell; a character is at least 5.5 units wide."""
    _, _, width, height = map(float, root.get("viewBox", "").split())
    found = []
    for element in root.iter():
        x, y = (float(element.get(name, element.get(f"c{name}", 1))) for name in ("x", "y"))
        words = "".join(element.itertext()) if element.tag == f"{SVG}text" else ""
        long = 5.5 * len(words) * float(element.get("font-size", 12)) / 12
        start = x - {"end": long, "middle": long / 2}.get(element.get("text-anchor", ""), 0)
        if start < 0 or start + long > width or not 0 <= y <= height:
            found.append(words or element.tag)
    return found


@pytest.mark.parametrize("identifier", DRAWN)
def test_a_figure_is_the_same_in_every_run(
    identifier: str, figures: Callable[[str], tuple[Figure, ...]], ran: Callable[[str], Outcome]
) -> None:
    assert of(ran(identifier)) == figures(identifier)


TREES = [
    (identifier, index)
    for identifier in DRAWN
    for index, panel in enumerate(load(identifier).figures)
    if isinstance(panel, Tree)
]


@pytest.mark.parametrize(("identifier", "index"), TREES)
def test_arcs_join_what_the_table_ties(
    identifier: str, index: int, figures: Callable[[str], tuple[Figure, ...]]
) -> None:
    panel = load(identifier).figures[index]
    assert isinstance(panel, Tree)
    groups = ElementTree.fromstring(figures(identifier)[index].svg).iter(f"{SVG}g")

    assert [(group.get("data-owner"), group.get("data-alias")) for group in groups] == [
        (tie.owner, tie.alias) for tie in panel.table(panel.model()).ties
    ]


def test_a_row_of_which_a_function_failed_has_no_figures(ran: Callable[[str], Outcome]) -> None:
    from dataclasses import replace

    from paritree.study import Raised

    assert of(replace(ran("W1"), failures={"nnx": Raised("KeyError", "")})) == ()
