"""The exceptions of this package.

Every one says which path, what was expected, what was found and what to do, in that order, and
keeps the four as attributes. Nothing was changed when one of them is raised.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

from .text import one_line, printable

# No part of a message is longer: a file with a million names is not to be told as a whole.
_LONGEST = 10_000
# Of so many names the nearest is looked for, and of no longer ones.
_MOST_NAMES, _LONGEST_NAME = 10_000, 200


class ParitreeError(Exception):
    """The family: catch this one to catch them all.

    has_lines: whether what was found is told in lines; what another error names can make none.
    """

    has_lines = False

    def __init__(self, path: str, expected: str, found: str, remedy: str = "") -> None:
        self.path = shortened(path)
        self.expected = shortened(expected)
        self.found = shortened(found)
        self.remedy = shortened(remedy)
        where = f"{self.path}: " if path else ""
        # What is found may be a message of somebody else's, which asks something.
        end = "" if self.found.endswith("?") else "."
        text = f"{where}expected {self.expected}, found {self.found}{end} {self.remedy}".rstrip()
        super().__init__(printable(text) if self.has_lines else one_line(text))

    def __reduce__(self) -> tuple[type[ParitreeError], tuple[str, str, str, str]]:
        return type(self), (self.path, self.expected, self.found, self.remedy)


class PathError(ParitreeError, LookupError):
    """A path that the model does not have."""


class ShapeError(ParitreeError, ValueError):
    """An array whose shape is not the parameter's."""


class DtypeError(ParitreeError, TypeError):
    """An array whose dtype is not the parameter's."""


class TieError(ParitreeError, ValueError):
    """A tie that cannot hold, or that is not there."""


class ChildNameError(ParitreeError, ValueError):
    """A child's name that is empty, dotted or taken."""


class InitializerError(ParitreeError, ValueError):
    """An initializer that does not fit the shape, or whose numbers make no distribution."""


class SpecError(ParitreeError, ValueError):
    """A spec that does not hold together: widths that do not chain, a layer in the wrong place."""


class WeightsError(ParitreeError, ValueError):
    """A set of weights with missing, extra or misshapen entries; the message lists them all."""


class MapError(ParitreeError, ValueError):
    """A map that does not hold together or does not fit, or a file that is none."""


class CheckpointError(ParitreeError, ValueError):
    """A file or folder of weights that cannot be read or written. A destination was not touched."""


class NotExpressibleError(ParitreeError, NotImplementedError):
    """Something that this wing's framework cannot express, and why."""


class DeviceError(ParitreeError, RuntimeError):
    """A device that is asked for and not present."""


class ProcessError(ParitreeError, RuntimeError):
    """Another process that takes part in the same work failed, or is not heard of any more. This one stopped, too."""


class UsageError(ParitreeError):
    """A command or call that cannot be read: an unknown name, an unreadable file."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A remedy that names the closest of the existing names, or lists the first few."""
    existing = [item for item in names if item]
    short = [item for item in existing[:_MOST_NAMES] if len(item) <= _LONGEST_NAME]
    close = difflib.get_close_matches(name, short if len(name) <= _LONGEST_NAME else [], n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    if not existing:
        return "There are none."
    shown = ", ".join(repr(item) for item in existing[:6])
    return f"There {'is' if len(existing) == 1 else 'are'} {shown}{', ...' if len(existing) > 6 else '.'}"


def listed(entries: Sequence[str], most: int = 8, separator: str = "; ") -> str:
    """Entries for a message, the first few of many and how many more there are."""
    shown = separator.join(entries[:most])
    return shown if len(entries) <= most else f"{shown}{separator}and {len(entries) - most:,} more"


def unfit(faults: Sequence[str]) -> str:
    """What was found where things do not fit: how many, and the first of them."""
    return f"{len(faults):,} that {'does' if len(faults) == 1 else 'do'} not fit: {listed(faults, 20)}"


def shortened(text: str) -> str:
    """A part of a message, its end left out where it is very long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text):,} characters)"


class _Shown(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 4, 100, 100, 100
        self.maxlist = self.maxtuple = self.maxdict = 8

    def repr_int(self, value: int, level: int) -> str:
        # Python writes no number of more than 4,300 digits.
        return repr(value) if value.bit_length() < 400 else f"<a number of {value.bit_length():,} bits>"


def shown(value: Any) -> str:
    """A value that was read, as a message shows it: of what is deep, long or of many digits only a part."""
    return _Shown().repr(value)
