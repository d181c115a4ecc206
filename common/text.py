"""Text for people: names are data, and no name forges a line of its own or gives an order to a terminal."""

from __future__ import annotations

# The ends of lines and tabs are the text's own; a space that does not break holds a number to its unit.
_OWN = "\n\t\xa0"


def printable(text: str) -> str:
    """The text with what cannot be printed, and what turns its direction, written as escapes; its lines stay."""
    return _escaped(text, _OWN)


def one_line(name: str) -> str:
    """A name in one line: as `printable`, and the ends of lines are escaped too."""
    return _escaped(name, "")


def _escaped(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in kept else sign.encode("unicode_escape").decode("ascii") for sign in text
    )


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 alias`, `2 aliases`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
