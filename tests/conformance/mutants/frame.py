"""What a mutant is, and what a check says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import paritree
from paritree.conformance import DEFAULT_CONTRACTS
from paritree.conformance.report import Report
from paritree.conformance.results import Result
from paritree.pairs.maps.map import Map

# Where more paths fail, to be one of them is not to be named.
_FEW = 4


@dataclass(frozen=True)
class Clean:
    """A pair without a fault. `pair` gives it, with factories on both sides if initializations are to be held.

    is_drawn_alike: whether it has none in its initializations either; some pairs are about something else.
    declared: what the port is known to do otherwise, as the framework that it is in.
    """

    name: str
    pair: Callable[[], paritree.Pair]
    is_drawn_alike: bool = True
    declared: tuple[paritree.KnownDifference, ...] = ()


@dataclass(frozen=True)
class Mutant:
    """One porting mistake in one pair.

    name: what is done wrong, in a few words. clean: the name of the pair that it is planted in; its map is used, as a
        port that was right once has one.
    pair: gives the pair with the mistake.
    contracts: those that must fail, at least one of them.
    module: what a failure must name: a part of a path of the reference or of the port; empty if it is the whole model.
    causes: the words for the cause, one of which a failure must have.
    trap: what kind of mistake it is, for the table: layout, forward, initialization, ties, training, modes, storing.
    """

    name: str
    clean: str
    pair: Callable[[], paritree.Pair]
    contracts: tuple[str, ...]
    module: str
    causes: tuple[str, ...]
    trap: str


@dataclass(frozen=True)
class Verdict:
    """What a check said of a mutant."""

    mutant: Mutant
    failures: tuple[Result, ...]

    @property
    def is_killed(self) -> bool:
        return any(result.contract in self.mutant.contracts for result in self.failures)

    @property
    def names_the_module(self) -> bool:
        """Whether a failure of the mutant's contracts names it: as the module to look at, or in a few paths."""
        mine = [each for each in self.failures if each.contract in self.mutant.contracts]
        told = [
            text
            for each in mine
            for text in (each.module, each.message if each.contract in ("forward", "names") else "")
        ]
        if len(mine) <= _FEW:
            told += [text for each in mine for text in (each.path, each.port_path, each.message)]
        return any(self.mutant.module in text for text in told)

    @property
    def names_the_cause(self) -> bool:
        return any(result.cause in self.mutant.causes for result in self.failures)


@cache
def map_of(clean: Clean) -> Map:
    """The map of a clean pair, found once."""
    return paritree.align(clean.pair())


def check(mutant: Mutant, clean: Clean, contracts: Sequence[str] = DEFAULT_CONTRACTS) -> Verdict:
    """The verdict of the given contracts."""
    report = checked(mutant.pair(), clean, contracts)
    return Verdict(mutant, report.failures)


def checked(pair: paritree.Pair, clean: Clean, contracts: Sequence[str]) -> Report:
    """The report on a pair, on the CPU, under the map of a clean one."""
    return paritree.check(pair, map_of(clean), contracts=tuple(contracts), devices=("cpu",), name=clean.name)
