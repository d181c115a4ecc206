"""What is said of a pair with a fault: the lines that bound it on both sides, and the cause."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import paritree

from . import SIDES, Planted, made

# What a fault with a right map fails in.
CONTRACTS = ("forward", "gradients")


@dataclass(frozen=True)
class Measured:
    """What came of one fault.

    found: whether align refused or check failed. lines: how many the bound has on each side, none where there is no
    bound. holds: whether a marked line is among them. cause: whether it is named; None where it is of no known kind.
    said: the sentence of the error, or of the first failure.
    """

    planted: Planted
    found: bool
    lines: dict[str, int]
    holds: dict[str, bool]
    cause: bool | None
    said: str
    seconds: float

    @property
    def is_bound(self) -> bool:
        return all(self.holds.values())


def measured(planted: Planted) -> Measured:
    """Aligns the pair with this fault, and checks it where it is aligned."""
    start = time.monotonic()
    told = _told(planted)
    inside = {
        side: {number for stretch in told.stretches for number in _numbers(getattr(stretch, side), f"{side}.py")}
        for side in SIDES
    }
    return Measured(
        planted,
        bool(told.said),
        {side: len(inside[side]) for side in SIDES},
        {side: bool(inside[side] & planted.marked(side)) for side in SIDES},
        None if planted.cause is None else any(re.search(planted.cause, cause) for cause in told.causes),
        told.said,
        time.monotonic() - start,
    )


class _Told(NamedTuple):
    stretches: Sequence[Any]
    causes: Sequence[str]
    said: str


def _told(planted: Planted) -> _Told:
    try:
        found = paritree.align(made(planted.program, planted.fault))
    except paritree.ParitreeError as error:
        place = getattr(error, "place", None)
        stretches = _stretches(place)
        named = [str(each.cause) for each in (place, *stretches) if getattr(each, "cause", None)]
        return _Told(stretches, named, str(error))
    # Made anew: a model may hold what the first run left.
    report = paritree.check(made(planted.program, planted.fault), found, contracts=CONTRACTS, devices=("cpu",))
    stretches = [stretch for failure in report.failures for stretch in _stretches(failure)]
    # The lines of the programs that a message shows are no cause.
    named = [f"{failure.cause}: {failure.message.partition(chr(10))[0]}" for failure in report.failures]
    return _Told(stretches, named, next((f"{each.contract}: {each.message}" for each in report.failures), ""))


def _stretches(told: Any) -> Sequence[Any]:
    return getattr(told, "stretches", ())


def _numbers(passage: Any, file: str) -> Iterator[int]:
    """The lines of a passage that lie in that file."""
    return (line.number for line in passage.lines if Path(line.file).name == file)


def row(found: Measured) -> str:
    """One fault in a line: what is named of it, then what is said."""
    sides = "  ".join(f"{side} {_word(found.holds[side])} ({found.lines[side]:2} lines)" for side in SIDES)
    cause = "  -" if found.cause is None else _word(found.cause)
    verdict = "" if found.found else "NOT FOUND  "
    said = " ".join(found.said.split())[:110]
    return f"{found.planted!s:<26} {sides}  cause {cause}  {found.seconds:5.1f} s  {verdict}{said}"


def shares(rows: Sequence[Measured]) -> str:
    """How many are bound on both sides, the median of the lines, and how many causes are named."""
    bound = [each for each in rows if each.is_bound]
    medians = [f"{statistics.median(each.lines[side] for each in bound):g}" if bound else "none" for side in SIDES]
    known = [each for each in rows if each.cause is not None]
    named = sum(bool(each.cause) for each in known)
    return (
        f"{sum(each.found for each in rows)} of {len(rows)} found; {len(bound)} of {len(rows)} bound on both sides, by "
        f"a median of {medians[0]} lines in the reference and {medians[1]} in the port; {named} of {len(known)} causes"
    )


def _word(holds: bool) -> str:
    return "yes" if holds else " no"
