"""The catalogue: every row's id, where its record lives, and a run of them. Rows import frameworks; this does not."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ..common.errors import UsageError, nearest
from .record import Behaviour, Outcome, Verdict, run

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


class Listed(NamedTuple):
    """What a list of rows shows of one: what its author says, without a run."""

    id: str
    title: str
    verdict: Verdict


def listed(wanted: Iterable[str] = ()) -> tuple[Listed, ...]:
    """The rows that are meant, as their records say. Their files are read and not run: no framework is imported."""
    return tuple(map(_listed, identifiers(wanted)))


def _listed(identifier: str) -> Listed:
    file = Path(__file__).parent / "behaviours" / SECTIONS[identifier[0]][1] / f"{identifier.lower()}.py"
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == Behaviour.__name__:
            said = {each.arg: each.value for each in node.keywords}
            verdict = Verdict[ast.unparse(said["verdict"]).removeprefix("Verdict.")]
            return Listed(identifier, ast.literal_eval(said["title"]), verdict)
    raise AssertionError(f"{file.name} has no record")


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
