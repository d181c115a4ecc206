"""What the fingerprints leave open: tensors whose gradient is zero, and those that have more than one equal.

Weaker evidence assigns them, in this order: a person's rules, the module that matched siblings name, equal values, the
outputs (see `effects`), the closest names, for the order of equal axes the usual layout of the layer (see
`usual_layouts`). Each step only narrows what the one before has left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import chain

import numpy as np

from .candidates import Candidates, Options
from .fingerprints import Order, reordered

Values = Mapping[str, np.ndarray]
# What it weighs beside names, which count up to 1.5, that training moves both tensors or neither.
TRAINED = 0.5


def assign_by_module(candidates: Candidates) -> None:
    """Narrow the options to the modules in which a tensor's matched siblings are, and assign what has one left.

    What is an option of such a tensor is none of one without matched siblings.
    """
    modules: dict[str, set[str]] = {}
    for key, match in candidates.matches.items():
        modules.setdefault(candidates.module(0, key), set()).add(candidates.module(1, match.key))
    claimed: set[str] = set()
    for key, options in candidates.options.items():
        own = modules.get(candidates.module(0, key), set())
        narrowed = {port: orders for port, orders in options.items() if candidates.module(1, port) in own}
        candidates.options[key] = narrowed or options
        claimed |= narrowed.keys()
    for key, options in candidates.options.items():
        if candidates.module(0, key) not in modules:
            candidates.options[key] = {port: orders for port, orders in options.items() if port not in claimed}
    _assign_the_only(candidates, modules)


def assign_by_value(candidates: Candidates, reference: Values, port: Values) -> None:
    """Assign what has the values of one of its options and not of the others, and in one order of its axes."""

    def equal(key: str, other: str, order: Order) -> bool:
        ours, theirs = (candidates.parts[side][name] for side, name in ((0, key), (1, other)))
        own = ours.of(reference[ours.path])
        return bool(np.array_equal(reordered(own, order, theirs.shape), theirs.of(port[theirs.path])))

    for key, options in list(candidates.options.items()):
        if sum(map(len, options.values())) < 2:
            continue
        fitting: Options = {}
        for other, orders in options.items():
            held = [order for order in orders if equal(key, other, order)]
            if held:
                fitting.setdefault(key, {})[other] = held
        if len(fitting.get(key, {})) == 1:
            ((other, held),) = fitting[key].items()
            if len(options) == 1 and len(held) == len(options[other]):
                continue
            rivals = [each for each in candidates.takers(other) if each != key]
            if not any(equal(each, other, candidates.options[each][other][0]) for each in rivals):
                candidates.options[key] = {other: held}
                candidates.assign(key, other, "value")


def assign_by_name(candidates: Candidates) -> None:
    """Assign the rest by the closest names, the closest of all first, and what is trained rather to what is.

    Of two that are equally close none is taken, unless their gradients say that either will do.
    """
    likeness = {(key, port): alike(candidates, key, port) for key, each in candidates.options.items() for port in each}
    for (key, port), own in sorted(likeness.items(), key=lambda each: -each[1]):
        if port not in candidates.options.get(key, {}):
            continue
        rivals = chain(
            ((key, other) for other in candidates.options[key]), ((other, port) for other in candidates.takers(port))
        )
        if key in candidates.alike or all(likeness[rival] < own for rival in rivals if rival != (key, port)):
            candidates.assign(key, port, "name", by_layout=True)


def alike(candidates: Candidates, key: str, port: str) -> float:
    """How alike the paths of two parts are, and more if training moves both or neither."""
    return similarity(key, port) + TRAINED * (candidates.is_free(0, key) == candidates.is_free(1, port))


@lru_cache(maxsize=65536)
def similarity(one: str, other: str) -> float:
    """How alike two paths are: by their words and numbers first, then by their letters."""
    words = SequenceMatcher(None, _words(one), _words(other), autojunk=False).ratio()
    return words + 0.5 * SequenceMatcher(None, one.lower(), other.lower(), autojunk=False).ratio()


def _words(path: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", path.lower())


def _assign_the_only(candidates: Candidates, modules: Mapping[str, set[str]]) -> None:
    """Assign, by its siblings, what has one option that is no other's only one."""
    changed = True
    while changed:
        changed = False
        for key, options in list(candidates.options.items()):
            if len(options) == 1 and candidates.module(0, key) in modules:
                (port,) = options
                if all(other == key or len(candidates.options[other]) > 1 for other in candidates.takers(port)):
                    changed |= candidates.assign(key, port, "sibling")
