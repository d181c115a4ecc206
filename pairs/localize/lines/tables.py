"""Tables: why values differ that no input and no parameter changes: masks, positions, the angles of a rotation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..comparing import ClosestView
from ..gap import Cause

# What hides a score is at most that, where it is not a truth value.
_HIDING = -1e3


def table_cause(seen: ClosestView) -> Cause:
    """Both are made of no input and no parameter: a table, a mask, positions."""
    ours, theirs = seen.exact, seen.aligned
    for told in (_masks, _angles, _shifted):
        cause = told(ours, theirs)
        if cause is not None:
            return cause
    count = int(np.count_nonzero(~np.isclose(ours, theirs, rtol=1e-6, atol=0)))
    example = np.argwhere(~np.isclose(ours, theirs, rtol=1e-6, atol=0))
    at = tuple(int(each) for each in example[0]) if len(example) else ()
    shown = f": at {at} it is {ours[at]:.6g} in the reference and {theirs[at]:.6g} in the port" if at else ""
    return Cause("constant", f"a table that no input changes has {count:,} of {ours.size:,} entries that differ{shown}")


def _masks(ours: np.ndarray, theirs: np.ndarray) -> Cause | None:
    """Two values each, which hide other places."""
    one, other = _hidden(ours), _hidden(theirs)
    if one is None or other is None:
        return None
    differ = int(np.count_nonzero(one != other))
    if not differ:
        return Cause("mask", f"the mask hides by {_least(theirs)} in the port and by {_least(ours)} in the reference")
    if differ == one.size:
        return Cause("mask", "the mask is the other way round: what the reference hides the port shows")
    return Cause("mask", f"the mask differs in {differ:,} of {one.size:,} entries{_offset(one, other)}")


def _hidden(array: np.ndarray) -> np.ndarray | None:
    """Where the smaller of two values is, of zero and one, or zero and what stands for infinity; None of others."""
    values = np.unique(array)
    if len(values) != 2 or not (values.tolist() == [0, 1] or (values[0] <= _HIDING and values[1] == 0)):
        return None
    return array == values[0]


def _least(array: np.ndarray) -> str:
    return f"{array.min():g}"


def _offset(one: np.ndarray, other: np.ndarray) -> str:
    """That one is the other, moved along its last axis."""
    for step in (-2, -1, 1, 2):
        if one.ndim and np.array_equal(np.roll(one, step, -1)[..., 2:-2], other[..., 2:-2]) and one.shape[-1] > 4:
            return f": it is {abs(step)} off along the last axis"
    return ""


def _angles(ours: np.ndarray, theirs: np.ndarray) -> Cause | None:
    """Angles of a rotation or of sinusoids: positions times the powers of a base."""
    first, second = _base(ours), _base(theirs)
    if first is None or second is None:
        return None
    if not math.isclose(first.base, second.base, rel_tol=1e-3):
        text = f"the base of the angles is {first.base:,.0f} in the reference and {second.base:,.0f} in the port"
        return Cause("rotary base", text)
    if not math.isclose(first.start, second.start, abs_tol=1e-6):
        text = (
            f"the positions of the angles begin at {first.start:g} in the reference and at {second.start:g} in the port"
        )
        return Cause("positions", text)
    return None


class _Angles(NamedTuple):
    base: float
    start: float


def _base(array: np.ndarray) -> _Angles | None:
    """Of angles (positions, frequencies), as they are or as sines or cosines; doubled tables too; of frequencies."""
    table = np.squeeze(array)
    if table.ndim == 1 and table.size > 2 and np.isfinite(table).all() and (table > 0).all():
        rates = table if table[0] >= table[-1] else 1 / table
        return _powers(np.outer(np.arange(2), rates)) if math.isclose(rates.max(), 1.0) else None
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        return None
    for angles in _undone(table):
        found = _powers(angles)
        if found is not None:
            return found
    return None


def _undone(table: np.ndarray) -> list[np.ndarray]:
    """The table as angles: itself, and of sines or cosines what the first steps from zero tell."""
    made = [table]
    if np.abs(table).max() <= 1:
        steps = np.arccos(np.clip(table, -1, 1)), np.arcsin(np.clip(table, -1, 1))
        made += [np.outer(np.arange(len(table)), step[1]) for step in steps if _is_wave(table, step[1])]
    return made


def _is_wave(table: np.ndarray, step: np.ndarray) -> bool:
    angles = np.outer(np.arange(len(table)), step)
    return bool(np.allclose(np.cos(angles), table, atol=1e-6) or np.allclose(np.sin(angles), table, atol=1e-6))


def _powers(angles: np.ndarray) -> _Angles | None:
    """Whether the steps from one position to the next are 1, b^-1/n, b^-2/n, ..., of n frequencies."""
    step = np.diff(angles, axis=0)
    rates = step[0]
    if not np.allclose(step, rates, rtol=1e-5) or (rates <= 0).any():
        return None
    for count in (len(rates), len(rates) // 2):
        part = rates[:count]
        if count < 2 or len(rates) % count or not np.allclose(np.tile(part, len(rates) // count), rates, rtol=1e-5):
            continue
        ratio = part[1:] / part[:-1]
        if np.allclose(ratio, ratio[0], rtol=1e-4) and ratio[0] < 1:
            return _Angles(float(ratio[0] ** -count), float(angles[0, 0] / rates[0]))
    return None


def _shifted(ours: np.ndarray, theirs: np.ndarray) -> Cause | None:
    difference = theirs - ours
    if np.isfinite(difference).all() and difference.size and np.ptp(difference) <= 1e-9 * max(np.abs(ours).max(), 1):
        step = float(difference.flat[0])
        return Cause("positions", f"each entry is {step:+g} of the reference's, as of positions counted in another way")
    return None
