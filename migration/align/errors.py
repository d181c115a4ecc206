"""The error of an alignment that does not come to a proved map."""

from __future__ import annotations

from ...common.errors import ParitreeError


class AlignmentError(ParitreeError, ValueError):
    """Two programs that differ, a row that nothing settled, or a map that its proof refuted. No map is returned."""


def listed(entries: list[str], most: int = 8) -> str:
    """Entries for a message, the first few of many."""
    shown = "; ".join(entries[:most])
    return shown if len(entries) <= most else f"{shown}; and {len(entries) - most:,} more"
