"""The symmetric point: which tensors it fills, what both sides tell there, and whether that is of one program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...common.pairs import PairError, Probe
from ...common.tables import counted, shape_text
from .closeness import scale
from .contents import laid_out, symmetric
from .errors import AlignmentError, listed
from .proof import outputs_apart
from .sides import Side

Weights = dict[str, np.ndarray]


def symmetric_weights(reference: Side, port: Side) -> tuple[Weights, Weights]:
    """For both sides every tensor of a class alike.

    That is all parameters, and the buffers of a class that both sides have as many of. A buffer of one side alone is
    most often a constant, which the other has in its program: it keeps its values.
    """
    ours, theirs = reference.classes(), port.classes()
    contents = {of: symmetric(of) for of in {*ours, *theirs}}
    even = {of for of in ours if len(ours[of]) == len(theirs.get(of, []))}
    found: list[Weights] = [
        {
            path: laid_out(contents[of], side.tensors[path].sizes)
            for of, paths in classes.items()
            for path in paths
            if of in even or side.tensors[path].kind == "parameter"
        }
        for side, classes in ((reference, ours), (port, theirs))
    ]
    return found[0], found[1]


def check_same_programs(reference: Side, port: Side, ours: Probe, theirs: Probe, limit: float) -> None:
    """At the symmetric point the outputs do not depend on the map: a difference is one of the programs.

    Raises:
        PairError: outputs of unequal structure or shape.
        AlignmentError: they differ by more than rounding, are not finite, or do not depend on the parameters.
    """
    for side, probe in ((reference, ours), (port, theirs)):
        _check_finite(side, probe)
    shapes = [_shapes(probe.outputs) for probe in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise PairError(
            "port", f"the reference's outputs {shapes[0]}", shapes[1], "Give the pair calls that return the same."
        )
    faults = outputs_apart(ours.outputs, theirs.outputs, limit)
    if faults:
        raise AlignmentError(
            "",
            f"outputs that agree within {limit:.1e} at the symmetric point, whatever the map is",
            f"a difference in {listed([fault.text for fault in faults])}",
            f"The programs differ. {uneven(reference, port)}".rstrip(),
        )
    if not scale(ours.gradients):
        raise AlignmentError("", "outputs that depend on the parameters", "no gradient but zero", "Give other inputs.")


def uneven(reference: Side, port: Side) -> str:
    """A remedy that lists the classes of which the two sides have unequal numbers; empty where there is none."""
    ours, theirs = reference.classes(), port.classes()
    counts = {of: (len(ours.get(of, [])), len(theirs.get(of, []))) for of in sorted({*ours, *theirs})}
    found = [f"{shape_text(of)}: {one} and {other}" for of, (one, other) in counts.items() if one != other]
    if not found:
        return ""
    return (
        f"The sides have unequal numbers of tensors of one shape, its axes sorted: {listed(found)}. "
        "Packed, split, merged and stacked tensors are not taken apart yet."
    )


def _check_finite(side: Side, probe: Probe) -> None:
    bad = [f"output {name!r}" if name else "the output" for name, array in probe.outputs.items() if not _finite(array)]
    bad += [f"the gradient of {path}" for path, array in probe.gradients.items() if not _finite(array)]
    if bad:
        found = f"others in {counted(len(bad), 'array')}: {listed(bad)}"
        raise AlignmentError(side.role, "finite numbers at the symmetric point", found, "Check the inputs and masks.")


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


def _shapes(outputs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(shape_text(array.shape) for array in outputs.values()) or "without a floating-point number"
