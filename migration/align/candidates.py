"""The candidates of an alignment under way: which parts of which tensors are assigned, and what the others may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...common import paths
from ...common.layers import KINDS
from ...pairs.maps import Evidence
from ...pairs.side import Side
from .axis_groupings import Part, Partition, Tensor
from .fingerprints import Order
from .points import Hypothesis, SymmetricPoint
from .usual_layouts import UsualLayouts

# For each open part of the reference the port's that it may be, each with the orders that its axes may have.
Options = dict[str, dict[str, list[Order]]]


@dataclass(frozen=True)
class Match:
    """A part's partner, the order of its axes longer than 1, and what assigned it.

    names: the last names of both tensors.
    """

    key: str
    order: Order
    evidence: Evidence
    names: tuple[str, str]


@dataclass
class Candidates:
    """What is assigned, and the options of what is open.

    parts: by side and key, of all partitions.
    partitions: by side and path, those that a tensor may still consist of.
    matches: by the reference's key.
    sides: the reference and the port.
    alike: the open keys that have options of equal gradients, such as the biases of two branches that are added.
    copied: the reference's keys that share their partner, or have several: by key all of them.
    """

    parts: tuple[dict[str, Part], dict[str, Part]]
    partitions: tuple[dict[str, list[Partition]], dict[str, list[Partition]]]
    sides: tuple[Side, Side]
    matches: dict[str, Match] = field(default_factory=dict)
    options: Options = field(default_factory=dict)
    alike: set[str] = field(default_factory=set)
    taken: dict[str, str] = field(default_factory=dict)
    copied: dict[str, list[Match]] = field(default_factory=dict)
    _takers: dict[str, list[str]] = field(default_factory=dict)
    _orders: dict[tuple[str, str], dict[Order, list[tuple[str, str]]]] = field(default_factory=dict)
    _layouts: UsualLayouts = field(init=False)
    _homes: tuple[dict[str, set[int]], dict[str, set[int]]] = field(init=False)
    _left: tuple[dict[str, list[int]], dict[str, list[int]]] = field(init=False)

    def __post_init__(self) -> None:
        self._layouts = UsualLayouts(*self.sides)
        # By side: the partitions of its tensor that a part is in, and those that are left, by their first numbers. A
        # tensor may have thousands of parts, and each of them is asked about.
        self._homes = _homes(self.partitions[0]), _homes(self.partitions[1])
        self._left = tuple({path: [*range(len(each))] for path, each in by.items()} for by in self.partitions)  # type: ignore[assignment]

    def offer(self, key: str, port: str, orders: Iterable[Order]) -> None:
        """Note that an open part may be this one of the port, in these orders too."""
        self.options.setdefault(key, {}).setdefault(port, []).extend(orders)
        self._takers.setdefault(port, []).append(key)

    def module(self, side: int, key: str) -> str:
        return self.parts[side][key].module

    def path(self, side: int, key: str) -> str:
        return self.parts[side][key].path

    def is_free(self, side: int, key: str) -> bool:
        """Whether it is of a parameter that training moves."""
        return self.sides[side].is_free(self.path(side, key))

    def is_alive(self, side: int, key: str) -> bool:
        """Whether its tensor may still consist of parts of which it is one."""
        return not self._homes[side][key].isdisjoint(self._left[side][self.parts[side][key].path])

    def is_open(self, key: str, port: str) -> bool:
        """Whether two parts may still be partners."""
        free = key not in self.matches and port not in self.taken
        return free and self.is_alive(0, key) and self.is_alive(1, port)

    def open_parts(self, side: int) -> Iterator[Part]:
        """The parts without a partner, of every partition that is left."""
        done = self.taken if side else self.matches
        for partitions in self.partitions[side].values():
            for partition in partitions:
                yield from (part for part in partition if part.key not in done)

    def keep(self, key: str, port: str) -> None:
        """Strike a part of the port from the options of all open parts but one."""
        for other in self.takers(port):
            if other != key:
                del self.options[other][port]

    def assign(self, key: str, port: str, evidence: Evidence, *, by_layout: bool = False) -> bool:
        """Note a partner, if the order of its axes is known too, and strike it from all other options.

        by_layout: whether the kind of its layer may tell the order.
        """
        possible = self.options[key][port]
        order = possible[0] if len(possible) == 1 else self.usual_order(key, port, possible)
        if order is None and by_layout:
            order, evidence = self.layout(key, port, possible), "rule" if evidence == "rule" else "layout"
        return order is not None and self.match(key, port, order, evidence)

    def usual_order(self, key: str, port: str, possible: Sequence[Order]) -> Order | None:
        """The one order that all assigned parts of tensors of these two last names have, in layers of their kinds."""
        ours, theirs = self.parts[0][key], self.parts[1][port]
        held = self._orders.get((paths.leaf(ours.path), paths.leaf(theirs.path)), {})
        usual = [order for order in possible if order in held]
        if not usual:
            return None
        kinds = self._layouts.kinds(ours, theirs)
        of_kind = [order for order in usual if any(kinds == self._kinds(*each) for each in held[order])]
        if not of_kind and not self.is_in_known_layer(key, port):
            of_kind = usual
        return of_kind[0] if len(of_kind) == 1 else None

    def _kinds(self, key: str, port: str) -> tuple[str, str]:
        return self._layouts.kinds(self.parts[0][key], self.parts[1][port])

    def is_in_known_layer(self, key: str, port: str) -> bool:
        """Whether one of two parts is in a layer of which it is known how it stores its tensors."""
        return any(kind in KINDS for kind in self._kinds(key, port))

    def layout(self, key: str, port: str, possible: Sequence[Order]) -> Order | None:
        """The order of axes that the kind of their layers has, where nothing measured tells it."""
        return self._layouts.order(self.parts[0][key], self.parts[1][port], possible)

    def match(self, key: str, port: str, order: Order, evidence: Evidence) -> bool:
        """Note a partner. False where one of the two tensors is known to consist of other parts."""
        if not self.is_open(key, port):
            return False
        names = paths.leaf(self.parts[0][key].path), paths.leaf(self.parts[1][port].path)
        self.matches[key] = Match(port, order, evidence, names)
        self.taken[port] = key
        self._orders.setdefault(names, {}).setdefault(order, []).append((key, port))
        self.options.pop(key, None)
        for other in self._takers.pop(port, ()):
            self.options.get(other, {}).pop(port, None)
        for side, each in ((0, key), (1, port)):
            self._narrow(side, each)
        return True

    def copy(self, key: str, port: str, order: Order) -> None:
        """Note one of several partners: of a part of the reference, or of one of the port."""
        names = paths.leaf(self.parts[0][key].path), paths.leaf(self.parts[1][port].path)
        made = Match(port, order, "fingerprint", names)
        self.copied.setdefault(key, []).append(made)
        self.matches.setdefault(key, made)
        self.taken.setdefault(port, key)
        self.options.pop(key, None)
        for other in self._takers.pop(port, ()):
            self.options.get(other, {}).pop(port, None)
        for side, each in ((0, key), (1, port)):
            self._narrow(side, each)

    def _narrow(self, side: int, key: str) -> None:
        """Leave the partitions of its tensor that have a part."""
        path = self.parts[side][key].path
        numbers, homes = self._left[side][path], self._homes[side][key]
        if not homes.issuperset(numbers):
            partitions = zip(numbers, self.partitions[side][path], strict=True)
            self.partitions[side][path] = [partition for number, partition in partitions if number in homes]
            self._left[side][path] = [number for number in numbers if number in homes]

    def takers(self, port: str) -> list[str]:
        """The open keys that may be this one."""
        return [key for key in dict.fromkeys(self._takers.get(port, ())) if port in self.options.get(key, {})]

    def is_whole(self, side: int, path: str) -> bool:
        """Whether every part of a tensor has its partner."""
        done = self.taken if side else self.matches
        return any(all(part.key in done for part in partition) for partition in self.partitions[side][path])


def opened(point: SymmetricPoint, reference: Side, port: Side) -> Candidates:
    """The candidates at its beginning: every tensor in all the partitions that the hypothesis gives it."""
    partitions = tuple(
        {path: _partitions(point.hypothesis, side, path) for path in side.tensors} for side in (reference, port)
    )
    parts = tuple(
        {part.key: part for each in by.values() for partition in each for part in partition} for by in partitions
    )
    return Candidates((parts[0], parts[1]), (partitions[0], partitions[1]), (reference, port))


def _homes(partitions: Mapping[str, list[Partition]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for each in partitions.values():
        for number, partition in enumerate(each):
            for part in partition:
                found.setdefault(part.key, set()).add(number)
    return found


def _partitions(hypothesis: Hypothesis, side: Side, path: str) -> list[Partition]:
    """Parts that only add to another tensor's part have no partner of their own; one may not do so by halves."""
    made = hypothesis.structure.partitions(side.number, Tensor(path, side.module(path), side.shape(path)))
    addend = hypothesis.additive[side.number].get(path)
    if addend is None:
        return made
    kept = []
    for partition in made:
        shares = [part.of(addend.mask) for part in partition]
        if all(share.all() or not share.any() for share in shares):
            kept.append(tuple(part for part, share in zip(partition, shares, strict=True) if not share.all()))
    return kept
