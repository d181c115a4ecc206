"""The error of everything that is about maps."""

from __future__ import annotations

from .errors import ParitreeError


class MapError(ParitreeError, ValueError):
    """A map that does not hold together, or a file that is none."""
