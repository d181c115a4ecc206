"""The parts of what is shown, as plain data: a template escapes and writes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

# The rows of a table that are written out; the others are counted.
MOST_ROWS = 1000
Hue = Literal["pass", "fail", "known", "skip", ""]


class Html(str):
    """Markup whose texts are escaped already: it enters a page as it is."""

    def __html__(self) -> str:
        return self


@dataclass(frozen=True)
class Mark:
    """A word or two with a colour and a sign; the sign is that of the hue unless it is given."""

    words: str
    hue: Hue = ""
    sign: str = ""


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    words: str


@dataclass(frozen=True)
class Sheet:
    """A table. A cell is a text, a number or a `Mark`.

    codes: headings of the columns in the type of code, whose blanks are kept. numbers: those that stand to the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    codes: Collection[str] = ()
    numbers: Collection[str] = ()


@dataclass(frozen=True)
class Listing:
    """Code, line for line."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Fold:
    """Parts that are shown when their title is clicked."""

    title: str
    parts: Sequence[Part]


Part = Prose | Sheet | Listing | Fold


def environment(*folders: Path) -> Environment:
    """The environment of templates that are read from these folders, and from the one with the style.

    Every value is made printable, and is escaped where it is written, drawings alone excepted.
    """
    # Only who wants a page waits for jinja2.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_written,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _written(value: object) -> object:
    """Any value as the template is to escape it, or a drawing and what a macro has made, which are escaped."""
    return value if hasattr(value, "__html__") else printable(str(value))


def of_object(title: str, parts: Sequence[Part], mark: Mark | None = None) -> str:
    """What an object shows of itself in a notebook: a heading with a mark, and its parts."""
    template = environment().get_template("object.html")
    return template.render(title=title, mark=mark, parts=parts, most=MOST_ROWS)
