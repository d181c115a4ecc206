"""The symmetric point: what every tensor is filled with there, and the hypothesis at which both sides tell the same.

Two tensors are of one *shape class* when their shapes, sorted and with 1s dropped, are equal. At the symmetric point
every tensor of a class holds the same numbers, and swapping axes of equal length changes none of them. So whatever the
true map is, it carries one side's values into the other's. Sizes, and why all of it is float32: see `pairs/values.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, groupby, permutations, product
from typing import NamedTuple

import numpy as np

from ...common.errors import listed
from ...common.seeding import generator
from ...common.tables import counted, shape_text
from ...common.wing import PairError, Probe, first_nonfinite
from ...pairs.closeness import largest_gradient
from ...pairs.maps import Transform, transform_of
from ...pairs.precision import Setting
from ...pairs.side import Side
from ...pairs.values import ShapeClass, drawn, shape_class
from .additive import AdditiveParameters
from .axis_groupings import PLAIN, AxisGrouping, Shape, Structure
from .errors import AlignmentError
from .proof import outputs_apart


@lru_cache(maxsize=256)
def symmetric(of: ShapeClass) -> np.ndarray:
    """The content of a class: an array of its sorted shape, the same in every process."""
    one = drawn(of, generator(0, f"symmetric point {of}")).astype(np.float64)
    orders = _swaps(of)
    # The sum of k independent numbers is wider by sqrt(k). Rounded last, since a sum depends on the order of its terms.
    total = sum(one.transpose(order) for order in orders) / math.sqrt(len(orders))
    return np.asarray(total, np.float32)


def filled(path: str, shape: tuple[int, ...], structure: Structure, side: int) -> np.ndarray:
    """What a tensor holds at the symmetric point: its class's content, seen as the structure reads the tensor.

    It repeats along what is counted, and along an axis that holds several things, so that each of them holds the same.
    """
    grouping = structure.grouping(side, path, shape)
    kept = [math.prod(shape[axis] for axis in run) for run in grouping.runs]
    seen = [1 if position in grouping.counted else length for position, length in enumerate(kept)]
    content = _content(tuple(length for length in grouping.lengths(shape) if length != 1), structure)
    axes = [*chain(*grouping.runs)]
    made = np.broadcast_to(content.reshape(seen), kept).reshape([shape[axis] for axis in axes])
    # Contiguous, so that a piece of it in another view is a view.
    return np.asarray(made.transpose(np.argsort(axes)), order="C")


def _content(lengths: tuple[int, ...], structure: Structure) -> np.ndarray:
    """The content of a class with its axes in the order of `lengths`."""
    for axis, length in enumerate(lengths):
        parts = structure.unequal.get(length)
        if parts is not None:
            made = (_content((*lengths[:axis], part, *lengths[axis + 1 :]), structure) for part in parts)
            return np.concatenate(list(made), axis)
    periods = structure.periods
    short = [periods.get(length, length) for length in lengths]
    order = np.argsort(short, kind="stable")
    content = symmetric(shape_class(lengths, periods)).transpose(np.argsort(order, kind="stable"))
    if len(lengths) > 2:
        content = _both_ways(content, [axis for axis, length in enumerate(lengths) if length in structure.turned])
    return np.tile(content, [length // period for length, period in zip(lengths, short, strict=True)])


def _both_ways(content: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The content made the same backwards along each of the axes."""
    made = content.astype(np.float64)
    for axis in axes:
        made = (made + np.flip(made, axis)) / math.sqrt(2)
    return made.astype(np.float32)


def _swaps(of: ShapeClass) -> list[tuple[int, ...]]:
    """Every order of the axes that leaves the sorted shape as it is."""
    runs, first = [], 0
    for _, run in groupby(of):
        count = len(list(run))
        runs.append(list(permutations(range(first, first + count))))
        first += count
    return [tuple(axis for part in parts for axis in part) for parts in product(*runs)]


Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Hypothesis:
    """An assumption under which the two sides are run.

    structure: how the shapes are read.
    sums: by side, the tensors that are only ever added to another one.
    transforms: by the port's path, as a row of a map has it.
    shuffled: the lengths of the axes that may be in another order on either side.
    states: by side, the buffers and frozen parameters that both have; None for those of the shapes of which both have
        as many.
    """

    structure: Structure = PLAIN
    additive: tuple[AdditiveParameters, AdditiveParameters] = ({}, {})
    transforms: Mapping[str, str] = field(default_factory=dict)
    shuffled: frozenset[int] = frozenset()
    states: tuple[frozenset[str], frozenset[str]] | None = None

    def transform(self, path: str) -> Transform:
        return transform_of(self.transforms.get(path, ""))


@dataclass(frozen=True)
class SymmetricPoint:
    """A hypothesis that was run: both sides' weights and what they told."""

    hypothesis: Hypothesis
    weights: tuple[Weights, Weights]
    probes: tuple[Probe, Probe]


def run(hypothesis: Hypothesis, reference: Side, port: Side) -> SymmetricPoint:
    """Raises PairError for outputs of unequal structure, AlignmentError for numbers that are not finite."""
    weights = symmetric_weights(hypothesis, reference, port)
    probes = reference.probe(weights[0]), port.probe(weights[1])
    return SymmetricPoint(hypothesis, weights, probes)


