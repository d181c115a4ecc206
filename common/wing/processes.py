"""Processes that hold one model together, and the means by which they tell each other short texts."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Store(Protocol):
    """What the framework started its processes with: texts by their keys, which all of them see.

    Raises:
        RuntimeError: it does not answer; the process that keeps it may have ended.
    """

    def set(self, key: str, text: str) -> None:
        """Tell the others, once more if it was told before."""
        ...

    def get(self, key: str) -> str | None:
        """What was told; None if nobody has yet. It does not wait."""
        ...


class Processes(NamedTuple):
    """The processes of a model of which each has parts.

    number: of this one, as its framework counts. numbers: those of all, ascending.
    """

    number: int
    numbers: tuple[int, ...]
    store: Store
