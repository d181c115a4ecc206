"""An optimizer's state through a map: each moment by the rows of its tensor.

A moment is of the gradient, and so lies as the tensor does: it is permuted, split, packed and stacked with it. What a
map does to values is another matter. Where a port's value is the reference's times s, its gradient is the reference's
over s, and no optimizer of both frameworks then makes equal steps, except for s = -1, by which first moments change
their sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...common.errors import WeightsError, unfit
from ...common.optimizers import (
    NO_STATE,
    NOTHING,
    ODD,
    OptimizerState,
    Owner,
    TensorState,
    agreed,
    agreed_settings,
    count_of,
    no_counterpart,
)
from ...common.tables import shape_text
from .correspondence import Correspondence, SideName
from .patterns import sides
from .rows import MapRow
from .transforms import transform_of
from .weights import assemble

_NEGATED = "x * -1"


def owners(made: Correspondence, side: SideName) -> dict[str, Owner]:
    """Every path of a side's tensors, each with its tensor; of those without a row no shape is known."""
    rows = made.by_reference if side == "reference" else made.by_port
    without = (*getattr(made, f"unmatched_{side}"), *getattr(made, f"aside_{side}"))
    return {path: Owner(path, None) for path in without} | {
        path: Owner(owner, own[0].shape if side == "reference" else own[0].port_shape)
        for owner, own in rows.items()
        for path in (owner, *getattr(own[0], f"{side}_aliases"))
    }


def carry_state(made: Correspondence, state: OptimizerState, step: int | None = None) -> OptimizerState:
    """The state of a reference's optimizer, by the port's paths and in its layout.

    step: the number of updates, where the state counts none.

    Raises:
        NotExpressibleError: a row of which the moments cannot be carried.
        WeightsError: moments that are of no row's shape, not finite, or of only a part of one of the port's tensors.
    """
    _check(made, state.tensors)
    found = {}
    for path, rows in made.by_port.items():
        held = [row.reference for row in rows if row.reference in state.tensors]
        if held:
            found[path] = _carried(path, rows, state.tensors)
    return OptimizerState(found, _step(state.step, step), state.settings)


def _step(counted: int | None, given: int | None) -> int | None:
    if given is not None:
        given = count_of(given, "step")
    if None not in (counted, given) and counted != given:
        raise WeightsError("step", f"{counted:,} updates, as the state counts them", f"{given:,}", "Leave step out.")
    return given if counted is None else counted


def _check(made: Correspondence, tensors: Mapping[str, TensorState]) -> None:
    for row in made.rows:
        if any(path in tensors for path in row.reference_factors or (row.reference,) * bool(row.port_factors)):
            why = "A magnitude and a direction have their own gradients and steps: store the weight on both sides."
            raise no_counterpart(f"{row.reference} -> {row.port}", "a weight norm on one side alone", why)
    extra = [path for path in tensors if path not in made.by_reference]
    # Where no gradient has come there is nothing to carry.
    faults = [f"{path} is in no row of the map" for path in extra if _has_moved(tensors[path])]
    for path, rows in made.by_reference.items():
        if path in tensors:
            faults += _faults(path, rows[0].shape, tensors[path])
    for path, rows in made.by_port.items():
        missing = [row.reference for row in rows if row.reference not in tensors]
        if missing and len(missing) < len(rows):
            faults.append(f"{missing[0]} {NO_STATE}, and {path} is made of it and of others that have")
    if faults:
        expected = "finite moments of the map's tensors, in their shapes"
        sized = any(" and needs " in fault for fault in faults)
        remedy = f"{NOTHING} For the models in another size take `map.fit(shapes, port_shapes)`." if sized else NOTHING
        raise WeightsError("", expected, unfit(faults), remedy)


def _has_moved(found: TensorState) -> bool:
    return any(array.any() for array in (*found.moments.values(), *found.factors.values()))