def symmetric_weights(hypothesis: Hypothesis, reference: Side, port: Side) -> tuple[Weights, Weights]:
    """For both sides every tensor of a class alike.

    That is all parameters, and the buffers of a class that both sides have as many of, or those that the hypothesis
    says. A buffer of one side alone is most often a constant, which the other has in its program: it keeps its values.
    """
    counts = _class_counts(hypothesis.structure, reference), _class_counts(hypothesis.structure, port)
    found: list[Weights] = []
    for side in (reference, port):
        weights = {}
        # Thousands of tensors may hold the same: they share one array.
        made: dict[tuple[Shape, AxisGrouping], np.ndarray] = {}
        for path in side.tensors:
            shape = side.shape(path)
            of = _class(hypothesis.structure, side, path)
            states = hypothesis.states
            is_state = counts[0].get(of) == counts[1].get(of) if states is None else path in states[side.number]
            if side.is_free(path) or is_state:
                read = shape, hypothesis.structure.grouping(side.number, path, shape)
                if read not in made:
                    made[read] = filled(path, shape, hypothesis.structure, side.number)
                weights[path] = made[read]
                if path in hypothesis.additive[side.number]:
                    weights[path] = np.where(hypothesis.additive[side.number][path].mask, np.float32(0), weights[path])
                if side.number:
                    weights[path] = hypothesis.transform(path).of(weights[path])
        found.append(weights)
    return found[0], found[1]


def check_comparable(point: SymmetricPoint, reference: Side, port: Side) -> None:
    """Whatever the map is, both sides give finite outputs of one structure that depend on the parameters.

    Raises:
        PairError: outputs of unequal structure.
        AlignmentError: they are not finite, or do not depend on the parameters.
    """
    for side in (reference, port):
        _check_finite(side, point)
    outputs = [probe.outputs for probe in point.probes]
    if not all(outputs) or len(outputs[0]) != len(outputs[1]):
        raise PairError(*other_outputs(point), "Give the pair calls that return the same.")
    if not largest_gradient(point.probes[0].gradients):
        raise AlignmentError("", "outputs that depend on the parameters", "no gradient but zero", "Give other inputs.")


def other_outputs(point: SymmetricPoint) -> tuple[str, str, str]:
    """For an error: the port, the shapes of the reference's outputs, and those of the port's."""
    ours, theirs = (_shapes(probe.outputs) for probe in point.probes)
    return "port", f"the reference's outputs {ours}", theirs


def are_of_one_shape(point: SymmetricPoint) -> bool:
    """Whether the outputs of both sides have the same shapes."""
    ours, theirs = ([array.shape for array in probe.outputs.values()] for probe in point.probes)
    return ours == theirs


def agree(point: SymmetricPoint, limit: float) -> bool:
    """Whether the outputs do. They do not depend on the map: the programs differ, or the hypothesis is wrong."""
    return not outputs_apart(point.probes[0].outputs, point.probes[1].outputs, limit)


class Uneven(NamedTuple):
    """The numbers in tensors of classes of which the sides have not as many: all of them, and what one has more."""

    all: int
    more: int


def uneven(structure: Structure, reference: Side, port: Side) -> Uneven:
    """What is uneven where the shapes are read in this way."""
    ours, theirs = _class_counts(structure, reference), _class_counts(structure, port)
    counts = [(math.prod(of), ours.get(of, 0), theirs.get(of, 0)) for of in {*ours, *theirs}]
    whole = sum(size * (one + other) for size, one, other in counts if one != other)
    return Uneven(whole, sum(size * abs(one - other) for size, one, other in counts))


def _class(structure: Structure, side: Side, path: str) -> ShapeClass:
    shape = side.shape(path)
    return shape_class(structure.grouping(side.number, path, shape).lengths(shape), structure.periods)


def _class_counts(structure: Structure, side: Side) -> dict[ShapeClass, int]:
    """How many numbers of each class there are, in units of a tensor that is read as the class."""
    found: dict[ShapeClass, int] = {}
    for path in side.tensors:
        of = _class(structure, side, path)
        found[of] = found.get(of, 0) + side.tensors[path].array.size
    return {of: count // max(int(np.prod(of)), 1) for of, count in found.items()}


def _check_finite(side: Side, point: SymmetricPoint) -> None:
    probe = point.probes[side.number]
    bad = [f"output {name!r}" if name else "the output" for name, array in probe.outputs.items() if not _finite(array)]
    bad += [f"the gradient of {path}" for path, array in probe.gradients.items() if not _finite(array)]
    if bad:
        first = first_nonfinite(side.traced(point.weights[side.number], Setting()))
        where = f"The first module to give others is {first[0]!r} ({first[1]}). " if first and first[0] else ""
        found = f"others in {counted(len(bad), 'array')}: {listed(bad)}"
        remedy = f"{where}Check the inputs and masks."
        raise AlignmentError(side.role, "finite numbers when tensors of one shape hold the same ones", found, remedy)


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


def _shapes(outputs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(shape_text(array.shape) for array in outputs.values()) or "without a floating-point number"
