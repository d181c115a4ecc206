"""Faults planted in plain code: programs as people port them, right in one form and wrong in one line in each other.

Each folder holds a program twice, `reference.py` and `port.py`, written by another hand: with other decompositions,
orders of axes and masks. `port.pair(fault)` makes the pair with a fault of `port.FAULTS`, or the right one. The lines
of both files that hold a fault say so at their end, `# fault: NAME`; where a thing is spread over lines all of them
do, and to name any one is enough. `FAULTS` says what a message that names the cause would speak of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import paritree

PROGRAMS = (
    *("rotary", "experts", "recurrence", "handwritten"),  # ports in NNX
    *("gru", "stem", "squeeze"),  # in Linen
    *("alibi", "sinusoid"),  # functions of arrays
    *("contrastive", "window"),  # in PyTorch, of references in Flax
)
SIDES = ("reference", "port")


@dataclass(frozen=True)
class Planted:
    """One fault of one program. cause: an expression of what its cause is called, None for a fault of no known kind."""

    program: str
    fault: str
    cause: str | None

    def __str__(self) -> str:
        return f"{self.program}-{self.fault}"

    def marked(self, side: str) -> frozenset[int]:
        """The lines of one side that hold the fault, from 1."""
        return frozenset(number for number, faults in marks(self.program, side) if self.fault in faults)


def planted() -> tuple[Planted, ...]:
    """Every fault of every program."""
    return tuple(Planted(name, *each) for name in PROGRAMS for each in _port(name).FAULTS.items())


def made(program: str, fault: str = "") -> paritree.Pair:
    """The pair of a program, always the same one; the right one if no fault is named."""
    return _port(program).pair(fault)


def marks(program: str, side: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a file that hold faults, from 1, with the names of these."""
    lines = (Path(__file__).parent / program / f"{side}.py").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        found = re.search(r"# fault: ([\w, ]+)$", line)
        if found:
            yield number, found[1].split(", ")


def _port(program: str) -> Any:
    return import_module(f".{program}.port", __package__)
