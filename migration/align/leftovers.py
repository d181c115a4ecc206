"""What the fingerprints leave open: silent tensors, and those that have more than one equal.

Weaker evidence settles them, in this order: the module that matched siblings name, equal values, the closest names.
Each step only narrows what the one before has left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache

import numpy as np

from ...common import paths
from ...common.maps import Evidence
from .fingerprints import Order, reordered

# For each open path of the reference the port's that it may be, each with the orders that its axes may have.
Options = dict[str, dict[str, list[Order]]]


@dataclass(frozen=True)
class Match:
    """A partner, the order of its axes longer than 1, and what settled it."""

    path: str
    order: Order
    evidence: Evidence


@dataclass
class Ledger:
    """What is settled, and the options of what is open, of one alignment under way.

    alike: the open paths that have options of equal gradients, such as the biases of two branches that are added.
    """

    matches: dict[str, Match]
    options: Options
    alike: set[str] = field(default_factory=set)

    def settle(self, reference: str, port: str, evidence: Evidence) -> bool:
        """Note a partner, if the order of its axes is known too, and strike it from all other options."""
        order = self._order(reference, port)
        if order is None:
            return False
        self.matches[reference] = Match(port, order, evidence)
        del self.options[reference]
        for options in self.options.values():
            options.pop(port, None)
        return True

    def _order(self, reference: str, port: str) -> Order | None:
        """The only possible order, or the one that all settled tensors of these two last names have."""
        possible = self.options[reference][port]
        if len(possible) == 1:
            return possible[0]
        usual = {
            match.order
            for path, match in self.matches.items()
            if (paths.leaf(path), paths.leaf(match.path)) == (paths.leaf(reference), paths.leaf(port))
        } & set(possible)
        return usual.pop() if len(usual) == 1 else None

    def takers(self, port: str) -> list[str]:
        """The open paths that may be this one."""
        return [path for path, options in self.options.items() if port in options]


def settle_by_module(ledger: Ledger) -> None:
    """Narrow the options to the modules in which a tensor's matched siblings are, and settle what has one left."""
    modules: dict[str, set[str]] = {}
    for path, match in ledger.matches.items():
        modules.setdefault(paths.parent(path), set()).add(paths.parent(match.path))
    for path, options in ledger.options.items():
        own = modules.get(paths.parent(path), set())
        narrowed = {port: orders for port, orders in options.items() if paths.parent(port) in own}
        ledger.options[path] = narrowed or options
    _settle_the_only(ledger, modules)


def settle_by_value(ledger: Ledger, reference: Mapping[str, np.ndarray], port: Mapping[str, np.ndarray]) -> None:
    """Settle what has the values of one of its options and not of the others."""
    for path, options in list(ledger.options.items()):
        equal: dict[str, list[Order]] = {}
        for other, orders in options.items():
            fitting = [order for order in orders if _equal(reference[path], port[other], order)]
            if fitting:
                equal[other] = fitting
        if len(equal) == 1 and len(options) > 1:
            ((other, fitting),) = equal.items()
            rivals = [each for each in ledger.takers(other) if each != path]
            if not any(_equal(reference[each], port[other], ledger.options[each][other][0]) for each in rivals):
                ledger.options[path] = {other: fitting}
                ledger.settle(path, other, "value")


def settle_by_name(ledger: Ledger) -> None:
    """Settle the rest by the closest names, the closest of all first.

    Of two that are equally close none is taken, unless their gradients say that either will do.
    """
    close = [(-similarity(path, port), path, port) for path, options in ledger.options.items() for port in options]
    for negative, path, port in sorted(close, key=lambda each: each[0]):
        if port not in ledger.options.get(path, {}):
            continue
        rivals = {(path, other) for other in ledger.options[path] if other != port}
        rivals |= {(other, port) for other in ledger.takers(port) if other != path}
        if path in ledger.alike or all(similarity(*rival) < -negative for rival in rivals):
            ledger.settle(path, port, "name")


@lru_cache(maxsize=65536)
def similarity(one: str, other: str) -> float:
    """How alike two paths are: by their words and numbers first, then by their letters."""
    words = SequenceMatcher(None, _words(one), _words(other), autojunk=False).ratio()
    return words + 0.5 * SequenceMatcher(None, one.lower(), other.lower(), autojunk=False).ratio()


def _words(path: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", path.lower())


def _settle_the_only(ledger: Ledger, modules: Mapping[str, set[str]]) -> None:
    """Settle, by its siblings, what has one option that is no other's only one."""
    changed = True
    while changed:
        changed = False
        for path, options in list(ledger.options.items()):
            if len(options) == 1 and paths.parent(path) in modules:
                (port,) = options
                if all(other == path or len(ledger.options[other]) > 1 for other in ledger.takers(port)):
                    changed |= ledger.settle(path, port, "sibling")


def _equal(reference: np.ndarray, port: np.ndarray, order: Order) -> bool:
    return bool(np.array_equal(reordered(reference, order, port.shape), port))
