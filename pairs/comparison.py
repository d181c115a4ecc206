"""A pair on one device at one precision: both sides run at the same values, each run made once and kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..common.errors import NotExpressibleError
from ..common.wing import PairError, Probe
from .closeness import largest_gradient, relative_error
from .maps import Map, MapRow, copies, crossing_note, factors_by_name, siblings, transform_of
from .precision import Setting
from .side import Side, Weights
from .values import FAINT, LESS_FAINT, distinct, nudged, outer_points
from .weight_norms import told_norms

# Of two values that round to one, a nudge has one chance in two to tell them apart; where a program rounds twice on the
# way, as a product and then its sum with a bias, fewer.
_NUDGES, _TWICE = 8, 24
# Runs in which each operation rounds otherwise.
_REROUNDED = 6


class Point(NamedTuple):
    """Values at which both sides are run, the port's being what the map makes of the reference's."""

    name: str
    ours: Weights
    theirs: Weights


@dataclass(frozen=True, eq=False)
class Bound:
    """Both sides of a pair and the map between them, with the values at which they are compared.

    unproved: why the map is not proved, where it is not: the error of the alignment.
    seed: of everything random that a check makes: another one gives other values.
    """

    reference: Side
    port: Side
    map: Map
    unproved: str = ""
    seed: int = 0
    _comparisons: dict[Setting, Comparison] = field(default_factory=dict, init=False, repr=False)

    def comparison(self, setting: Setting) -> Comparison:
        """Both sides at one setting, always the same one, so that each run is made once."""
        return self._comparisons.setdefault(setting, Comparison(self, setting))

    @property
    def depth(self) -> int:
        """How many tensors an error can add up over."""
        return max(len(self.reference.tensors), 1)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was said so far of how the sides are run, and what of the map a reader should look at."""
        runs = [f"the {side.role}: {text}" for side in (self.reference, self.port) for text in side.notes]
        of_map = crossing_note(self.map), _factor_note(self.map), self._unreached_note
        norms = map(told_norms, (self.reference, self.port))
        return tuple(note for note in (*runs, *norms, *of_map) if note)

    @property
    def _unreached_note(self) -> str:
        """What no run has used a number of, on either side; empty where nothing was run yet, or all is reached."""
        probes = next((vars(each)["probes"] for each in self._comparisons.values() if "probes" in vars(each)), None)
        if probes is None:
            return ""
        free = (row for row in self.rows if self.reference.is_free(row.reference) and self.port.is_free(row.port))
        ends = [((probes[0].gradients, row.reference), (probes[1].gradients, row.port)) for row in free]
        unreached = [one[1] for one, other in ends if not (_is_any(*one) or _is_any(*other))]
        if not unreached:
            return ""
        shown = ", ".join(unreached[:4]) + (f" and {len(unreached) - 4} more" * (len(unreached) > 4))
        return (
            f"the inputs do not reach {shown}: these have no gradient on either side, so that nothing is known of how "
            "the port uses them. Give inputs that reach them, or check a second pair"
        )

    @cached_property
    def rows(self) -> tuple[MapRow, ...]:
        """Those of the map whose tensors both sides have, in the shapes that the map knows."""
        return tuple(row for row in self.map.rows if self._has(row))

    def _has(self, row: MapRow) -> bool:
        ours, theirs = self.reference.stored_tensors.get(row.reference), self.port.stored_tensors.get(row.port)
        if ours is None or theirs is None:
            return False
        return (ours.array.shape, theirs.array.shape) == (tuple(row.shape), tuple(row.port_shape))

    @cached_property
    def is_whole(self) -> bool:
        """Whether every row of the map has its tensors, so that values can be carried."""
        return len(self.rows) == len(self.map.rows)

    @cached_property
    def partial(self) -> Bound:
        """The same without tensors that are not there as the map knows them, so that the others can be carried."""
        if self.is_whole:
            return self
        there = set(self.rows)
        there = {row for row in there if there.issuperset(self.map.by_reference[row.reference])}
        there = {row for row in there if there.issuperset(self.map.by_port[row.port])}
        return replace(self, map=Map(tuple(row for row in self.rows if row in there), self.map.direction))

    @cached_property
    def ours(self) -> Weights:
        """Values of their own for the reference's tensors."""
        return self._distinct(quiet=False)

    def _distinct(self, quiet: bool) -> Weights:
        tensors = self.reference.tensors
        filled = {path: native.array for path, native in tensors.items() if self._is_filled(path)}
        return self.alike({path: distinct(self._addressed(path), array, quiet) for path, array in filled.items()})

    def alike(self, weights: Weights) -> dict[str, np.ndarray]:
        """The reference's weights with what is one tensor of the port equal in all of its copies."""
        made = dict(weights)
        for first, *others in copies(self.map):
            if all(row.reference in made for row in (first, *others)):
                value = first.to_port(made[first.reference])
                for row in others:
                    made[row.reference] = np.array(made[row.reference])
                    row.reference_piece.of(made[row.reference])[...] = row.to_reference(value)
        return made

    def _addressed(self, path: str) -> str:
        return f"{path} at seed {self.seed}" if self.seed else path

    def _is_filled(self, path: str) -> bool:
        return path in self.map.by_reference or self.reference.is_free(path)

    @cached_property
    def theirs(self) -> Weights:
        """What the map makes of them, and values of their own for what it is not about."""
        return {**self._alone, **self.carried(self.ours)}

    def is_halted(self, row: MapRow) -> bool:
        """Whether training leaves its parameter alone on one of the sides: there it need not have a gradient."""
        return self.reference.is_frozen(row.reference) or self.port.is_frozen(row.port)

    def partners(self, side: Side, path: str) -> tuple[str, str]:
        """The reference's and the port's path of a tensor of one side, as far as the map knows."""
        row = next(iter((self.map.by_reference if side.role == "reference" else self.map.by_port).get(path, ())), None)
        return (row.reference, row.port) if row else side.paths_for(path)

    def modules(self, row: MapRow) -> str:
        """The modules that a row's tensors stand in, in both namings; empty where that is the model itself."""
        found = (self.reference.module(row.reference), self.port.module(row.port))
        return " = ".join(repr(path) if path else "the model itself" for path in found) if any(found) else ""

    @property
    def ordinary(self) -> Point:
        return Point("", self.ours, self.theirs)

    @property
    def quiet(self) -> Point:
        """All of it small: what is added to a variance shows where the variance is small."""
        return self.point("quiet values", self._distinct(quiet=True))

    @property
    def outer_points(self) -> Iterator[Point]:
        """Others, at which only outputs are compared; see `outer_points` of `pairs/values.py`."""
        yield from self._outer(FAINT)

    def less_faint(self, point: Point) -> Point | None:
        """In the place of an outer point at which rounding decides between what is faint; None for other points."""
        named = (each for each in self._outer(LESS_FAINT) if each.name == point.name and "faint" in point.name)
        return next((each._replace(name=f"less {each.name}") for each in named), None)

    def _outer(self, faint: float) -> Iterator[Point]:
        shifted = {row.reference for row in self.map.rows if transform_of(row.transform).shifts}
        for name, ours in outer_points(self.ours, shifted, self.reference.is_free, faint, self._directions):
            yield self.point(name, ours)

    @cached_property
    def _directions(self) -> frozenset[str]:
        """The reference's tensors that are the directions of weight norms of both sides, by the names of either."""
        ours, theirs = (
            {
                factors.direction
                for factors in factors_by_name({path: side.shape(path) for path in side.tensors}).values()
            }
            for side in (self.reference, self.port)
        )
        return frozenset(row.reference for row in self.map.rows if row.reference in ours or row.port in theirs)

    def fainter(self, path: str) -> np.float32:
        """The size of one of the reference's tensors that is to be faint; see `outer_points` of `pairs/values.py`."""
        return np.float32(LESS_FAINT if path in self._directions else FAINT)

    def point(self, name: str, ours: Weights) -> Point:
        """Values of the reference's with what the map makes of them, copies made equal."""
        ours = self.alike(ours)
        return Point(name, ours, {**self._alone, **self.carried(ours)})

    @cached_property
    def _alone(self) -> Weights:
        """Values for the port's parameters that the map is not about."""
        tensors = self.port.tensors
        return {
            path: distinct(self._addressed(f"port {path}"), native.array, False)
            for path, native in tensors.items()
            if path not in self.map.by_port and self.port.is_free(path)
        }

    def carried(self, weights: Weights) -> dict[str, np.ndarray]:
        """The port's arrays for values of the reference's, of copies the first's."""
        held = {path: array for path, array in weights.items() if path in self.map.by_reference}
        return self.map.arrays(self.alike(held))

    def gradients(self, row: MapRow, ours: Weights, theirs: Weights) -> tuple[np.ndarray, np.ndarray] | None:
        """A row's gradient on both sides, in the port's axes and by the reference's value; None for a buffer.

        That of one tensor is the sum of those of its copies on the other side.
        """
        by_reference, by_port = siblings(self.map, row)
        has_all = all(each.reference in ours for each in by_port) and all(each.port in theirs for each in by_reference)
        if not has_all:
            return None
        shares = [_sloped(each, theirs[each.port]) for each in by_reference]
        if len(shares) > 1:
            shares = [_turned(row, each, share) for each, share in zip(by_reference, shares, strict=True)]
        return self.own_gradient(row, ours), sum(shares[1:], shares[0])

    def own_gradient(self, row: MapRow, ours: Weights) -> np.ndarray:
        """The reference's gradient of a row in the port's axes, of copies the sum."""
        first, *others = (fine(each.laid_out(ours[each.reference])) for each in siblings(self.map, row)[1])
        return sum(others, first)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A bound pair at one setting."""

    bound: Bound
    setting: Setting
    _outputs: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def reference(self) -> Side:
        return self.bound.reference

    @property
    def port(self) -> Side:
        return self.bound.port

    @property
    def map(self) -> Map:
        return self.bound.map

    @property
    def limit(self) -> float:
        return self.setting.allowed(self.bound.depth)

    @property
    def policy(self) -> str:
        return self.setting.policy(self.bound.depth)

    @cached_property
    def probes(self) -> tuple[Probe, Probe]:
        """Outputs and gradients of both sides at the ordinary values.

        Raises:
            PairError: a side does not take the inputs, or the outputs are not of one structure.
        """
        return self.probes_at(self.bound.ordinary)

    def probes_at(self, point: Point) -> tuple[Probe, Probe]:
        """The same at other values; not kept, since a gradient is as large as the model.

        Raises:
            PairError: as `probes`.
        """
        ours = self.reference.probe(point.ours, self.setting)
        theirs = self.port.probe(point.theirs, self.setting)
        check_outputs(ours.outputs, theirs.outputs)
        return ours, theirs

    def outputs_at(self, point: Point) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The outputs of both sides alone, kept by the point's name."""
        if point.name not in self._outputs:
            ours = self.reference.outputs(point.ours, self.setting)
            self._outputs[point.name] = ours, self.port.outputs(point.theirs, self.setting)
        return self._outputs[point.name]

    @cached_property
    def largest(self) -> tuple[float, float]:
        """The largest root mean square of a gradient on either side: beside it one that is only rounding is seen."""
        return largest_gradient(self.probes[0].gradients), largest_gradient(self.probes[1].gradients)

    @cached_property
    def has_gradients(self) -> bool:
        """Whether any parameter of the map has a gradient on either side; where none has, nothing is compared."""
        ours, theirs = (probe.gradients for probe in self.probes)
        return any(_is_any(ours, row.reference) or _is_any(theirs, row.port) for row in self.bound.rows)

    @cached_property
    def rounding(self) -> Rounding:
        """What rounding does to the reference at the ordinary values."""
        return Rounding(self.reference, self.bound.ours, self.setting)

    def rounding_at(self, point: Point, *, gradients: bool = False) -> Rounding:
        """The same at other values."""
        return Rounding(self.reference, point.ours, self.setting, gradients)

    def shaken_at(self, point: Point) -> dict[str, float]:
        """How far rounding alone moves each output at a point: of the reference, or of the port of a record."""
        sides = (self.reference, point.ours), (self.port, point.theirs)
        found = next((each for side, of in sides if (each := Rounding(side, of, self.setting).shaken)), [])
        return dict(zip(self.outputs_at(point)[0], found, strict=False))


