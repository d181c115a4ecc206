"""Ties: one parameter under several paths, an owner and its aliases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import TieError


@dataclass(frozen=True)
class Tie:
    """`alias` is `owner` under a second path, as it stands (in the canonical layout)."""

    owner: str
    alias: str

    def __str__(self) -> str:
        return self.owner


@dataclass(frozen=True)
class TieGroup:
    """An owner and every alias of it, in the table's order."""

    owner: str
    aliases: tuple[Tie, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The owner's path, then those of its aliases."""
        return (self.owner, *(tie.alias for tie in self.aliases))


def group(ties: Iterable[Tie]) -> tuple[TieGroup, ...]:
    """Ties gathered by owner, in order of first appearance."""
    by_owner: dict[str, list[Tie]] = {}
    for tie in ties:
        by_owner.setdefault(tie.owner, []).append(tie)
    return tuple(TieGroup(owner, tuple(members)) for owner, members in by_owner.items())


def check_tie(tie: Tie, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a tie between unequal shapes, or of a path with itself.

    shapes: by path, in the canonical layout, those of the owner and of the alias.

    Raises:
        TieError: its path is the alias.
    """
    if tie.owner == tie.alias:
        raise TieError(tie.alias, "another path as the owner", "the alias itself", "Name two different paths.")
    owner, alias = shapes[tie.owner], shapes[tie.alias]
    if alias != owner:
        raise TieError(
            tie.alias,
            f"the shape {owner} of its owner {tie.owner!r}",
            f"{alias}",
            "Only parameters of one shape can be tied.",
        )
