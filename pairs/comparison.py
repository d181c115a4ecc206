"""A pair on one device at one precision: both sides run at the same values, each run made once and kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..common.errors import NotExpressibleError
from ..common.seeding import generator
from ..common.wing import PairError, Probe
from .closeness import largest_gradient
from .maps import Map, MapRow, transform_of
from .precision import Setting
from .side import Side, Weights
from .values import distinct, outer_points

# Of two values that round to one, each nudge has one chance in two to tell them apart.
_NUDGES = 8


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
    def ours(self) -> Weights:
        """Values of their own for the reference's tensors."""
        return self._distinct(quiet=False)

    def _distinct(self, quiet: bool) -> Weights:
        tensors = self.reference.tensors
        filled = {path: native.array for path, native in tensors.items() if self._is_filled(path)}
        return {path: distinct(self._addressed(path), array, quiet) for path, array in filled.items()}

    def _addressed(self, path: str) -> str:
        return f"{path} at seed {self.seed}" if self.seed else path

    def _is_filled(self, path: str) -> bool:
        return path in self.map.by_reference or self.reference.is_free(path)

    @cached_property
    def theirs(self) -> Weights:
        """What the map makes of them, and values of their own for what it is not about."""
        return {**self._alone, **self.carried(self.ours)}

    def partners(self, side: Side, path: str) -> tuple[str, str]:
        """The reference's and the port's path of a tensor of one side, as far as the map knows."""
        row = next(iter((self.map.by_reference if side.role == "reference" else self.map.by_port).get(path, ())), None)
        return (row.reference, row.port) if row else side.paths_for(path)

    def modules(self, row: MapRow) -> str:
        """The modules that a row's tensors stand in, in both namings."""
        return f"{self.reference.module(row.reference)!r} = {self.port.module(row.port)!r}"

    @property
    def ordinary(self) -> Point:
        return Point("", self.ours, self.theirs)

    @property
    def quiet(self) -> Point:
        """All of it small: what is added to a variance shows where the variance is small."""
        return self._point("quiet values", self._distinct(quiet=True))

    @property
    def outer_points(self) -> Iterator[Point]:
        """Others, at which only outputs are compared; see `outer_points` of `pairs/values.py`."""
        shifted = {row.reference for row in self.map.rows if transform_of(row.transform).shifts}
        for name, ours in outer_points(self.ours, shifted, self.reference.is_free):
            yield self._point(name, ours)

    def _point(self, name: str, ours: Weights) -> Point:
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
        """The port's arrays for values of the reference's."""
        return self.map.arrays({path: array for path, array in weights.items() if path in self.map.by_reference})


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
    def rounding(self) -> Rounding:
        """What rounding does to the reference at the ordinary values."""
        return Rounding(self.reference, self.bound.ours, self.setting)

    def rounding_at(self, point: Point, *, gradients: bool = False) -> Rounding:
        """The same at other values."""
        return Rounding(self.reference, point.ours, self.setting, gradients)


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
        """Runs with each weight up or down by as much as rounding it may move it; none of a record."""
        runs = (self._run(self._nudged_by(number), self.setting) for number in range(_NUDGES))
        return tuple(run for run in runs if run is not None)

    def _run(self, weights: Weights, setting: Setting) -> Probe | None:
        try:
            return self.side.probe(weights, setting, gradients=self.gradients)
        except (PairError, NotExpressibleError):
            # Some programs have parts that are float32 whatever they are given, and a record has its own runs alone.
            return None

    def _nudged_by(self, number: int) -> Weights:
        step, weights = self.setting.eps / 2, {}
        for path, array in self.weights.items():
            signs = generator(number, f"nudge {path}").choice((-1.0, 1.0), array.shape)
            weights[path] = (array * (1 + step * signs)).astype(array.dtype)
        return weights


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
