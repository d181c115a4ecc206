"""The elements of a drawing, as text. Every word in them is made printable and is escaped here, and nowhere else.

A drawing has no width of its own, no script, no id and no reference to anything outside of it. Its ink is the colour
of the text around it; a hue is a middle tone, which is seen on white and on black alike, and a page may set another one
by a variable of CSS. Where a drawing is a document of its own (an image in a notebook), there is no text around it:
then, and only then, the rules for `svg:root` apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from ..text import printable

MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_SANS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_ALONE = (
    "svg:root{color:#1f2429;background:#fff}"
    "@media (prefers-color-scheme:dark){svg:root{color:#e4e7ea;background:#14171b}}"
)
# Text is 12 units high, and so an em is 12 of them: a drawing grows no larger than it takes to read it as it is meant.
_FONT_SIZE = 12


class Svg(str):
    """A drawing. It alone enters a page as it is: by this method a template knows what is escaped already."""

    def __html__(self) -> str:
        return self


@dataclass(frozen=True, repr=False)
class Figure:
    """A drawing with what stands over and under it: prose, names of code in backticks."""

    title: str
    svg: Svg
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the drawing, in its units."""
        width, height = self.svg.partition('viewBox="0 0 ')[2].partition('"')[0].split()
        return float(width), float(height)

    def __repr__(self) -> str:
        return f"Figure({self.title!r})"

    def _repr_svg_(self) -> str:
        """The drawing in a notebook, where it is an image and must say how large it is."""
        width, height = self.size
        return self.svg.replace("<svg ", f'<svg width="{_short(width)}" height="{_short(height)}" ', 1)


def drawing(width: float, height: float, title: str, description: str, *body: str) -> Svg:
    """One `<svg>` of elements, as wide as there is room and no wider than its text is meant to be.

    title, description: what is read aloud instead of it.
    """
    words = f"<title>{plain_text(title)}</title><desc>{plain_text(description)}</desc><style>{_ALONE}</style>"
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {_short(width)} {_short(height)}",
        "role": "img",
        "style": f"display:block;width:100%;max-width:{_short(width / _FONT_SIZE)}em;height:auto",
        "fill": "none",
        "font_family": _SANS,
        "font_size": _FONT_SIZE,
    }
    return Svg(f"<svg{_attributes(attributes)}>{words}{''.join(body)}</svg>")


def element(name: str, *inside: str, **attributes: Any) -> str:
    """One element. inside: markup. attributes: values by name, `_` for `-`; there is none where the value is None."""
    within = "".join(inside)
    return f"<{name}{_attributes(attributes)}>{within}</{name}>" if within else f"<{name}{_attributes(attributes)}/>"


def label(x: float, y: float, words: str, **attributes: Any) -> str:
    """A line of text whose baseline is at y; of the colour of ink unless `fill` says another one."""
    return element("text", plain_text(words), x=x, y=y, **{"fill": "currentColor", **attributes})


def line(*points: tuple[float, float], **attributes: Any) -> str:
    """A line through points, in ink unless `stroke` says another colour."""
    steps = " ".join(f"{'L' if index else 'M'}{_short(x)} {_short(y)}" for index, (x, y) in enumerate(points))
    return element("path", d=steps, **{"stroke": "currentColor", **attributes})


def plain_text(words: str) -> str:
    """Text as markup: no sign of it is read as a tag, and none is missing to a parser of XML."""
    return escape(printable(words))


def _attributes(values: dict[str, Any]) -> str:
    return "".join(
        f' {name.replace("_", "-")}="{escape(value if isinstance(value, str) else _short(value))}"'
        for name, value in values.items()
        if value is not None
    )


def _short(value: float) -> str:
    """To a tenth of a unit: finer is not seen, and the noise of arithmetic is finer."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