def _faults(path: str, shape: tuple[int, ...], found: TensorState) -> list[str]:
    faults = []
    for name, array in found.moments.items():
        if array.shape != shape:
            faults.append(f"{path} has a {name} of shape {shape_text(array.shape)} and needs {shape_text(shape)}")
    for axis, array in found.factors.items():
        wanted = shape[:axis] + shape[axis + 1 :]
        if array.shape != wanted:
            faults.append(f"{path} has a factor of shape {shape_text(array.shape)} and needs {shape_text(wanted)}")
    for name, array in (*found.moments.items(), *((f"factor {axis}", each) for axis, each in found.factors.items())):
        if not (array.dtype.kind in "fiub" or "float" in array.dtype.name):
            faults.append(f"the {name} of {path} is no array of numbers but of {array.dtype.name}")
        elif not np.isfinite(array.astype(np.float64)).all():
            faults.append(f"the {name} of {path} is not finite")
        elif name not in ODD and array.size and array.min() < 0:
            faults.append(f"the {name} of {path} has negative entries, and is of squares or sizes")
    return faults


def _carried(path: str, rows: Sequence[MapRow], tensors: Mapping[str, TensorState]) -> TensorState:
    """The state of one of the port's tensors."""
    sources = {row.reference: tensors[row.reference] for row in rows}
    for row in rows:
        _check_row(row, sources[row.reference])
    kinds = dict.fromkeys((each.kept_by, each.has_rate) for each in sources.values())
    if len(kinds) > 1:
        found = " and ".join(kind for kind, _ in kinds)
        raise no_counterpart(path, f"parts of the states of {found}", "One tensor has one optimizer.")
    first = next(iter(sources.values()))
    return TensorState(
        {name: _moment(name, rows, sources) for name in first.moments},
        _factors(rows[0], first) if first.factors else {},
        agreed([each.step for each in sources.values()], path, "counts of updates"),
        agreed_settings([*sources.values()], path),
        any(each.decays for each in sources.values()),
        first.has_rate,
        any(transform_of(row.transform).shifts for row in rows),
    )


def _check_row(row: MapRow, found: TensorState) -> None:
    """Raises NotExpressibleError for a row through which equal updates of one side are no equal ones of the other."""
    path = f"{row.reference} -> {row.port}"
    if row.summed:
        why = "Each of the terms is moved by as much as the sum, which so moves by more: the two train apart."
        raise no_counterpart(path, "a tensor of one side that is a sum of the other's", why)
    if row.copied:
        why = "Each copy has its own part of the gradient, and moments of it: tie them on both sides."
        raise no_counterpart(path, "a tensor of one side of which the other keeps copies", why)
    if abs(row.slope) != 1:
        why = f"The port's gradient is the reference's over {row.slope:g}, and its step is not the same times it."
        raise no_counterpart(path, f"the transform {row.transform}", why)
    adapts = "v" in found.moments or bool(found.factors)
    if transform_of(row.transform).shifts and (found.decays or adapts):
        why = "Weight decay" if found.decays else "Adafactor's step"
        raise no_counterpart(path, f"the transform {row.transform}", f"{why} goes by the value, which is another.")
    if adapts and not (row.is_whole and _is_permuted(row)):
        why = "Adafactor's averages and its step are of a whole tensor."
        raise no_counterpart(path, "a tensor that is packed, split, stacked or reshaped", why)


def _is_permuted(row: MapRow) -> bool:
    left, right = sides(row.layout, len(row.shape))
    return left == right or all(len(axis) == 1 for side in (left, right) for axis in side)


def _moment(name: str, rows: Sequence[MapRow], sources: Mapping[str, TensorState]) -> np.ndarray:
    """The port's moment of the reference's: by the rows without their transforms, but for the sign of odd ones."""
    bare = [replace(row, transform=_NEGATED if name in ODD and row.slope < 0 else "") for row in rows]
    return assemble(bare, lambda path: sources[path].moments[name])


def _factors(row: MapRow, found: TensorState) -> dict[int, np.ndarray]:
    """The averages by the axes of the port's tensor."""
    left, right = sides(row.layout, len(row.shape))
    if left == right:
        return dict(found.factors)
    order = [left.index(axis) for axis in right]  # of the port's axes, each as one of the reference's
    carried = {}
    for axis, factor in found.factors.items():
        kept = [each for each in range(len(order)) if each != axis]
        carried[order.index(axis)] = np.transpose(factor, [kept.index(each) for each in order if each != axis])
    return carried
