"""Partners: which call of the reference a call of the port is held against, told while the port runs.

Both calls are made inside of two that are partners themselves, and their modules hold the same rows of the map. What
holds nothing is a partner by its class, if it is given the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...common.wing import Trace, Traced, is_floating
from ..maps import Map
from .comparing import apart, closest_view, orders, rounding, wide
from .pairing import ModuleCall, calls_of, leading_positions, of_one_kind

Arrays = Mapping[str, np.ndarray]
# Inputs that are no farther apart are those of one call; and beyond the second nothing tells the order of their axes.
_ALIKE, _UNLIKE = 1e-3, 0.5


class Given(NamedTuple):
    """An input of a call of the port beside the reference's: that in the port's axes, and how far the two are apart.

    is_sure: whether the order of the axes is known.
    """

    array: np.ndarray
    error: float
    is_sure: bool


@dataclass
class Frame:
    """A call of the port that is open, or what is outside of all.

    reference: its partner. used: the calls of the reference that have a partner in it already.
    times: how often a module was called in it.
    """

    reference: ModuleCall | None
    used: set[int] = field(default_factory=set)
    times: Counter[str] = field(default_factory=Counter)


class Partners:
    """The calls of the reference, to be asked for partners.

    alone: the parameters of either side that no row of the map is about. rounded: the rows whose values are rounded to
        float32 when they are carried, since a sum or a transform makes them.
    """

    def __init__(
        self, traces: Sequence[Trace], map: Map, limit: float, alone: tuple[frozenset[str], frozenset[str]]
    ) -> None:
        self.limit, self.alone = limit, alone
        self.calls = sorted(calls_of(traces, (), map)[0], key=lambda call: call.index)
        self._leading = leading_positions(map, "port_piece")
        self.rounded = {number for number, row in enumerate(map.rows) if row.transform or row.summed}
        self._rows_of: dict[str, set[int]] = {}
        for number, row in enumerate(map.rows):
            self._rows_of.setdefault(row.port, set()).add(number)

    def of(self, module: Traced, inputs: Arrays, frame: Frame) -> ModuleCall | None:
        """The partner of a call of the port, which is about to be made in `frame`; None where there is none."""
        free = [call for call in self.inside(frame.reference) if _is_free(call, frame)]
        if frame.reference is None and not module.path:
            return next((call for call in free if not call.trace.path), None)
        if not module.subtree:
            alike = [each for each in free if _holds_nothing(each) and of_one_kind(each.trace.name, module.name)]
            return next((each for each in alike if _are_alike(self.given(each.trace, inputs))), None)
        for rows in self._rows(module, frame):
            found = [call for call in free if call.rows == rows]
            outer = [call for call in found if not any(other.index in call.above for other in found)]
            if len(outer) > 1:
                return next((each for each in outer if _are_alike(self.given(each.trace, inputs))), outer[0])
            if outer:
                return outer[0]
        return None

    def _rows(self, module: Traced, frame: Frame) -> Iterator[frozenset[int]]:
        """The rows that a call is about: those of its module, or of the one layer of a stack whose turn it is."""
        rows = frozenset(row for path in module.subtree for row in self._rows_of.get(path, ()))
        if frame.reference is not None:
            rows &= frame.reference.rows
        if not rows:
            return
        yield rows
        positions = sorted({position for row in rows if (position := self._leading[row]) is not None})
        if len(positions) > 1:
            turn = positions[frame.times[module.path] % len(positions)]
            yield frozenset(row for row in rows if self._leading[row] == turn)

    def inside(self, reference: ModuleCall | None) -> list[ModuleCall]:
        """The reference's calls in one of them."""
        return [call for call in self.calls if reference is None or reference.index in call.above]

    def chain(self, call: ModuleCall) -> list[ModuleCall]:
        """The calls in this one that hold the same."""
        return [each for each in self.inside(call) if each.rows and each.rows == call.rows]

    def unit(self, call: ModuleCall) -> float:
        """The rounding of the coarsest type that shows in a call."""
        return max(rounding(each.trace.outputs) for each in (call, *self.inside(call)))

    def given(self, reference: Trace, inputs: Arrays) -> dict[str, Given]:
        """For each floating-point input of the port's call the one of the reference's that is closest."""
        ours = numbers(reference.inputs)
        found = {name: self.closest(array, ours) for name, array in numbers(inputs).items()}
        return {name: each for name, each in found.items() if each is not None}

    def closest(self, array: np.ndarray, among: Arrays) -> Given | None:
        """Of the reference's arrays the closest to one of the port's, in that one's axes; None if none has its size."""
        sized = [each for each in among.values() if each.size == array.size]
        views = [(view, each) for each in sized if (view := closest_view(array, each, self.limit)) is not None]
        if not views:
            return None
        # The same numbers in an order that no order of the axes gives are not the same.
        errors = [apart(view.aligned, view.exact) for view, _ in views]
        error, (best, own) = min(zip(errors, views, strict=True), key=lambda each: each[0])
        if error <= _UNLIKE:
            return Given(best.aligned, error, True)
        # Of arrays that have nothing in common the order of the axes is the usual one, where there is one.
        usual = [own, np.moveaxis(own, 1, -1), np.moveaxis(own, -1, 1)] if own.ndim > 2 else [own]
        for each in usual:
            if each.shape == array.shape:
                return Given(wide(each), apart(wide(each), wide(array)), len(sized) == 1)
        return Given(best.aligned, error, len(sized) == 1 and orders(own.shape, array.shape) == 1)

    def by_rows(self, modules: Mapping[str, str]) -> dict[frozenset[int], list[str]]:
        """The paths of the port's modules by the rows that they and all below them hold, the outermost first.

        modules: by the port's tensors the path of the one that holds it.
        """
        rows: dict[str, set[int]] = {}
        for path, numbers_ in self._rows_of.items():
            parts = modules[path].split(".") if modules[path] else []
            for depth in range(len(parts) + 1):
                rows.setdefault(".".join(parts[:depth]), set()).update(numbers_)
        found: dict[frozenset[int], list[str]] = {}
        for path in sorted(rows, key=len):
            found.setdefault(frozenset(rows[path]), []).append(path)
        return found


def numbers(arrays: Arrays) -> dict[str, np.ndarray]:
    """Those of floating-point numbers that are no masks."""
    return {name: array for name, array in arrays.items() if is_floating(array) and not _is_mask(array)}


def _is_mask(array: np.ndarray) -> bool:
    return not np.isfinite(array).all() or (array.size > 2 and len(np.unique(array)) <= 2)


def _is_free(call: ModuleCall, frame: Frame) -> bool:
    return call.index not in frame.used and frame.used.isdisjoint(call.above)


def _holds_nothing(call: ModuleCall) -> bool:
    return not call.rows and not call.trace.subtree


def _are_alike(given: Mapping[str, Given]) -> bool:
    return bool(given) and all(each.error <= _ALIKE for each in given.values())
