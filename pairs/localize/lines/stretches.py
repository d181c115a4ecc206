"""Stretches: the part of both programs in which one difference arises, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ....common.reading import read_text
from ....common.text import one_line
from ....common.wing import Line
from ..gap import Cause

# Between two lines that are no further apart those in between are told too.
GAP = 3
# Of one side in a message.
MOST_SHOWN = 8


@dataclass(frozen=True)
class Passage:
    """One program's part of a stretch.

    equal: the last lines before it whose values the other side has too, with the operations that make these.
    different: the line of the first value after it that should be equal; None where it stands in no code of the model's
        own. operation: that makes this value.
    lines: of all that is made in between, with that of `different`, in the order of the file.
    """

    equal: tuple[tuple[Line, str], ...]
    different: Line | None
    operation: str
    lines: tuple[Line, ...]
    module: str = ""

    def end(self) -> str:
        return f"{self.different} ({self.operation})" if self.different else f"{self.operation!r} in {self._place}"

    def start(self) -> str:
        return ", ".join(f"{line} ({operation})" for line, operation in self.equal)

    @property
    def _place(self) -> str:
        return repr(self.module) if self.module else "the model itself"


@dataclass(frozen=True)
class Stretch:
    """Where one difference arises.

    error: of the port's first value that should be equal, beside the norm of the reference's.
    is_backward: of gradients, from the outputs back: `equal` comes after `different` in the program.
    """

    reference: Passage
    port: Passage
    error: float
    cause: Cause | None = None
    is_backward: bool = False

    def excerpts(self) -> Iterator[str]:
        """The lines of both programs, as far as their files can be read."""
        for passage in (self.reference, self.port):
            for line in passage.lines[:MOST_SHOWN]:
                text = one_line(excerpt(line))
                if text:
                    yield f"{line}  {text}"

    def is_within(self, other: Stretch) -> bool:
        """Whether all of its lines are lines of another one."""
        both = (self.reference, other.reference), (self.port, other.port)
        return all(bool(mine.lines) and set(mine.lines) <= set(yours.lines) for mine, yours in both)

    @property
    def module(self) -> str:
        return f"{self.reference.module!r} = {self.port.module!r}"

    def __str__(self) -> str:
        both = self.reference.start(), self.port.start()
        before = " = ".join(both) if all(both) else ""
        if self.is_backward:
            equal = f"equal from the outputs back to {before}; " if before else ""
            return f"{equal}not equal at {self.reference.end()} = {self.port.end()}"
        equal = f"equal up to {before}; " if before else ""
        ends = f"{self.reference.end()} = {self.port.end()}"
        size = f" (by {self.error:.1e})" if 0 < self.error < float("inf") else ""
        return f"{equal}not equal from {ends}{size}"


def filled(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines in the order of their file, with those between two that are next but one or two to each other."""
    made: list[Line] = []
    for line in sorted(set(lines)):
        if made and made[-1].file == line.file and 1 < line.number - made[-1].number <= GAP:
            made += [Line(line.file, number) for number in range(made[-1].number + 1, line.number)]
        made.append(line)
    return tuple(made)


def excerpt(line: Line) -> str:
    """The line's source, empty where there is none."""
    try:
        lines = read_text(Path(line.file)).splitlines()
    except (OSError, ValueError):
        return ""
    return lines[line.number - 1].strip() if line.number <= len(lines) else ""
