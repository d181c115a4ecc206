"""What the naming rows share beyond study/canonical.py: a canonical form, and a rounding."""

from __future__ import annotations

from ...canonical import path


def places(wing: str, value: str) -> str:
    """A dotted path with every child by its place: the named `block1` (PyTorch, NNX) as `1`."""
    return ".".join(part.removeprefix("block") for part in path(wing, value).split("."))


def two_digits(value: float) -> float:
    """A figure at two significant digits: the later ones of a chain of layers differ between machines."""
    return float(f"{value:.2g}")
