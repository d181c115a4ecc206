"""Canonical forms for facts: what a Flax name or shape is in PyTorch's spelling.

Each function has the signature `(wing, value) -> value` of `Behaviour.canonical`; PyTorch's own
values pass unchanged, since the canonical form is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEAF = {"kernel": "weight", "embedding": "weight", "scale": "weight"}


def path(wing: str, name: str) -> str:
    """`layers_0.kernel` (Linen) or `layers.0.kernel` (NNX) as `0.weight`."""
    if wing == "torch":
        return name
    parts: list[str] = []
    for part in name.split("."):
        if part == "layers":
            continue
        prefix, _, index = part.rpartition("_")
        parts.append(index if prefix == "layers" and index.isdigit() else part)
    if parts:
        parts[-1] = LEAF.get(parts[-1], parts[-1])
    return ".".join(parts)


def names(wing: str, value: list[str]) -> list[str]:
    """Paths in the canonical spelling, as a sorted list: the order of a pytree is its own."""
    return sorted(path(wing, name) for name in value)


def transposed(wing: str, value: Any) -> Any:
    """A matrix or the shape of one, read `in out` in Flax and `out in` in PyTorch.

    A shape is a tuple; a matrix is a list of rows. Vectors pass unchanged.
    """
    if wing == "torch":
        return value
    if isinstance(value, tuple):
        return value[::-1]
    if isinstance(value, list) and value and isinstance(value[0], list):
        return [list(column) for column in zip(*value, strict=True)]
    return value


def shapes(wing: str, value: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes by path: names in the canonical spelling, kernels transposed, sorted by path."""
    moved = {
        path(wing, name): transposed(wing, shape) if name.rpartition(".")[2] == "kernel" else shape
        for name, shape in value.items()
    }
    return dict(sorted(moved.items()))