@dataclass(frozen=True, eq=False)
class Rounding:
    """What rounding does to a side at some values, each run made when it is asked for."""

    side: Side
    weights: Weights
    setting: Setting
    gradients: bool = True

    @cached_property
    def exact(self) -> Probe | None:
        """The run in float64 on this device; None where the program has none."""
        return self._run(self.weights, replace(self.setting, precision="float64"))

    @cached_property
    def nudged(self) -> tuple[Probe, ...]:
        """Runs with each weight up or down by as much as one rounding may move it, or two; none of a record."""
        of, eps = self.weights, self.setting.eps
        sizes = [eps] * _NUDGES + [2 * eps] * _TWICE
        runs = (self._run(nudged(of, of.__contains__, size, n), self.setting) for n, size in enumerate(sizes))
        return tuple(run for run in runs if run is not None)

    @cached_property
    def shaken(self) -> list[float]:
        """How far apart each output is, in their order, after runs whose operations round otherwise; empty of a record.

        More than rounding adds up to is a choice that rounding decides: the best of several that are equal but for it.
        """
        runs = [self._run(self.weights, self.setting, rounded=draw) for draw in range(1, _REROUNDED + 1)]
        outputs = [[*run.outputs.values()] for run in runs if run is not None]
        return [max(relative_error(other, first) for other in others) for first, *others in zip(*outputs, strict=True)]

    def _run(self, weights: Weights, setting: Setting, *, rounded: int = 0) -> Probe | None:
        try:
            return self.side.probe(weights, setting, gradients=self.gradients and not rounded, rounded=rounded)
        except (PairError, NotExpressibleError):
            # Some programs have parts that are float32 whatever they are given, and a record has its own runs alone.
            return None


