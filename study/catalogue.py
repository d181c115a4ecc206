"""The catalogue: every row's id, and where its record lives. Rows import frameworks; this does not."""

from __future__ import annotations

from importlib import import_module

from .record import Behaviour

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


def load(identifier: str) -> Behaviour:
    """The record of one row, by its id (`W6`)."""
    folder = SECTIONS[identifier[0]][1]
    return import_module(f".behaviours.{folder}.{identifier.lower()}", __package__).RECORD
