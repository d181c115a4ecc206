"""Names that a map crosses: two tensors of one side whose names the other side has too, the other way round."""

from __future__ import annotations

import re
from itertools import combinations
from typing import NamedTuple

from ...common.errors import listed
from .correspondence import Correspondence
from .rows import MapRow

# One word for what the two frameworks and their users call otherwise.
_SAME = {
    "q": "query",
    "wq": "query",
    "k": "key",
    "wk": "key",
    "v": "value",
    "wv": "value",
    "o": "out",
    "wo": "out",
    "reverse": "backward",
    "bwd": "backward",
    "bw": "backward",
}
_EMPTY = {"forward", "fwd", "fw"}
# Of more tensors of one shape none are held against each other.
_MOST_ALIKE = 256
_SHOWN = 3


class Crossing(NamedTuple):
    """Two rows, each of which has the port's tensor that the name of the other speaks of."""

    one: MapRow
    other: MapRow

    def __str__(self) -> str:
        return " and ".join(f"{row.reference} is {row.port}" for row in self)


def crossings(made: Correspondence) -> list[Crossing]:
    """The pairs of rows whose names cross, such as `gate` that is `up` and `up` that is `gate`."""
    groups: dict[object, list[MapRow]] = {}
    for row in made.rows:
        groups.setdefault((row.shape, row.port_shape, row.reference_piece, row.port_piece), []).append(row)
    small = [rows for rows in groups.values() if len(rows) <= _MOST_ALIKE]
    words = {path: _words(path) for rows in small for row in rows for path in (row.reference, row.port)}
    return [
        Crossing(one, other)
        for rows in small
        for one, other in combinations(rows, 2)
        if _cross(*(words[path] for path in (one.reference, other.reference, one.port, other.port)))
    ]


def crossing_note(made: Correspondence) -> str:
    """A sentence for a reader of the map; empty where no names cross."""
    found = crossings(made)
    if not found:
        return ""
    told = listed([*map(str, found)], _SHOWN)
    return (
        f"the map crosses names that both sides have: {told}. The port's program may use the one where it means the "
        "other; if it was not meant, exchange them in the program and align again"
    )


def _words(path: str) -> frozenset[str]:
    found: list[str] = re.findall(r"[a-z]+|\d+", path.lower())
    return frozenset(_SAME.get(word, word) for word in found if word not in _EMPTY)


def _cross(*paths: frozenset[str]) -> bool:
    """Whether what tells two paths of the reference apart tells the port's apart the other way round."""
    one, other, partner, others = paths
    ours, theirs = (one - other, other - one), (partner - others, others - partner)
    straight = any(mine & its for mine, its in zip(ours, theirs, strict=True))
    return not straight and _tells(ours[0], theirs[1]) and _tells(ours[1], theirs[0]) and bool(ours[0] | ours[1])


def _tells(mine: frozenset[str], its: frozenset[str]) -> bool:
    return bool(mine & its) or not (mine or its)