def output_errors(ours: Probe, theirs: Probe) -> list[float]:
    """How far each output of the port is from the reference's."""
    pairs = zip(ours.outputs.values(), theirs.outputs.values(), strict=True)
    return [relative_error(fine(two), fine(one)) for one, two in pairs]


def fine(array: np.ndarray) -> np.ndarray:
    """At least in float32, in which NumPy computes; what is so already is not copied."""
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _is_any(gradients: Mapping[str, np.ndarray], path: str) -> bool:
    return path in gradients and bool(gradients[path].any())


def _factor_note(made: Map) -> str:
    """That the port holds a multiple of what the reference holds; empty where it does not."""
    held = [row for row in made.rows if row.slope != 1]
    if not held:
        return ""
    first, more = held[0], f" (and {len(held) - 1} more rows)" * (len(held) > 1)
    return (
        f"the port holds {first.transform} of {first.reference} in {first.port}{more}: a factor is in the weights that "
        "the other side has in its program. If that was not meant, mend the program and align again"
    )


def _turned(row: MapRow, other: MapRow, piece: np.ndarray) -> np.ndarray:
    """The port's piece of another row of the same reference, in the axes of this row's."""
    whole = np.zeros(row.shape, piece.dtype)
    other.reference_piece.of(whole)[...] = other.laid_back(piece)
    return row.laid_out(whole)


def _sloped(row: MapRow, gradient: np.ndarray) -> np.ndarray:
    """The port's gradient of a row, by the reference's value."""
    share = fine(row.port_piece.of(gradient))
    return share if row.slope == 1.0 else share * np.asarray(row.slope, share.dtype)


def check_outputs(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    """Raises PairError unless both have outputs, and equally many, each of one shape."""
    if not ours or not theirs:
        role = "port" if ours else "reference"
        raise PairError(role, "an output of floating-point numbers", "none", "Let the call return what is to agree.")
    if len(ours) != len(theirs):
        raise PairError(
            "outputs",
            f"the {len(ours)} of the reference ({', '.join(map(repr, ours))})",
            f"{len(theirs)} in the port ({', '.join(map(repr, theirs))})",
            "Give the pair calls that return the same.",
        )
    if set(ours) == set(theirs) and list(ours) != list(theirs):
        raise PairError(
            "outputs",
            f"the order of the reference ({', '.join(map(repr, ours))})",
            ", ".join(map(repr, theirs)),
            "Give the pair calls that return them in one order.",
        )
