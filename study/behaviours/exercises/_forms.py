"""Canonical forms that several exercises use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...canonical import path


def by_path(wing: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Facts by parameter: the names in the canonical spelling, sorted; the values unchanged."""
    return dict(sorted((path(wing, name), item) for name, item in value.items()))
