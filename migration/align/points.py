"""The symmetric point: what it fills the tensors with, and the hypothesis at which both sides tell the same there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...common.tables import counted, shape_text
from ...common.wing import PairError, Probe, first_nonfinite
from ...pairs.closeness import largest_gradient
from ...pairs.maps import Transform, transform_of
from ...pairs.precision import Setting
from ...pairs.side import Side
from ...pairs.values import ShapeClass, shape_class
from .additive import AdditiveParameters
from .axis_groupings import PLAIN, AxisGrouping, Shape, Structure
from .contents import filled
from .errors import AlignmentError, listed
from .proof import outputs_apart

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Hypothesis:
    """An assumption under which the two sides are run.

    structure: how the shapes are read.
    sums: by side, the tensors that are only ever added to another one.
    transforms: by the port's path, as a row of a map has it.
    shuffled: the lengths of the axes that may be in another order on either side.
    """

    structure: Structure = PLAIN
    additive: tuple[AdditiveParameters, AdditiveParameters] = ({}, {})
    transforms: Mapping[str, str] = field(default_factory=dict)
    shuffled: frozenset[int] = frozenset()

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

    That is all parameters, and the buffers of a class that both sides have as many of. A buffer of one side alone is
    most often a constant, which the other has in its program: it keeps its values.
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
            if side.is_free(path) or counts[0].get(of) == counts[1].get(of):
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
        PairError: outputs of unequal structure or shape.
        AlignmentError: they are not finite, or do not depend on the parameters.
    """
    for side in (reference, port):
        _check_finite(side, point)
    shapes = [_shapes(probe.outputs) for probe in point.probes]
    if shapes[0] != shapes[1]:
        raise PairError(
            "port", f"the reference's outputs {shapes[0]}", shapes[1], "Give the pair calls that return the same."
        )
    if not largest_gradient(point.probes[0].gradients):
        raise AlignmentError("", "outputs that depend on the parameters", "no gradient but zero", "Give other inputs.")


def agree(point: SymmetricPoint, limit: float) -> bool:
    """Whether the outputs do. They do not depend on the map: the programs differ, or the hypothesis is wrong."""
    return not outputs_apart(point.probes[0].outputs, point.probes[1].outputs, limit)


def uneven(reference: Side, port: Side) -> str:
    """A remedy that lists the classes of which the two sides have unequal numbers; empty where there is none."""
    ours, theirs = _class_counts(PLAIN, reference), _class_counts(PLAIN, port)
    counts = {of: (ours.get(of, 0), theirs.get(of, 0)) for of in sorted({*ours, *theirs})}
    found = [f"{shape_text(of)}: {one} and {other}" for of, (one, other) in counts.items() if one != other]
    if not found:
        return ""
    return f"The sides have unequal numbers of tensors of one shape, its axes sorted: {listed(found)}."


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
        raise AlignmentError(side.role, "finite numbers at the symmetric point", found, remedy)


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


def _shapes(outputs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(shape_text(array.shape) for array in outputs.values()) or "without a floating-point number"
