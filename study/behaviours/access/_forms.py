"""Canonical forms that several access rows need; the common ones are in study/canonical.py."""

from __future__ import annotations

from ...canonical import path


def native(wing: str, value: str | tuple) -> str:
    """One native path, a string or the tuple of its keys, in the canonical spelling."""
    return path(wing, value if isinstance(value, str) else ".".join(map(str, value)))


def slots(wing: str, value: list) -> list[str]:
    """The children of a Sequential by index: `layers_2` (Linen) and the number 2 (NNX) as `2`."""
    return [path(wing, str(name)) for name in value]
