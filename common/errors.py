"""The exceptions of this package.

Every one says which path, what was expected, what was found and what to do, in that order, and
keeps the four as attributes. Nothing was changed when one of them is raised.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .text import one_line, printable


class ParitreeError(Exception):
    """The family: catch this one to catch them all.

    has_lines: whether what was found is told in lines; what another error names can make none.
    """

    has_lines = False

    def __init__(self, path: str, expected: str, found: str, remedy: str = "") -> None:
        self.path = path
        self.expected = expected
        self.found = found
        self.remedy = remedy
        where = f"{path}: " if path else ""
        text = f"{where}expected {expected}, found {found}. {remedy}".rstrip()
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


class UsageError(ParitreeError):
    """A command or call that cannot be read: an unknown name, an unreadable file."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A remedy that names the closest of the existing names, or lists the first few."""
    existing = [item for item in names if item]
    close = difflib.get_close_matches(name, existing, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    if not existing:
        return "There are none."
    shown = ", ".join(repr(item) for item in existing[:6])
    return f"There {'is' if len(existing) == 1 else 'are'} {shown}{', ...' if len(existing) > 6 else '.'}"
