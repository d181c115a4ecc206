"""Turns: the steps between which a schedule changes at once, found by halving from steps that are far apart.

A curve differs wherever it is looked at. A rate that is divided by ten at the 30,000th step, and at the 30,001st on the
other side, differs in one step alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .courses import STARTS

# By less a step changes otherwise, too.
_LEAST = 1e-3
# Of a jump one half has all of the change, of a curve each a part.
_SHARE = 0.75
# So often a curve is halved, in case it is two jumps; and so many steps are made at once.
_CURVES, _MOST = 2, 64


class _Piece(NamedTuple):
    """Between two steps. depth: how often it was halved. share: how much of the change before that it has."""

    first: int
    last: int
    depth: int = 0
    share: float = 1.0


class Turns:
    """What is known of how far each step goes, and which steps are to be made next."""

    def __init__(self) -> None:
        self._levels: dict[int, np.ndarray] = {}
        self._pieces: list[_Piece] = []

    def see(self, counts: Sequence[int], levels: Sequence[np.ndarray]) -> None:
        """Of steps by their number how far each parameter went."""
        self._levels.update(zip(counts, levels, strict=True))
        if self._pieces:
            self._pieces = [half for piece in self._pieces for half in self._halves(piece)]
        else:
            self._pieces = [_Piece(*each) for each in itertools.pairwise(counts[STARTS:])]

    def next(self) -> list[int]:
        """The numbers of the steps that are to be made, in the middle of where there is a change; none at the end."""
        asked = [each for each in self._pieces if each.last > each.first + 1 and self._is_asked(each)]
        self._pieces = sorted(asked, key=self._change, reverse=True)[:_MOST]
        return sorted(_middle(each) for each in self._pieces)

    def _is_asked(self, piece: _Piece) -> bool:
        return self._change(piece) > _LEAST and (piece.depth < _CURVES or piece.share > _SHARE)

    def _halves(self, piece: _Piece) -> Iterator[_Piece]:
        whole = self._change(piece)
        for ends in ((piece.first, _middle(piece)), (_middle(piece), piece.last)):
            half = _Piece(*ends, piece.depth + 1)
            yield half._replace(share=self._change(half) / whole)

    def _change(self, piece: _Piece) -> float:
        one, other = self._levels[piece.first], self._levels[piece.last]
        most = np.maximum(one, other)
        return float(np.max(np.abs(other - one) / np.where(most > 0, most, 1.0), initial=0.0))


def _middle(piece: _Piece) -> int:
    return (piece.first + piece.last) // 2
