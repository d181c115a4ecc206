"""The built site in a browser: what can be clicked, both widths, both colour schemes, and that it is alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Browser

WIDE, NARROW = 1400, 400
# One page of each kind.
KINDS = (
    "index.html",
    "study/index.html",
    "study/tying.html",
    "study/exercises.html",
    "tutorial.html",
    "layers.html",
    "conformance.html",
    "reference/index.html",
    "notebooks/6-tying.html",
    "design.html",
)
CHOSEN = """
return [...document.querySelectorAll(".sd-tab-set")].map((set) => set.querySelector("input:checked + label").innerText)
"""
SHOWN = """
const found = [...document.querySelectorAll(arguments[0])];
return found.filter((each) => each.checkVisibility()).map((each) => each.innerText);
"""
ALL_GONE = ("\ue009a\ue009", "\ue003")  # control and A, and a step back
FIRST_CELLS = "article > section > input.find-in-table + * tbody tr td:first-child"


def select(page: Browser, number: int, name: str) -> None:
    """Click on a tab of one of the page's sets of tabs."""
    page.run(
        "[...document.querySelectorAll('.sd-tab-set')[arguments[0]].querySelectorAll('label')]"
        ".find(each => each.innerText === arguments[1]).click()",
        number,
        name,
    )


@pytest.fixture(scope="module")
def wide(browser: Callable[..., Browser]) -> Browser:
    return browser(WIDE)


def test_all_tabs_of_a_page_follow_one_and_a_reload_and_other_pages_remember_it(wide: Browser) -> None:
    wide.open("study/tying.html")
    assert set(wide.run(CHOSEN)) == {"PyTorch"}

    select(wide, 3, "Flax NNX")
    assert set(wide.run(CHOSEN)) == {"Flax NNX"}
    code = wide.run(SHOWN, ".sd-tab-content pre")
    assert len(code) == 11
    assert all("def in_nnx():" in each for each in code)

    wide.open("study/tying.html")
    assert set(wide.run(CHOSEN)) == {"Flax NNX"}
    wide.open("study/access.html")
    assert set(wide.run(CHOSEN)) == {"Flax NNX"}
    select(wide, 0, "PyTorch")


def test_a_tab_stays_where_it_was_clicked(wide: Browser) -> None:
    wide.open("study/tying.html")
    label = "document.querySelectorAll('.sd-tab-set')[8].querySelectorAll('label')[1]"
    wide.run(f"{label}.scrollIntoView({{behavior: 'instant'}})")
    place = f"return Math.round({label}.getBoundingClientRect().top)"
    before = wide.run(place)
    wide.run(f"{label}.click(); return new Promise((done) => setTimeout(() => done(null), 200))")

    assert set(wide.run(CHOSEN)) == {"Flax Linen"}
    assert abs(wide.run(place) - before) <= 4  # a chosen label is drawn a little higher
    select(wide, 0, "PyTorch")


def test_an_exercise_hides_its_answer_until_it_is_asked_for(wide: Browser) -> None:
    wide.open("study/exercises.html")
    assert wide.run(SHOWN, "table.results") == []

    wide.run("document.querySelector('section#e1 summary').click()")
    (table,) = wide.run(SHOWN, "table.results")
    assert "0.4783" in table


def test_the_layer_table_is_searched_by_the_names_of_either_framework(wide: Browser) -> None:
    wide.open("layers.html")
    box = wide.driver.find_element("css selector", "input.find-in-table")
    box.send_keys("Dense")
    assert wide.run(SHOWN, FIRST_CELLS) == ["Linear", "TransposedLinear"]
    box.send_keys(*ALL_GONE, "flax.linen.Dense")
    assert wide.run(SHOWN, FIRST_CELLS) == ["Linear", "TransposedLinear"]
    box.send_keys(*ALL_GONE, "nn.MultiheadAttention")
    assert wide.run(SHOWN, FIRST_CELLS) == ["MultiheadAttention"]
    box.send_keys(*ALL_GONE)
    assert len(wide.run(SHOWN, FIRST_CELLS)) > 70


def test_a_page_reads_without_scripts(browser: Callable[..., Browser]) -> None:
    page = browser(WIDE, False, "--blink-settings=scriptEnabled=false")
    page.open("study/tying.html")
    find = page.driver.find_elements

    assert len([each for each in find("css selector", "table.results") if each.is_displayed()]) == 11
    tabs = find("css selector", ".sd-tab-set")[5]
    tabs.find_elements("tag name", "label")[1].click()
    shown = [each.text for each in tabs.find_elements("css selector", ".sd-tab-content pre") if each.is_displayed()]
    assert len(shown) == 1
    assert "def in_linen():" in shown[0]

    page.open("layers.html")
    assert len(page.driver.find_elements("css selector", "table")[0].find_elements("css selector", "tbody tr")) > 70
    page.open("study/exercises.html")
    page.driver.find_element("css selector", "article summary").click()
    assert page.driver.find_element("css selector", "details table.results").is_displayed()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_pages_fit_say_nothing_to_the_console_and_ask_no_other_host(
    width: int, dark: bool, browser: Callable[..., Browser], site: Path
) -> None:
    page = browser(width, dark)
    # All of them where it is hardest.
    pages = (
        sorted(file.relative_to(site).as_posix() for file in site.rglob("*.html") if "_static" not in file.parts)
        if width == NARROW and dark
        else KINDS
    )
    page.requests()
    too_wide, complaints = {}, {}
    for name in pages:
        page.open(name)
        scrolled, seen = page.run("const top = document.scrollingElement; return [top.scrollWidth, top.clientWidth]")
        if scrolled > seen:
            too_wide[name] = scrolled
        if said := page.complaints():
            complaints[name] = said
    assert too_wide == {}
    assert complaints == {}
    asked = page.requests()
    assert len(asked) > len(pages)
    # The browser's own first page is its own, too.
    assert [
        url for url in asked if not url.startswith((page.address, "data:", "chrome:", "chrome-untrusted:", "about:"))
    ] == []


# WCAG's relative luminance and contrast of what is written on what.
CONTRAST = """
const luminance = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((each) => {
    const c = each / 255;
    return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const color = getComputedStyle(each).backgroundColor;
    if (!color.endsWith(", 0)") && color !== "transparent") return color;
  }
  return "rgb(255, 255, 255)";
};
return [...document.querySelectorAll(arguments[0])].map((each) => {
  const [one, two] = [getComputedStyle(each).color, behind(each)].map(luminance);
  return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
});
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_marks_and_results_can_be_read_in_both_colour_schemes(dark: bool, browser: Callable[..., Browser]) -> None:
    page = browser(WIDE, dark)
    page.open("study/access.html")
    page.run("return Promise.all(document.getAnimations().map((each) => each.finished)).then(() => null)")

    assert (page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark
    for selector in (".verdict", "table.results code", "table.results .none", "table.results th", ".sd-tab-label"):
        contrasts = page.run(CONTRAST, selector)
        assert contrasts
        assert min(contrasts) >= 4.5, selector


def test_the_site_is_small(site: Path) -> None:
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 20 * 2**20
