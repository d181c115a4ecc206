"""Maps: which parameter of a reference is which of its port, and with which axes.

A map works on neutral weights, as a wing's `weights` gives and its `load` takes them: by path, in the layout of the
model's table, a tied parameter once, under its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import ParitreeError, WeightsError
from .layouts import Layout
from .tables import counted, shape_text

# What settled a row, strongest first. `fingerprint`: equal gradients at the symmetric point. `sibling`: the module
# that matched parameters name. `value`: equal values. `name`: the closest names of what was left. `rule`: a person.
Evidence = Literal["fingerprint", "sibling", "value", "name", "rule"]
EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)


class MapError(ParitreeError, ValueError):
    """A map that does not hold together, or a file that is none."""


@dataclass(frozen=True)
class MapRow:
    """One parameter or buffer under its two paths, which are owners' paths.

    shape: the reference's.
    layout: an einops pattern from the reference's axes to the port's; an axis of length 1 is written `1`.
    reference_aliases, port_aliases: the other paths of the tie group on either side.
    """

    reference: str
    port: str
    shape: tuple[int, ...]
    layout: str
    evidence: Evidence
    reference_aliases: tuple[str, ...] = ()
    port_aliases: tuple[str, ...] = ()

    @property
    def port_shape(self) -> tuple[int, ...]:
        return Layout(self.layout).native_shape(self.shape)

    def to_port(self, array: Any) -> Any:
        """The reference's array with the port's axes: a view of it where the axes only change places."""
        return Layout(self.layout).to_native(array)

    def inverse(self) -> MapRow:
        return MapRow(
            self.port,
            self.reference,
            self.port_shape,
            Layout(self.layout).inverse.pattern,
            self.evidence,
            self.port_aliases,
            self.reference_aliases,
        )

    def then(self, other: MapRow) -> MapRow:
        """This row followed by one that starts where it ends; the evidence is the weaker of the two."""
        return MapRow(
            self.reference,
            other.port,
            self.shape,
            composed(self.layout, other.layout),
            max((self.evidence, other.evidence), key=EVIDENCE.index),
            self.reference_aliases,
            other.port_aliases,
        )


@dataclass(frozen=True)
class Map:
    """The correspondence between the two sides of a pair.

    direction: what the two sides are, such as `("torch", "linen")`.
    unmatched_reference, unmatched_port: owners' paths without a row.
    aside_reference, aside_port: owners that no map is about, buffers of whole numbers and those that are not saved with
        the model: counters and constants, which each side has of its own.
    verified: whether distinct values, carried across by the rows, gave equal outputs and gradients.

    Raises:
        MapError: a path twice.
    """

    rows: tuple[MapRow, ...]
    direction: tuple[str, str]
    unmatched_reference: tuple[str, ...] = ()
    unmatched_port: tuple[str, ...] = ()
    aside_reference: tuple[str, ...] = ()
    aside_port: tuple[str, ...] = ()
    verified: bool = False
    _by_reference: Mapping[str, MapRow] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        _check_once(
            "reference", [*(row.reference for row in self.rows), *self.unmatched_reference, *self.aside_reference]
        )
        _check_once("port", [*(row.port for row in self.rows), *self.unmatched_port, *self.aside_port])
        object.__setattr__(self, "_by_reference", {row.reference: row for row in self.rows})

    @property
    def coverage(self) -> float:
        """The share of both sides' owners that have a row; 1.0 where there are none."""
        matched = 2 * len(self.rows)
        total = matched + len(self.unmatched_reference) + len(self.unmatched_port)
        return matched / total if total else 1.0

    def carry(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """The reference's weights as the port's, by the port's paths: neutral arrays of any framework or type.

        Each is a view of the given one where the axes only change places. What is unmatched or aside may be given and
        is left out. So `wing.load(port, {**wing.weights(port), **carried})` is the port with the reference's weights.

        Raises:
            WeightsError: one message for all missing, extra and misshapen entries.
        """
        self._check(weights)
        return {row.port: row.to_port(weights[row.reference]) for row in self.rows}

    def _check(self, weights: Mapping[str, Any]) -> None:
        if not isinstance(weights, Mapping):
            raise WeightsError("", "a mapping from paths to arrays", type(weights).__name__)
        faults = [f"{row.reference} is missing" for row in self.rows if row.reference not in weights]
        faults += [fault for path, array in weights.items() if (fault := self._fault(path, array))]
        if faults:
            raise WeightsError(
                "",
                f"one array for each of {counted(len(self.rows), 'row')} of the map",
                f"{len(faults)} that {'does' if len(faults) == 1 else 'do'} not fit: " + "; ".join(faults),
                "Nothing was carried.",
            )

    def _fault(self, path: str, array: Any) -> str:
        row = self._by_reference.get(path)
        if row is None and path in (*self.unmatched_reference, *self.aside_reference):
            return ""
        if row is None:
            owners = [each.reference for each in self.rows if path in each.reference_aliases]
            return f"{path} is an alias of {owners[0]}" if owners else f"{path} is not in the map"
        if not hasattr(array, "shape"):
            return f"{path} is no array but {type(array).__name__}"
        if tuple(array.shape) != row.shape:
            return f"{path} has shape {tuple(array.shape)} and needs {shape_text(row.shape)}"
        return ""

    def inverse(self) -> Map:
        """The way back."""
        return Map(
            tuple(row.inverse() for row in self.rows),
            (self.direction[1], self.direction[0]),
            self.unmatched_port,
            self.unmatched_reference,
            self.aside_port,
            self.aside_reference,
            self.verified,
        )

    def compose(self, other: Map) -> Map:
        """This map followed by `other`: torch to Linen with Linen to NNX is torch to NNX.

        What one of the two has no row for, the result has none for. It is verified if both are.

        Raises:
            MapError: `other` starts from another model: one message for all its paths and shapes that differ.
        """
        self._check_meets(other)
        through = {row.reference: row for row in other.rows}
        rows = tuple(row.then(through[row.port]) for row in self.rows if row.port in through)
        references, ports = {row.reference for row in rows}, {row.port for row in rows}
        return Map(
            rows,
            (self.direction[0], other.direction[1]),
            _without((row.reference for row in self.rows), self.unmatched_reference, references),
            _without((row.port for row in other.rows), other.unmatched_port, ports),
            self.aside_reference,
            other.aside_port,
            self.verified and other.verified,
        )

    def _check_meets(self, other: Map) -> None:
        ends: dict[str, Any] = {row.port: row.port_shape for row in self.rows}
        starts: dict[str, Any] = {row.reference: row.shape for row in other.rows}
        known_ends, known_starts = {*ends, *self.unmatched_port}, {*starts, *other.unmatched_reference}
        faults = [f"{path} is only where the first ends" for path in ends if path not in known_starts]
        faults += [f"{path} is only where the second starts" for path in starts if path not in known_ends]
        faults += [
            f"{path} has shape {shape_text(ends[path])} and then {shape_text(starts[path])}"
            for path in ends
            if path in starts and ends[path] != starts[path]
        ]
        if faults:
            raise MapError(
                "",
                "a map that starts where this one ends",
                f"{counted(len(faults), 'difference')}: " + "; ".join(faults),
                "Compose maps whose middle is one model.",
            )

    def save(self, file: str | Path) -> None:
        """Write the map as JSON, one row a line. The file appears whole or not at all; one that is there is replaced.

        Raises:
            OSError: the file cannot be written.
        """
        from .mapfiles import save

        save(self, Path(file))

    @staticmethod
    def load(file: str | Path) -> Map:
        """Read a map. One whose rows were edited since it was verified is verified no more.

        Raises:
            MapError: the file is not there, is no map, is one of another version, or does not hold together.
        """
        from .mapfiles import load

        return load(Path(file))


def permuting(shape: Iterable[int], order: Iterable[int], port_shape: Iterable[int]) -> str:
    """The pattern that gives an array of `shape` the axes of `port_shape`.

    order: of the axes longer than 1, counted without those of length 1.
    """
    names: Callable[[int], str] = lambda number: chr(ord("a") + number) if number < 26 else f"a{number}"  # noqa: E731
    long = [names(number) for number in range(sum(length != 1 for length in shape))]
    left, right = iter(long), iter([long[axis] for axis in order])
    sides = (
        " ".join("1" if length == 1 else next(side) for length in lengths)
        for side, lengths in ((left, shape), (right, port_shape))
    )
    return " -> ".join(sides)


def composed(first: str, second: str) -> str:
    """Two patterns that permute axes as one.

    Raises:
        MapError: a pattern that splits or merges axes, or that starts with other axes than the first ends with.
    """
    (left, middle), (start, end) = (_axes(pattern) for pattern in (first, second))
    if len(middle) != len(start):
        raise MapError(
            "", f"a pattern that starts with the axes '{' '.join(middle)}'", repr(second), "Compose rows of one array."
        )
    renamed = dict(zip(start, middle, strict=True))
    # What one of the two calls an axis of length 1 is one, whatever the other calls it.
    ones = {name for name, other in zip(middle, start, strict=True) if other == "1"}
    renamed["1"] = "1"
    sides = ([renamed[name] for name in end], left)
    right, left = (["1" if name in ones else name for name in side] for side in sides)
    return f"{' '.join(left)} -> {' '.join(right)}"


def _axes(pattern: str) -> tuple[list[str], list[str]]:
    left, _, right = pattern.partition("->")
    if "(" in pattern or "." in pattern:
        raise MapError("", "a pattern that only permutes axes", repr(pattern), "Align the two outer models directly.")
    return left.split(), right.split()


def _check_once(side: str, found: list[str]) -> None:
    twice = sorted({path for path in found if found.count(path) > 1}) if len(set(found)) < len(found) else []
    if twice:
        raise MapError(twice[0], f"every path of the {side} once", "it twice", "Drop one of the two rows.")


def _without(matched: Iterable[str], unmatched: Iterable[str], now: set[str]) -> tuple[str, ...]:
    return tuple(path for path in (*matched, *unmatched) if path not in now)
