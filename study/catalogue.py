"""The catalogue: every row's id, where its record lives, and a run of them. Rows import frameworks; this does not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from importlib import import_module

from ..common.errors import UsageError, nearest
from .record import Behaviour, Outcome, run

SECTIONS: dict[str, tuple[str, str, int]] = {
    # letter: (heading, folder, how many rows)
    "A": ("Access", "access", 15),
    "N": ("Nested naming", "naming", 5),
    "I": ("Initialization", "initialization", 17),
    "S": ("Direct setting", "setting", 2),
    "T": ("What counts as a parameter", "setting", 5),
    "L": ("Laziness", "laziness", 4),
    "W": ("Tying", "tying", 11),
    "E": ("Questions and exercises", "exercises", 6),
}

IDS = tuple(f"{letter}{number}" for letter, (_, _, count) in SECTIONS.items() for number in range(1, count + 1))


def section(letter: str) -> tuple[str, ...]:
    """The ids of one section (`W`), in order."""
    return tuple(name for name in IDS if name[0] == letter)


def identifiers(wanted: Iterable[str] = ()) -> tuple[str, ...]:
    """The ids of the rows that are meant, each once: by id (`W6`, `w6`), by section (`W`), or all for none."""
    names = [_known(given, (*IDS, *SECTIONS)) for given in wanted]
    found = [identifier for name in names for identifier in (section(name) if name in SECTIONS else (name,))]
    return tuple(dict.fromkeys(found)) or IDS


def load(identifier: str) -> Behaviour:
    """The record of one row, by its id. This imports the frameworks that the row shows."""
    name = _known(identifier, IDS)
    return import_module(f".behaviours.{SECTIONS[name[0]][1]}.{name.lower()}", __package__).RECORD


def _known(given: str, names: Collection[str]) -> str:
    name = given.strip().upper()
    if name not in names:
        found = given.strip() or repr(given)
        raise UsageError(found, "the id of a row of the catalogue", "none of that id", nearest(name, IDS))
    return name


def outcome(identifier: str) -> Outcome:
    """Run one row."""
    row = load(identifier)
    surroundings = import_module(".behaviours.surroundings", __package__)
    with surroundings.the_same_everywhere():
        return run(row)


def outcomes(wanted: Iterable[str] = (), progress: Callable[[str], object] = lambda what: None) -> tuple[Outcome, ...]:
    """Run rows one after another: those that are meant, in that order, or the whole catalogue.

    progress: told each row's id and its place, before it runs (`W6 (51 of 65)`).
    """
    names = identifiers(wanted)
    found = []
    for place, name in enumerate(names, start=1):
        progress(f"{name} ({place} of {len(names)})")
        found.append(outcome(name))
    return tuple(found)
